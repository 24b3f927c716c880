// SPDX-License-Identifier: Apache-2.0
#include "agent/store/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/store/file.h"
#include "agent/store/job_table.h"
#include "agent/store/schema.h"
#include "agent/store/sqlite.h"
#include "agent/store/trust_table.h"
#include "handlers/fault.h"

namespace starling::agent {

namespace {

using membership::Clocks;
using membership::ForgetEvent;
using membership::ForgetProgress;
using membership::NodeId;
using membership::SaveProgress;
using sqlite::Statement;

constexpr int kBusyTimeoutMs = 2000;
// Clocks that set boot epochs may differ by so much.
constexpr int64_t kEpochSlack_s = int64_t{24} * 3600;
// Rows that have outlived their use are swept after so many changes, and at start.
constexpr unsigned kSweepAfter = 4096;

// Offsets in a database's header (SQLite, "Database File Format", 1.3), and what they hold with
// WAL.
constexpr size_t kWriteVersion = 18;
constexpr size_t kReadVersion = 19;
constexpr unsigned char kWithWal = 2;

enum Query : size_t {
  kPutMember,
  kDropMember,
  kPutEvent,
  kDropEvent,
  kPutProgress,
  kDropProgress,
  kPutPending,
  kDropPending,
  kPutQuery,
  kPutCoordinate,
  kDropTags,
  kPutTag,
  kPutNumber,
  kSweepQueries,
  kSweepMembers,
  kSweepGone,
  kSweepCoordinates,
  kQueries,
};

constexpr std::array<const char*, kQueries> kSql = {
    "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?)",
    "DELETE FROM members WHERE id = ?",
    "INSERT OR IGNORE INTO events (origin, epoch, sequence, record, sent) VALUES (?, ?, ?, ?, ?)",
    "DELETE FROM events WHERE origin = ? AND epoch = ? AND sequence = ?",
    "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)",
    "DELETE FROM progress WHERE origin = ? AND epoch = ?",
    "INSERT OR IGNORE INTO pending (origin, epoch, sequence, ltime, name, payload, coalesce, "
    "timing, operator_name, operator_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "DELETE FROM pending WHERE origin = ? AND epoch = ? AND sequence = ?",
    "INSERT OR REPLACE INTO queries (origin, epoch, sequence, expires) VALUES (?, ?, ?, ?)",
    "INSERT OR REPLACE INTO coordinates VALUES (?, ?)",
    "DELETE FROM tags",
    "INSERT INTO tags VALUES (?, ?)",
    "INSERT OR REPLACE INTO numbers VALUES (?, ?)",
    "DELETE FROM queries WHERE (expires < ? AND EXISTS (SELECT 1 FROM queries AS later "
    "WHERE later.origin = queries.origin AND (later.epoch > queries.epoch OR "
    "(later.epoch = queries.epoch AND later.sequence > queries.sequence)))) "
    "OR number IN (SELECT number FROM queries ORDER BY number DESC LIMIT -1 OFFSET ?)",
    "DELETE FROM members WHERE (gone OR departed) AND seen < ?",
    "DELETE FROM members WHERE id IN (SELECT id FROM members WHERE gone OR departed "
    "ORDER BY seen DESC LIMIT -1 OFFSET ?)",
    "DELETE FROM coordinates WHERE id <> ? AND id NOT IN (SELECT id FROM members)",
};

std::string pack_sequences(const std::vector<uint64_t>& sequences) {
  std::string packed;
  packed.reserve(sequences.size() * 8);
  for (const uint64_t sequence : sequences) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      packed.push_back(static_cast<char>(sequence >> shift & 0xff));
    }
  }
  return packed;
}

std::vector<uint64_t> unpack_sequences(std::string_view packed) {
  std::vector<uint64_t> sequences(packed.size() / 8);
  for (size_t i = 0; i < sequences.size() * 8; ++i) {
    sequences[i / 8] = sequences[i / 8] << 8 | static_cast<unsigned char>(packed[i]);
  }
  return sequences;
}

bool is_durable(const Change& change) {
  if (const auto* start = std::get_if<StartJob>(&change)) return start->durable;
  if (const auto* end = std::get_if<EndJob>(&change)) return end->durable;
  if (const auto* event = std::get_if<PutEvent>(&change)) return event->durable;
  return std::holds_alternative<PutOrder>(change) || std::holds_alternative<PutStatement>(change) ||
         std::holds_alternative<PutOperator>(change);
}

membership::EventTiming timing_of(int64_t stored) {
  using membership::EventTiming;
  for (const auto timing : {EventTiming::kMissed, EventTiming::kBeforeJoin}) {
    if (stored == static_cast<int64_t>(timing)) return timing;
  }
  return EventTiming::kLive;
}

bool is_damage(int code) {
  return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

/// Gives the damaged database another name. The new path, or empty when that fails.
std::string move_aside(const std::string& path) {
  for (int n = 1; n < 1000; ++n) {
    const std::string aside = path + ".corrupt-" + std::to_string(n);
    if (::access(aside.c_str(), F_OK) == 0) continue;
    if (::rename(path.c_str(), aside.c_str()) != 0) return {};
    ::rename((path + "-wal").c_str(), (aside + "-wal").c_str());
    ::unlink((path + "-shm").c_str());
    return aside;
  }
  return {};
}

}  // namespace

class Database::Impl {
 public:
  Impl(std::string path, const DatabaseLimits& limits) : path_(std::move(path)), limits_(limits) {}

  /// Writes an empty database in one piece: SQLite would wait for the disk time and again.
  Result<void> create();
  /// SQLite's result code.
  int open();
  Result<StoredState> load(int64_t unix_now);
  Result<void> commit(std::span<const Changes> batch, int64_t unix_now,
                      std::vector<Result<void>>& outcomes);
  JobTable& jobs() { return jobs_; }
  [[nodiscard]] Error error() const { return sqlite::describe(connection_.get(), path_); }
  [[nodiscard]] bool newer() const { return version_ > kSchemaVersion; }

 private:
  int configure();
  int check();
  int migrate();
  Statement& statement(Query query) { return statements_.at(query); }
  int sweep(int64_t unix_now);

  int put(const PutMember& change);
  int put(const DropMember& change);
  int put(const PutEvent& change);
  int put(const SaveProgress& change);
  int put(const ForgetEvent& change);
  int put(const ForgetProgress& change);
  int put(const PutPending& change);
  int put(const SettleEvent& change);
  int put(const PutJob& change) { return jobs_.put(change); }
  int put(const StartJob& change) { return jobs_.put(change, *outcome_); }
  int put(const EndJob& change) { return jobs_.put(change); }
  int wait_for_disk(bool wait);
  int put(const PutQuery& change);
  int put(const Clocks& change);
  int put(const PutCoordinates& change);
  int put(const PutLiveTags& change);
  int put(const PutLeft& change);
  int put(const PutOperator& change) { return trust_.put(change); }
  int put(const PutOrder& change) { return trust_.put(change); }
  int put(const PutStatement& change) { return trust_.put(change); }
  int put_number(std::string_view name, uint64_t value);

  template <typename Row>
  int each(const char* sql, Row row);
  int load_members(StoredState& state);
  int load_events(StoredState& state, int64_t unix_now);
  int load_progress(StoredState& state);
  int load_pending(StoredState& state);
  int load_small(StoredState& state, int64_t unix_now);

  const std::string path_;
  const DatabaseLimits limits_;
  sqlite::Connection connection_;
  std::array<Statement, kQueries> statements_;
  int version_ = 0;
  unsigned until_sweep_ = kSweepAfter;
  JobTable jobs_;
  TrustTable trust_;
  Result<void>* outcome_ = nullptr;  ///< of the Changes that are being carried out
  bool waits_for_disk_ = false;
};

// --- opening -----------------------------------------------------------------------------------

Result<void> Database::Impl::create() {
  // What is left of one that was removed is no part of the new one.
  for (const char* rest : {"-wal", "-shm", "-journal"}) ::unlink((path_ + rest).c_str());
  Impl blank(path_, limits_);
  sqlite3* connection = nullptr;
  int code = sqlite3_open(":memory:", &connection);
  blank.connection_.reset(connection);
  if (code == SQLITE_OK) code = blank.migrate();
  sqlite3_int64 size = 0;
  const std::unique_ptr<unsigned char, decltype(&sqlite3_free)> image(
      code == SQLITE_OK ? sqlite3_serialize(connection, "main", &size, 0) : nullptr, sqlite3_free);
  if (!image) return tl::unexpected(blank.error());
  image.get()[kWriteVersion] = image.get()[kReadVersion] = kWithWal;
  return replace_file(path_, {reinterpret_cast<char*>(image.get()), static_cast<size_t>(size)});
}

int Database::Impl::open() {
  // Events may hold secrets: SQLite would let the umask decide who may read them.
  const int created = ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (created >= 0) ::close(created);
  sqlite3* connection = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                    SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
  int code = sqlite3_open_v2(path_.c_str(), &connection, flags, nullptr);
  connection_.reset(connection);
  if (code == SQLITE_OK) code = configure();
  if (code == SQLITE_OK) code = check();
  if (code == SQLITE_OK && !newer()) code = migrate();
  if (code != SQLITE_OK || newer()) return code;
  for (size_t i = 0; i < kQueries && code == SQLITE_OK; ++i) {
    code = statements_[i].prepare(connection_.get(), kSql[i]);
  }
  if (code == SQLITE_OK) code = jobs_.prepare(connection_.get());
  if (code == SQLITE_OK) code = trust_.prepare(connection_.get());
  // A table that should be there is not: as bad as a damaged page.
  return (code & 0xff) == SQLITE_ERROR ? SQLITE_CORRUPT : code;
}

int Database::Impl::configure() {
  sqlite3_busy_timeout(connection_.get(), kBusyTimeoutMs);
  const std::string sql =
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -512; "
      "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; "
      "PRAGMA journal_size_limit = 4194304; PRAGMA max_page_count = " +
      std::to_string(limits_.pages);
  return sqlite::execute(connection_.get(), sql.c_str());
}

int Database::Impl::check() {
  Statement version;
  int code = version.prepare(connection_.get(), "PRAGMA user_version");
  if (code != SQLITE_OK) return code;
  if (version.step() == SQLITE_ROW) version_ = static_cast<int>(version.integer());
  bool whole = false;
  code = each("PRAGMA quick_check(1)", [&](Statement& row) { whole = row.bytes() == "ok"; });
  if (code != SQLITE_OK) return code;
  return whole ? SQLITE_OK : SQLITE_CORRUPT;
}

int Database::Impl::migrate() {
  if (version_ == kSchemaVersion) return SQLITE_OK;
  // Version 0 is an empty file. Each version adds its step, one after the other.
  int code = sqlite::execute(connection_.get(), "BEGIN IMMEDIATE");
  if (code == SQLITE_OK && version_ == 0) code = sqlite::execute(connection_.get(), kSchema);
  if (code == SQLITE_OK && version_ == 1) code = sqlite::execute(connection_.get(), kFromVersion1);
  if (code == SQLITE_OK && version_ < 2) {
    code = sqlite::execute(connection_.get(), JobTable::kSchema);
  }
  if (code == SQLITE_OK && (version_ == 1 || version_ == 2)) {
    code = sqlite::execute(connection_.get(), kFromVersion2);
  }
  if (code == SQLITE_OK && version_ != 0 && version_ < 4) {
    code = sqlite::execute(connection_.get(), kFromVersion3);
  }
  if (code == SQLITE_OK && version_ != 0 && version_ < 5) {
    code = sqlite::execute(connection_.get(), kFromVersion4);
  }
  if (code == SQLITE_OK && version_ < 5) {
    code = sqlite::execute(connection_.get(), TrustTable::kSchema);
  }
  if (code == SQLITE_OK) code = sqlite::execute(connection_.get(), TrustTable::kFromVersion5);
  if (code == SQLITE_OK) code = sqlite::execute(connection_.get(), "PRAGMA user_version = 6");
  if (code == SQLITE_OK) code = sqlite::execute(connection_.get(), "COMMIT");
  return code;
}

// --- loading -----------------------------------------------------------------------------------

template <typename Row>
int Database::Impl::each(const char* sql, Row row) {
  Statement select;
  int code = select.prepare(connection_.get(), sql);
  if (code != SQLITE_OK) return code;
  while ((code = select.step()) == SQLITE_ROW) row(select);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

int Database::Impl::load_members(StoredState& state) {
  return each("SELECT id, name, ip, port, seen, gone, departed FROM members ORDER BY seen DESC",
              [&](Statement& row) {
                const auto id = NodeId::from_wire(row.bytes());
                KnownMember member;
                member.name = row.bytes();
                const std::string ip = row.bytes();
                const auto address =
                    membership::Address::from_wire(ip, static_cast<uint32_t>(row.integer()));
                member.seen = row.integer();
                member.gone = row.integer() != 0;
                member.left = row.integer() != 0;
                if (!id || !address) return;
                member.id = *id;
                member.address = *address;
                state.members.push_back(std::move(member));
              });
}

int Database::Impl::load_events(StoredState& state, int64_t unix_now) {
  return each("SELECT origin, epoch, sequence, record, sent FROM events ORDER BY number",
              [&](Statement& row) {
                const auto id = row.message();
                std::string record = row.bytes();
                // The clock may have been set back meanwhile.
                const int64_t age = std::max<int64_t>(unix_now - row.integer(), 0);
                state.events.push_back({id, std::move(record), std::chrono::seconds(age)});
              });
}

int Database::Impl::load_progress(StoredState& state) {
  return each("SELECT origin, epoch, contiguous, beyond FROM progress", [&](Statement& row) {
    SaveProgress progress{};
    const auto origin = NodeId::from_wire(row.bytes());
    progress.epoch = static_cast<uint32_t>(row.integer());
    progress.contiguous = static_cast<uint64_t>(row.integer());
    progress.beyond = unpack_sequences(row.bytes());
    if (!origin) return;
    progress.origin = *origin;
    state.progress.push_back(std::move(progress));
  });
}

int Database::Impl::load_pending(StoredState& state) {
  return each(
      "SELECT origin, epoch, sequence, ltime, name, payload, coalesce, timing, operator_name, "
      "operator_key FROM pending ORDER BY number",
      [&](Statement& row) {
        PendingEvent event;
        event.id = row.message();
        event.ltime = static_cast<uint64_t>(row.integer());
        event.name = row.bytes();
        event.payload = row.bytes();
        event.coalesce = row.integer() != 0;
        event.timing = timing_of(row.integer());
        event.operator_name = row.bytes();
        event.operator_key = row.bytes();
        state.pending.push_back(std::move(event));
      });
}

int Database::Impl::load_small(StoredState& state, int64_t unix_now) {
  // Of those that have expired the sweep leaves the last one of each asker; others may still be
  // there and are as harmless.
  int code =
      each("SELECT origin, epoch, sequence FROM queries ORDER BY number DESC", [&](Statement& row) {
        const auto id = row.message();
        // Boot epochs are unix seconds. One far in the future is made up, and would
        // shut the real asker out.
        if (id.epoch <= unix_now + kEpochSlack_s) state.queries.push_back(id);
      });
  if (code != SQLITE_OK) return code;
  code = each("SELECT key, value FROM tags", [&](Statement& row) {
    std::string key = row.bytes();
    std::optional<std::string> value;
    if (!row.is_null()) value = row.bytes();
    state.live_tags.emplace(std::move(key), std::move(value));
  });
  if (code != SQLITE_OK) return code;
  code = each("SELECT id, coordinate FROM coordinates", [&](Statement& row) {
    const auto id = NodeId::from_wire(row.bytes());
    proto::Coordinate wire;
    if (!id || !wire.ParseFromString(row.bytes())) return;
    if (const auto coordinate = membership::from_wire(wire)) {
      state.coordinates.push_back({*id, *coordinate});
    }
  });
  if (code != SQLITE_OK) return code;
  return each("SELECT name, value FROM numbers", [&](Statement& row) {
    const std::string name = row.bytes();
    const auto value = static_cast<uint64_t>(row.integer());
    if (name == "member_clock") state.clocks.member = value;
    if (name == "event_clock") state.clocks.event = value;
    if (name == "query_clock") state.clocks.query = value;
    if (name == "left") state.left = value != 0;
  });
}

Result<StoredState> Database::Impl::load(int64_t unix_now) {
  StoredState state;
  int code = sweep(unix_now);
  if (code == SQLITE_OK) code = load_members(state);
  if (code == SQLITE_OK) code = load_events(state, unix_now);
  if (code == SQLITE_OK) code = load_progress(state);
  if (code == SQLITE_OK) code = load_pending(state);
  if (code == SQLITE_OK) code = load_small(state, unix_now);
  if (code == SQLITE_OK) code = trust_.load(state);
  if (code == SQLITE_OK) code = jobs_.load_unfinished(state.jobs);
  if (code == SQLITE_OK) code = jobs_.last_number(state.last_job);
  if (code != SQLITE_OK) return tl::unexpected(error());
  return state;
}

// --- changes -----------------------------------------------------------------------------------

int Database::Impl::put(const PutMember& change) {
  const KnownMember& member = change.member;
  const std::string ip = member.address.wire_ip();
  return statement(kPutMember)
      .blob(member.id.wire())
      .blob(member.name)
      .blob(ip)
      .bind(member.address.port())
      .bind(member.seen)
      .bind(member.gone ? 1 : 0)
      .bind(member.left ? 1 : 0)
      .run();
}

int Database::Impl::put(const DropMember& change) {
  return statement(kDropMember).blob(change.id.wire()).run();
}

int Database::Impl::put(const PutEvent& change) {
  return statement(kPutEvent).message(change.id).blob(change.record).bind(change.sent).run();
}

int Database::Impl::put(const SaveProgress& change) {
  const std::string beyond = pack_sequences(change.beyond);
  return statement(kPutProgress)
      .blob(change.origin.wire())
      .bind(change.epoch)
      .bind(static_cast<int64_t>(change.contiguous))
      .blob(beyond)
      .run();
}

int Database::Impl::put(const ForgetEvent& change) {
  return statement(kDropEvent).message(change.id).run();
}

int Database::Impl::put(const ForgetProgress& change) {
  return statement(kDropProgress).blob(change.origin.wire()).bind(change.epoch).run();
}

int Database::Impl::put(const PutPending& change) {
  const PendingEvent& event = change.event;
  return statement(kPutPending)
      .message(event.id)
      .bind(static_cast<int64_t>(event.ltime))
      .blob(event.name)
      .blob(event.payload)
      .bind(event.coalesce ? 1 : 0)
      .bind(static_cast<int>(event.timing))
      .blob(event.operator_name)
      .blob(event.operator_key)
      .run();
}

int Database::Impl::put(const SettleEvent& change) {
  return statement(kDropPending).message(change.id).run();
}

int Database::Impl::put(const PutQuery& change) {
  return statement(kPutQuery).message(change.id).bind(change.expires).run();
}

int Database::Impl::put_number(std::string_view name, uint64_t value) {
  return statement(kPutNumber).text(name).bind(static_cast<int64_t>(value)).run();
}

int Database::Impl::put(const Clocks& change) {
  int code = put_number("member_clock", change.member);
  if (code == SQLITE_OK) code = put_number("event_clock", change.event);
  if (code == SQLITE_OK) code = put_number("query_clock", change.query);
  return code;
}

int Database::Impl::put(const PutCoordinates& change) {
  for (const membership::KnownCoordinate& each : change.coordinates) {
    const std::string coordinate = membership::to_wire(each.coordinate).SerializeAsString();
    const int code = statement(kPutCoordinate).blob(each.id.wire()).blob(coordinate).run();
    if (code != SQLITE_OK) return code;
  }
  return SQLITE_OK;
}

int Database::Impl::put(const PutLiveTags& change) {
  int code = statement(kDropTags).run();
  for (const auto& [key, value] : change.tags) {
    if (code != SQLITE_OK) break;
    Statement& insert = statement(kPutTag).blob(key);
    code = (value ? insert.blob(*value) : insert.bind_null()).run();
  }
  return code;
}

int Database::Impl::put(const PutLeft& change) {
  return put_number("left", change.left ? 1 : 0);
}

int Database::Impl::sweep(int64_t unix_now) {
  until_sweep_ = kSweepAfter;
  int code =
      statement(kSweepQueries).bind(unix_now).bind(static_cast<int64_t>(limits_.queries)).run();
  if (code == SQLITE_OK) {
    code = statement(kSweepMembers).bind(unix_now - limits_.gone_member_s).run();
  }
  if (code == SQLITE_OK) {
    code = statement(kSweepGone).bind(static_cast<int64_t>(limits_.gone_members)).run();
  }
  if (code == SQLITE_OK) code = statement(kSweepCoordinates).blob(NodeId().wire()).run();
  if (code == SQLITE_OK) code = trust_.sweep();
  return code;
}

int Database::Impl::wait_for_disk(bool wait) {
  if (wait == waits_for_disk_) return SQLITE_OK;
  waits_for_disk_ = wait;
  return sqlite::execute(connection_.get(),
                         wait ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
}

Result<void> Database::Impl::commit(std::span<const Changes> batch, int64_t unix_now,
                                    std::vector<Result<void>>& outcomes) {
  outcomes.assign(batch.size(), Result<void>());
  int code = wait_for_disk(std::ranges::any_of(
      batch, [](const Changes& changes) { return std::ranges::any_of(changes, is_durable); }));
  if (code == SQLITE_OK) code = sqlite::execute(connection_.get(), "BEGIN IMMEDIATE");
  for (size_t i = 0; i < batch.size(); ++i) {
    outcome_ = &outcomes[i];
    for (const Change& change : batch[i]) {
      if (code != SQLITE_OK) break;
      code = std::visit([this](const auto& one) { return put(one); }, change);
      if (until_sweep_ > 0) --until_sweep_;
    }
  }
  if (code == SQLITE_OK && until_sweep_ == 0) code = sweep(unix_now);
  fault_point(FaultPoint::kBeforeCommit);
  if (code == SQLITE_OK) code = sqlite::execute(connection_.get(), "COMMIT");
  fault_point(FaultPoint::kAfterCommit);
  if (code == SQLITE_OK) return {};
  Error failed = error();
  if (sqlite3_get_autocommit(connection_.get()) == 0) {
    sqlite::execute(connection_.get(), "ROLLBACK");
  }
  return tl::unexpected(std::move(failed));
}

// --- the door ----------------------------------------------------------------------------------

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::~Database() = default;

Result<std::unique_ptr<Database>> Database::open(const std::string& path,
                                                 const DatabaseLimits& limits,
                                                 std::vector<std::string>& notes) {
  auto impl = std::make_unique<Impl>(path, limits);
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
    if (auto created = impl->create(); !created) return tl::unexpected(created.error());
  }
  int code = impl->open();
  if (is_damage(code)) {
    impl = nullptr;  // closes the file before it is moved
    const std::string aside = move_aside(path);
    if (aside.empty()) {
      return fail(ErrorKind::kUnavailable, path + " is damaged, and cannot be moved aside: " +
                                               std::strerror(errno) + "; remove it");
    }
    notes.push_back(path + " was damaged: it is kept as " + aside +
                    ", and a new one is begun. Known members, events and tags set at run time are "
                    "lost; give an address to join");
    impl = std::make_unique<Impl>(path, limits);
    if (auto created = impl->create(); !created) return tl::unexpected(created.error());
    code = impl->open();
  }
  if (code == SQLITE_OK && impl->newer()) {
    return fail(ErrorKind::kInvalid, path +
                                         " was written by a newer version: install that, or move "
                                         "the file away and start anew");
  }
  if (code != SQLITE_OK) return tl::unexpected(impl->error());
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

Result<StoredState> Database::load(int64_t unix_now) {
  return impl_->load(unix_now);
}

Result<void> Database::commit(std::span<const Changes> batch, int64_t unix_now,
                              std::vector<Result<void>>& outcomes) {
  return impl_->commit(batch, unix_now, outcomes);
}

Result<std::vector<JobRow>> Database::jobs(const JobQuery& query) {
  std::vector<JobRow> rows;
  if (impl_->jobs().select(query, rows) != SQLITE_OK) return tl::unexpected(impl_->error());
  return rows;
}

Result<std::vector<JobRun>> Database::prune_jobs(const JobRetention& retention, int64_t now_ms) {
  std::vector<JobRun> removed;
  if (impl_->jobs().prune(retention, now_ms, removed) != SQLITE_OK) {
    return tl::unexpected(impl_->error());
  }
  return removed;
}

Result<std::vector<JobRun>> Database::remove_jobs(const std::vector<uint64_t>& numbers) {
  std::vector<JobRun> removed;
  if (impl_->jobs().remove(numbers, removed) != SQLITE_OK) return tl::unexpected(impl_->error());
  return removed;
}

Result<std::vector<uint64_t>> Database::unknown_jobs(std::vector<uint64_t> numbers) {
  if (impl_->jobs().unknown(numbers) != SQLITE_OK) return tl::unexpected(impl_->error());
  return numbers;
}

}  // namespace starling::agent
