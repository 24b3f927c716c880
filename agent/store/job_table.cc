// SPDX-License-Identifier: Apache-2.0
#include "agent/store/job_table.h"

#include <string>

namespace starling::agent {

namespace {

using sqlite::Statement;

// The columns in the order of JobRow.
#define JOB_COLUMNS                                                                   \
  "number, attempt, cause, handler, event, state, reason, answers, boot, queued_ms, " \
  "started_ms, ended_ms, status, signalled, output_bytes, log_bytes, record"

constexpr const char* kInsert = "INSERT INTO jobs (" JOB_COLUMNS
                                ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ";

constexpr const char* kUpdate =
    "DO UPDATE SET attempt = excluded.attempt, state = excluded.state, reason = excluded.reason, "
    "boot = excluded.boot, started_ms = excluded.started_ms, ended_ms = excluded.ended_ms, "
    "status = excluded.status, signalled = excluded.signalled, "
    "output_bytes = excluded.output_bytes, log_bytes = excluded.log_bytes, "
    "record = iif(length(excluded.record) = 0, record, excluded.record) ";

// Rows whose event is larger are not kept for a later `job retry`.
constexpr size_t kMaxKeptRecord = size_t{64} << 10;

JobRow read_row(Statement& from) {
  JobRow row;
  row.number = static_cast<uint64_t>(from.integer());
  row.attempt = static_cast<unsigned>(from.integer());
  row.cause = from.bytes();
  row.handler = from.bytes();
  row.event = from.bytes();
  row.state = static_cast<JobState>(from.integer());
  row.reason = from.bytes();
  row.answers = from.integer() != 0;
  row.boot = from.bytes();
  row.queued_ms = from.integer();
  row.started_ms = from.integer();
  row.ended_ms = from.integer();
  row.status = static_cast<int>(from.integer());
  row.signalled = from.integer() != 0;
  row.output_bytes = static_cast<uint64_t>(from.integer());
  row.log_bytes = static_cast<uint64_t>(from.integer());
  row.record = from.bytes();
  return row;
}

}  // namespace

std::string_view job_state_name(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "queued";
    case JobState::kRunning:
      return "running";
    case JobState::kSucceeded:
      return "succeeded";
    case JobState::kFailed:
      return "failed";
    case JobState::kTimedOut:
      return "timed-out";
    case JobState::kKilled:
      return "killed";
    case JobState::kInterrupted:
      return "interrupted";
    case JobState::kSkipped:
      return "skipped";
  }
  return "unknown";
}

// AUTOINCREMENT: a number is not given again even when the last rows have been pruned.
const char* const JobTable::kSchema = R"sql(
  CREATE TABLE jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, attempt INTEGER NOT NULL,
    cause BLOB NOT NULL, handler BLOB NOT NULL, event BLOB NOT NULL, state INTEGER NOT NULL,
    reason BLOB NOT NULL, answers INTEGER NOT NULL, boot BLOB NOT NULL, queued_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, status INTEGER NOT NULL,
    signalled INTEGER NOT NULL, output_bytes INTEGER NOT NULL, log_bytes INTEGER NOT NULL,
    record BLOB NOT NULL,
    UNIQUE (cause, handler));
  CREATE INDEX jobs_unfinished ON jobs (number) WHERE state < 2;
)sql";

int JobTable::prepare(sqlite3* connection) {
  connection_ = connection;
  const std::string insert = kInsert;
  const std::string update = kUpdate;
  const std::array<std::string, kQueries> sql = {
      insert + "ON CONFLICT DO NOTHING",
      // Once in each attempt, and only from the queue.
      insert + "ON CONFLICT (number) " + update +
          "WHERE state = 0 AND attempt = excluded.attempt AND cause = excluded.cause "
          "ON CONFLICT DO NOTHING",
      // What has ended has ended, but may be queued for a further attempt.
      insert + "ON CONFLICT (number) " + update +
          "WHERE state < 2 OR (excluded.state = 0 AND excluded.attempt > attempt) "
          "ON CONFLICT DO NOTHING",
      "SELECT max(ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0), "
      "ifnull((SELECT max(number) FROM jobs), 0))",
      "SELECT number, attempt FROM (SELECT number, attempt, ended_ms, "
      "row_number() OVER newest AS place, "
      "sum(log_bytes) OVER newest AS logs, sum(length(record)) OVER newest AS records "
      "FROM jobs WHERE state >= 2 WINDOW newest AS (ORDER BY number DESC)) "
      "WHERE place > ?1 OR ended_ms < ?2 OR logs > ?3 OR records > ?4",
      "DELETE FROM jobs WHERE number = ? AND state >= 2 RETURNING number, attempt",
      "SELECT 1 FROM jobs WHERE number = ?",
  };
  int code = SQLITE_OK;
  for (size_t i = 0; i < kQueries && code == SQLITE_OK; ++i) {
    code = statements_[i].prepare(connection, sql[i].c_str());
  }
  return code;
}

int JobTable::upsert(Query query, const JobRow& row) {
  const bool keep = row.record.size() <= kMaxKeptRecord || !is_final(row.state);
  return statements_[query]
      .bind(static_cast<int64_t>(row.number))
      .bind(row.attempt)
      .blob(row.cause)
      .blob(row.handler)
      .blob(row.event)
      .bind(static_cast<int64_t>(row.state))
      .blob(row.reason)
      .bind(row.answers ? 1 : 0)
      .blob(row.boot)
      .bind(row.queued_ms)
      .bind(row.started_ms)
      .bind(row.ended_ms)
      .bind(row.status)
      .bind(row.signalled ? 1 : 0)
      .bind(static_cast<int64_t>(row.output_bytes))
      .bind(static_cast<int64_t>(row.log_bytes))
      .blob(keep ? std::string_view(row.record) : std::string_view())
      .run();
}

int JobTable::put(const PutJob& change) {
  return upsert(kPut, change.row);
}

int JobTable::put(const StartJob& change, Result<void>& refused) {
  int code = sqlite::execute(connection_, "SAVEPOINT job");
  if (code == SQLITE_OK) code = upsert(kStart, change.row);
  if (code != SQLITE_OK) return code;  // the whole transaction is undone
  if (sqlite3_changes(connection_) == 0) {
    refused = fail(ErrorKind::kConflict, change.row.handler + " has run already for " +
                                             change.row.event + " (" + change.row.cause + ")");
  } else if (change.prepare) {
    refused = change.prepare();
  }
  if (!refused) code = sqlite::execute(connection_, "ROLLBACK TO job");
  if (code == SQLITE_OK) code = sqlite::execute(connection_, "RELEASE job");
  return code;
}

int JobTable::put(const EndJob& change) {
  return upsert(kEnd, change.row);
}

int JobTable::load_unfinished(std::vector<JobRow>& rows) {
  Statement select;
  int code = select.prepare(connection_,
                            "SELECT " JOB_COLUMNS " FROM jobs WHERE state < 2 ORDER BY number");
  if (code != SQLITE_OK) return code;
  while ((code = select.step()) == SQLITE_ROW) rows.push_back(read_row(select));
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

int JobTable::last_number(uint64_t& number) {
  Statement& select = statements_[kLast];
  int code = SQLITE_OK;
  while ((code = select.step()) == SQLITE_ROW) number = static_cast<uint64_t>(select.integer());
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

int JobTable::select(const JobQuery& query, std::vector<JobRow>& rows) {
  std::string sql = "SELECT " JOB_COLUMNS " FROM jobs WHERE 1";
  if (query.number != 0) sql += " AND number = ?1";
  if (query.below != 0) sql += " AND number < ?2";
  if (!query.cause.empty()) sql += " AND cause = ?3";
  if (!query.handler.empty()) sql += " AND (instr(handler, ?4) OR instr(event, ?4))";
  if (!query.states.empty()) {
    sql += " AND state IN (";
    for (const JobState state : query.states) {
      sql += (sql.back() == '(' ? "" : ", ") + std::to_string(static_cast<int>(state));
    }
    sql += ")";
  }
  sql += " ORDER BY number DESC LIMIT ?5";
  Statement select;
  int code = select.prepare(connection_, sql.c_str());
  if (code != SQLITE_OK) return code;
  select.bind(static_cast<int64_t>(query.number))
      .bind(static_cast<int64_t>(query.below))
      .blob(query.cause)
      .blob(query.handler)
      .bind(static_cast<int64_t>(query.limit));
  while ((code = select.step()) == SQLITE_ROW) rows.push_back(read_row(select));
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

int JobTable::prune(const JobRetention& retention, int64_t now_ms, std::vector<JobRun>& removed) {
  std::vector<uint64_t> numbers;
  Statement& select = statements_[kPrune];
  select.bind(static_cast<int64_t>(retention.count))
      .bind(now_ms - retention.age_ms)
      .bind(static_cast<int64_t>(retention.log_bytes))
      .bind(static_cast<int64_t>(retention.record_bytes));
  int code = SQLITE_OK;
  while ((code = select.step()) == SQLITE_ROW) {
    numbers.push_back(static_cast<uint64_t>(select.integer()));
  }
  if (code != SQLITE_DONE) return code;
  return remove(numbers, removed);
}

int JobTable::remove(const std::vector<uint64_t>& numbers, std::vector<JobRun>& removed) {
  int code = sqlite::execute(connection_, "BEGIN IMMEDIATE");
  for (const uint64_t number : numbers) {
    if (code != SQLITE_OK) break;
    Statement& statement = statements_[kRemove].bind(static_cast<int64_t>(number));
    while ((code = statement.step()) == SQLITE_ROW) {
      const auto found = static_cast<uint64_t>(statement.integer());
      removed.emplace_back(found, static_cast<unsigned>(statement.integer()));
    }
    if (code == SQLITE_DONE) code = SQLITE_OK;
  }
  if (code == SQLITE_OK) code = sqlite::execute(connection_, "COMMIT");
  if (code != SQLITE_OK) {
    removed.clear();
    if (sqlite3_get_autocommit(connection_) == 0) sqlite::execute(connection_, "ROLLBACK");
  }
  return code;
}

int JobTable::unknown(std::vector<uint64_t>& numbers) {
  std::vector<uint64_t> missing;
  for (const uint64_t number : numbers) {
    Statement& statement = statements_[kKnows].bind(static_cast<int64_t>(number));
    int code = SQLITE_OK;
    bool known = false;
    while ((code = statement.step()) == SQLITE_ROW) known = true;
    if (code != SQLITE_DONE) return code;
    if (!known) missing.push_back(number);
  }
  numbers = std::move(missing);
  return SQLITE_OK;
}

}  // namespace starling::agent
