// SPDX-License-Identifier: Apache-2.0
//
// The table of jobs: what is written once, what replaces what, and what is kept.
#include <sqlite3.h>

#include <asio.hpp>
#include <optional>

#include "agent/store/store.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

class Fixture {
 public:
  Fixture() { reopen(); }

  void reopen() {
    store.reset();
    auto opened = Store::open(io, scratch.path());
    REQUIRE(opened);
    store = std::move(*opened);
    state = store->take_state();
  }
  void turn() {
    io.restart();
    io.run_for(std::chrono::milliseconds(5));
  }
  Result<void> save(Change change) {
    std::optional<Result<void>> done;
    store->save({std::move(change)}, [&](const Result<void>& result) { done = result; });
    while (!done) turn();
    return *done;
  }
  std::vector<JobRow> list(JobQuery query = {}) {
    std::optional<std::vector<JobRow>> rows;
    bool done = false;
    REQUIRE(store->run(
        [&, query](Database& database) {
          auto found = database.jobs(query);
          if (found) rows = *found;
        },
        [&] { done = true; }));
    while (!done) turn();
    REQUIRE(rows);
    return *rows;
  }
  std::vector<JobRun> prune(const JobRetention& retention) {
    std::vector<JobRun> removed;
    bool done = false;
    REQUIRE(store->run(
        [&, retention](Database& database) {
          auto gone = database.prune_jobs(retention, 1'000'000);
          if (gone) removed = *gone;
        },
        [&] { done = true; }));
    while (!done) turn();
    return removed;
  }

  const Scratch scratch;
  asio::io_context io;
  std::unique_ptr<Store> store;
  StoredState state;
};

JobRow job(uint64_t number, const std::string& cause = "user-1",
           const std::string& handler = "user=/a") {
  JobRow row;
  row.number = number;
  row.cause = cause;
  row.handler = handler;
  row.event = "user:deploy";
  row.queued_ms = 1000;
  row.record = "event";
  return row;
}

JobRow in_state(JobRow row, JobState state) {
  row.state = state;
  return row;
}

TEST_CASE_METHOD(Fixture, "a job is kept with all that is known about it") {
  JobRow row = job(7);
  CHECK(save(PutJob{row}));
  row.state = JobState::kRunning;
  row.started_ms = 2000;
  row.boot = "boot";
  CHECK(save(StartJob{row, {}, true}));
  row.state = JobState::kFailed;
  row.ended_ms = 3000;
  row.status = 9;
  row.signalled = true;
  row.output_bytes = 12;
  row.reason = "killed by signal 9";
  row.record.clear();
  CHECK(save(EndJob{row, true}));
  reopen();
  CHECK(state.jobs.empty());
  CHECK(state.last_job == 7);
  const auto rows = list();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].state == JobState::kFailed);
  CHECK(rows[0].queued_ms == 1000);
  CHECK(rows[0].started_ms == 2000);
  CHECK(rows[0].ended_ms == 3000);
  CHECK(rows[0].status == 9);
  CHECK(rows[0].signalled);
  CHECK(rows[0].boot == "boot");
  CHECK(rows[0].output_bytes == 12);
  CHECK(rows[0].reason == "killed by signal 9");
  CHECK(rows[0].record == "event");
}

TEST_CASE_METHOD(Fixture, "a handler starts once for an event") {
  CHECK(save(PutJob{job(1)}));
  CHECK(save(StartJob{in_state(job(1), JobState::kRunning), {}, false}));
  const auto again = save(StartJob{in_state(job(1), JobState::kRunning), {}, false});
  REQUIRE_FALSE(again);
  CHECK(again.error().kind == ErrorKind::kConflict);
  // Under another number, planned or not.
  CHECK(save(PutJob{job(2)}));
  CHECK_FALSE(save(StartJob{in_state(job(2), JobState::kRunning), {}, false}));
  CHECK(save(EndJob{in_state(job(1), JobState::kSucceeded), false}));
  CHECK_FALSE(save(StartJob{in_state(job(1), JobState::kRunning), {}, false}));
  CHECK_FALSE(save(StartJob{in_state(job(3), JobState::kRunning), {}, false}));
  // Another handler, another event.
  CHECK(save(StartJob{in_state(job(4, "user-1", "user=/b"), JobState::kRunning), {}, false}));
  CHECK(save(StartJob{in_state(job(5, "user-2"), JobState::kRunning), {}, false}));
  CHECK(list().size() == 3);
}

TEST_CASE_METHOD(Fixture, "what has ended stays as it is until its next attempt") {
  CHECK(save(StartJob{in_state(job(1), JobState::kRunning), {}, false}));
  CHECK(save(EndJob{in_state(job(1), JobState::kFailed), false}));
  CHECK(save(EndJob{in_state(job(1), JobState::kSucceeded), false}));
  CHECK(list()[0].state == JobState::kFailed);
  JobRow next = job(1);
  next.attempt = 2;
  CHECK(save(EndJob{next, false}));
  CHECK(list()[0].state == JobState::kQueued);
  CHECK_FALSE(save(StartJob{in_state(job(1), JobState::kRunning), {}, false}));
  CHECK(save(StartJob{in_state(next, JobState::kRunning), {}, false}));
  reopen();
  REQUIRE(state.jobs.size() == 1);
  CHECK(state.jobs[0].attempt == 2);
  CHECK(state.jobs[0].state == JobState::kRunning);
}

TEST_CASE_METHOD(Fixture, "a start that cannot be prepared is undone alone") {
  CHECK(save(PutJob{job(1)}));
  std::optional<Result<void>> first;
  std::optional<Result<void>> second;
  store->save(
      {StartJob{in_state(job(1), JobState::kRunning),
                []() -> Result<void> { return fail(ErrorKind::kUnavailable, "no room"); }, true}},
      [&](const Result<void>& result) { first = result; });
  store->save({PutJob{job(2, "user-2")}}, [&](const Result<void>& result) { second = result; });
  while (!first || !second) turn();
  CHECK(first->error().message == "no room");
  CHECK(second->has_value());
  CHECK(list({.number = 1})[0].state == JobState::kQueued);
  CHECK(list().size() == 2);
}

TEST_CASE_METHOD(Fixture, "jobs are found by what they are") {
  for (uint64_t number = 1; number <= 9; ++number) {
    JobRow row = job(number, "user-" + std::to_string(number), number % 2 == 0 ? "web" : "db");
    row.state = number < 4 ? JobState::kQueued : JobState::kSucceeded;
    CHECK(save(PutJob{row}));
  }
  CHECK(list().front().number == 9);
  CHECK(list({.limit = 2}).size() == 2);
  CHECK(list({.below = 3}).size() == 2);
  CHECK(list({.handler = "web"}).size() == 4);
  CHECK(list({.handler = "deploy"}).size() == 9);
  CHECK(list({.cause = "user-5"}).at(0).number == 5);
  CHECK(list({.states = {JobState::kQueued}}).size() == 3);
  CHECK(list({.number = 77}).empty());
}

TEST_CASE_METHOD(Fixture, "what ended longest ago is pruned and numbers are never given again") {
  for (uint64_t number = 1; number <= 10; ++number) {
    JobRow row = job(number, "user-" + std::to_string(number));
    row.state = number == 1 ? JobState::kRunning : JobState::kSucceeded;
    row.ended_ms = static_cast<int64_t>(number) * 1000;
    row.output_bytes = 6000;
    row.log_bytes = 600;
    CHECK(save(PutJob{row}));
  }
  const JobRetention all{.count = 100, .age_ms = 1'000'000'000};
  CHECK(prune(all).empty());
  JobRetention few = all;
  few.count = 7;
  CHECK(prune(few) == std::vector<JobRun>{{3, 1}, {2, 1}});
  JobRetention young = all;
  young.age_ms = 1'000'000 - 5000;
  CHECK(prune(young) == std::vector<JobRun>{{4, 1}});
  JobRetention small = all;
  small.log_bytes = 1800;
  CHECK(prune(small).size() == 3);
  JobRetention none = all;
  none.count = 0;
  CHECK(prune(none).size() == 3);
  CHECK(list().size() == 1);  // it runs
  reopen();
  CHECK(state.last_job == 10);
}

TEST_CASE("events of the first version that had begun are done with") {
  const Scratch scratch;
  std::filesystem::create_directories(scratch.path());
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((scratch / "state.db").c_str(), &raw) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, R"sql(
    CREATE TABLE members (id BLOB PRIMARY KEY, name BLOB NOT NULL, ip BLOB NOT NULL,
      port INTEGER NOT NULL, seen INTEGER NOT NULL, gone INTEGER NOT NULL,
      departed INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL,
      epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, record BLOB NOT NULL,
      UNIQUE (origin, epoch, sequence));
    CREATE TABLE progress (origin BLOB NOT NULL, epoch INTEGER NOT NULL,
      contiguous INTEGER NOT NULL, beyond BLOB NOT NULL, PRIMARY KEY (origin, epoch)) WITHOUT ROWID;
    CREATE TABLE queries (number INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL,
      epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, expires INTEGER NOT NULL,
      UNIQUE (origin, epoch, sequence));
    CREATE TABLE pending (number INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL,
      epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, ltime INTEGER NOT NULL,
      name BLOB NOT NULL, payload BLOB NOT NULL, coalesce INTEGER NOT NULL,
      UNIQUE (origin, epoch, sequence));
    CREATE TABLE started (origin BLOB NOT NULL, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
      handler BLOB NOT NULL, PRIMARY KEY (origin, epoch, sequence, handler)) WITHOUT ROWID;
    CREATE TABLE tags (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
    CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO pending VALUES (1, zeroblob(16), 7, 1, 1, 'begun', '', 0);
    INSERT INTO pending VALUES (2, zeroblob(16), 7, 2, 2, 'waiting', '', 0);
    INSERT INTO started VALUES (zeroblob(16), 7, 1, 'user=/a');
    PRAGMA user_version = 1;
  )sql",
                       nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(raw);
  asio::io_context io;
  auto store = Store::open(io, scratch.path());
  REQUIRE(store);
  CHECK((*store)->notes().empty());
  const StoredState state = (*store)->take_state();
  REQUIRE(state.pending.size() == 1);
  CHECK(state.pending[0].name == "waiting");
}

}  // namespace
}  // namespace starling::agent
