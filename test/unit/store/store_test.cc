// SPDX-License-Identifier: Apache-2.0
#include "agent/store/store.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asio.hpp>
#include <filesystem>

#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

using membership::Address;
using membership::Clocks;
using membership::ForgetEvent;
using membership::ForgetProgress;
using membership::SaveProgress;

constexpr int64_t kNow = 1'800'000'000;

Result<std::unique_ptr<Store>> open_at(asio::io_context& io, const std::string& path,
                                       int64_t now = kNow, const StoreLimits& limits = {}) {
  return Store::open(io, path, [now] { return now; }, limits);
}

/// Saves and waits until it is on disk; runs the loop.
Result<void> save_now(asio::io_context& io, Store& store, Changes changes) {
  std::optional<Result<void>> result;
  store.save(std::move(changes), [&](const Result<void>& done) { result = done; });
  store.flush();
  while (!result) {
    io.restart();
    io.run_for(std::chrono::milliseconds(20));
  }
  return *result;
}

constexpr const char* kBackToVersion4 =
    "DROP TABLE operators; DROP TABLE orders; DROP TABLE order_horizon; DROP TABLE nodes;"
    "ALTER TABLE pending DROP COLUMN operator_name; ALTER TABLE pending DROP COLUMN operator_key;"
    "PRAGMA user_version = 4";

/// What a fresh process finds after `changes`.
StoredState reopened(const std::string& path, const std::vector<Changes>& saves,
                     int64_t later = kNow) {
  asio::io_context io;
  {
    auto store = open_at(io, path);
    REQUIRE(store);
    for (const Changes& changes : saves) REQUIRE(save_now(io, **store, changes));
  }
  auto store = open_at(io, path, later);
  REQUIRE(store);
  return (*store)->take_state();
}

KnownMember known(uint8_t n, int64_t seen, bool gone = false, bool left = false) {
  return {node_id(n), "node-" + std::to_string(n), *Address::parse("10.0.0.1:7946"), seen, gone,
          left};
}

TEST_CASE("a new directory holds nothing but an identity") {
  const Scratch scratch;
  asio::io_context io;
  auto store = open_at(io, scratch / "a/b/state");
  REQUIRE(store);
  CHECK((*store)->epoch() == static_cast<uint32_t>(kNow));
  CHECK((*store)->key().created);
  CHECK((*store)->notes().empty());
  const StoredState state = (*store)->take_state();
  CHECK(state.members.empty());
  CHECK(state.events.empty());
  CHECK(state.clocks == Clocks{});
  CHECK_FALSE(state.left);
  struct stat status = {};
  REQUIRE(::stat((scratch / "a/b/state").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0700);
}

TEST_CASE("identity stays and the epoch rises from start to start") {
  const Scratch scratch;
  asio::io_context io;
  membership::NodeId id;
  uint32_t epoch = 0;
  {
    auto store = open_at(io, scratch.path());
    REQUIRE(store);
    id = (*store)->key().id;
    epoch = (*store)->epoch();
  }
  auto store = open_at(io, scratch.path(), kNow - 500);
  REQUIRE(store);
  CHECK((*store)->key().id == id);
  CHECK((*store)->epoch() == epoch + 1);
}

TEST_CASE("members are kept with what is known of them") {
  const Scratch scratch;
  KnownMember moved = known(1, kNow + 5);
  moved.address = *Address::parse("[2001:db8::1]:7000");
  const StoredState state = reopened(
      scratch.path(),
      {{PutMember{known(1, kNow)}, PutMember{known(2, kNow + 9, true)}, PutMember{known(3, kNow)}},
       {PutMember{moved}, DropMember{node_id(3)}}});
  REQUIRE(state.members.size() == 2);
  CHECK(state.members[0].id == node_id(2));  // last seen first
  CHECK(state.members[0].gone);
  CHECK(state.members[1].address.to_string() == "[2001:db8::1]:7000");
  CHECK(state.members[1].name == "node-1");
  CHECK(state.members[1].seen == kNow + 5);
}

TEST_CASE("members that are gone are forgotten in the end and are bounded") {
  const Scratch scratch;
  constexpr int64_t kDay = 24 * 3600;
  {
    asio::io_context io;
    StoreLimits limits;
    limits.database.gone_members = 2;
    auto store = open_at(io, scratch.path(), kNow, limits);
    REQUIRE(store);
    Changes changes;
    for (uint8_t n = 1; n <= 5; ++n) changes.push_back(PutMember{known(n, kNow + n, true)});
    changes.push_back(PutMember{known(6, kNow - 100 * kDay)});  // alive: stays
    REQUIRE(save_now(io, **store, changes));
  }
  asio::io_context io;
  StoreLimits limits;
  limits.database.gone_members = 2;
  {
    auto store = open_at(io, scratch.path(), kNow, limits);
    REQUIRE(store);
    const StoredState state = (*store)->take_state();
    REQUIRE(state.members.size() == 3);
    CHECK(state.members[0].id == node_id(5));
    CHECK(state.members[1].id == node_id(4));
    CHECK(state.members[2].id == node_id(6));
  }
  auto store = open_at(io, scratch.path(), kNow + 31 * kDay, limits);
  REQUIRE(store);
  CHECK((*store)->take_state().members.size() == 1);
}

TEST_CASE("events come back in order of arrival with their progress") {
  const Scratch scratch;
  const std::string record("\0binary\xff", 8);
  const StoredState state = reopened(
      scratch.path(), {{PutEvent{message_id(9, 1), record}, SaveProgress{node_id(9), 7, 1, {}}},
                       {PutEvent{message_id(1, 5), "b"}, SaveProgress{node_id(1), 7, 0, {5}}},
                       {PutEvent{message_id(9, 2), "c"}, SaveProgress{node_id(9), 7, 2, {}}},
                       {PutEvent{message_id(1, 1ULL << 63), "d"},
                        SaveProgress{node_id(1), 7, 0, {5, 300, 1ULL << 63}}},
                       {ForgetEvent{message_id(9, 2)}, SaveProgress{node_id(3), 8, 1, {}},
                        ForgetProgress{node_id(3), 8}}});
  REQUIRE(state.events.size() == 3);
  CHECK(state.events[0].id == message_id(9, 1));
  CHECK(state.events[0].record == record);
  CHECK(state.events[1].id == message_id(1, 5));
  CHECK(state.events[2].id == message_id(1, 1ULL << 63));
  REQUIRE(state.progress.size() == 2);
  CHECK(state.progress[0].origin == node_id(1));
  CHECK(state.progress[0].beyond == std::vector<uint64_t>{5, 300, 1ULL << 63});
  CHECK(state.progress[1].contiguous == 2);
}

TEST_CASE("events come back with their age, even when the clock was set back") {
  const Scratch scratch;
  const StoredState state =
      reopened(scratch.path(), {{PutEvent{message_id(1, 1), "a", kNow - 90, true},
                                 PutEvent{message_id(1, 2), "b", kNow + 1'000'000}}});
  REQUIRE(state.events.size() == 2);
  CHECK(state.events[0].age >= std::chrono::seconds(90));
  CHECK(state.events[0].age < std::chrono::seconds(900));
  CHECK(state.events[1].age == std::chrono::seconds(0));
}

TEST_CASE("it is kept of a pending event that it was missed") {
  const Scratch scratch;
  using membership::EventTiming;
  Changes changes;
  for (const auto timing : {EventTiming::kLive, EventTiming::kMissed, EventTiming::kBeforeJoin}) {
    const uint64_t number = changes.size() + 1;
    changes.push_back(PutPending{{message_id(1, number), number, "deploy", "", false, timing}});
  }
  const StoredState state = reopened(scratch.path(), {changes});
  REQUIRE(state.pending.size() == 3);
  CHECK(state.pending[0].timing == EventTiming::kLive);
  CHECK(state.pending[1].timing == EventTiming::kMissed);
  CHECK(state.pending[2].timing == EventTiming::kBeforeJoin);
}

TEST_CASE("pending events stay until they are settled") {
  const Scratch scratch;
  const PendingEvent deploy{message_id(1, 1), 40, "deploy", std::string("p\0q", 3), true};
  const PendingEvent other{message_id(1, 2), 41, "other", "", false};
  const StoredState state =
      reopened(scratch.path(), {{PutPending{deploy}, PutPending{other}}, {SettleEvent{other.id}}});
  REQUIRE(state.pending.size() == 1);
  const PendingEvent& event = state.pending[0];
  CHECK(event.id == deploy.id);
  CHECK(event.ltime == 40);
  CHECK(event.name == "deploy");
  CHECK(event.payload == deploy.payload);
  CHECK(event.coalesce);
}

TEST_CASE("queries are remembered until they expire") {
  const Scratch scratch;
  asio::io_context io;
  auto store = open_at(io, scratch.path(), kNow);
  REQUIRE(store);
  REQUIRE(
      save_now(io, **store,
               {PutQuery{message_id(1, 1), kNow + 10}, PutQuery{message_id(1, 2), kNow + 100}}));
  store->reset();
  store = open_at(io, scratch.path(), kNow + 50);  // which sweeps
  REQUIRE(store);
  CHECK((*store)->take_state().queries.front() == message_id(1, 2));
}

TEST_CASE("of queries that have expired the last one of each asker is kept") {
  const Scratch scratch;
  asio::io_context io;
  {
    auto store = open_at(io, scratch.path(), kNow);
    REQUIRE(store);
    Changes changes;
    for (const uint64_t n : {1, 3, 2}) changes.push_back(PutQuery{message_id(1, n), kNow + 10});
    changes.push_back(PutQuery{message_id(2, 7), kNow + 10});
    REQUIRE(save_now(io, **store, changes));
  }
  for (int starts = 0; starts < 2; ++starts) {  // and it stays, whatever is swept
    auto store = open_at(io, scratch.path(), kNow + 100'000);
    REQUIRE(store);
    Changes many;  // enough for a sweep
    for (uint64_t n = 1; n <= 5000; ++n) many.push_back(PutQuery{message_id(3, n), kNow + 20});
    REQUIRE(save_now(io, **store, many));
  }
  auto store = open_at(io, scratch.path(), kNow + 100'000);
  REQUIRE(store);
  const auto queries = (*store)->take_state().queries;
  for (const auto& last : {message_id(1, 3), message_id(2, 7), message_id(3, 5000)}) {
    CHECK(std::ranges::count(queries, last) == 1);
  }
  CHECK(queries.size() < 5000);
}

TEST_CASE("a query of an epoch that is made up is not remembered") {
  const Scratch scratch;
  membership::MessageId forged = message_id(1, 1);
  forged.epoch = UINT32_MAX;
  CHECK(reopened(scratch.path(), {{PutQuery{forged, kNow + 10}}}).queries.empty());
}

TEST_CASE("remembered queries are bounded") {
  const Scratch scratch;
  asio::io_context io;
  StoreLimits limits;
  limits.database.queries = 3;
  {
    auto store = open_at(io, scratch.path(), kNow, limits);
    REQUIRE(store);
    Changes changes;
    for (uint64_t n = 1; n <= 10; ++n) changes.push_back(PutQuery{message_id(1, n), kNow + 99});
    REQUIRE(save_now(io, **store, changes));
  }
  auto store = open_at(io, scratch.path(), kNow, limits);
  REQUIRE(store);
  const StoredState state = (*store)->take_state();
  REQUIRE(state.queries.size() == 3);
  CHECK(state.queries[2] == message_id(1, 8));
}

TEST_CASE("clocks and live tags and the leave are kept") {
  const Scratch scratch;
  const LiveTags tags{{"dc", "east"}, {"gone", std::nullopt}, {"empty", ""}};
  const StoredState state =
      reopened(scratch.path(), {{Clocks{1, 2, 3}, PutLiveTags{{{"x", "y"}}}, PutLeft{true}},
                                {Clocks{11, 22, 33}, PutLiveTags{tags}}});
  CHECK(state.clocks == Clocks{11, 22, 33});
  CHECK(state.live_tags == tags);
  CHECK(state.left);
  CHECK_FALSE(reopened(scratch.path(), {{PutLeft{false}}}).left);
}

TEST_CASE("callbacks come in the order of saving and from the loop") {
  const Scratch scratch;
  asio::io_context io;
  auto store = open_at(io, scratch.path());
  REQUIRE(store);
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) {
    (*store)->save({Clocks{1, 2, static_cast<uint64_t>(i)}}, [&order, i](const Result<void>& done) {
      if (done) order.push_back(i);
    });
  }
  (*store)->flush();
  CHECK(order.empty());
  while (order.size() < 100) {
    io.restart();
    io.run_for(std::chrono::milliseconds(20));
  }
  CHECK(std::is_sorted(order.begin(), order.end()));
  const StoreStatistics statistics = (*store)->statistics();
  CHECK(statistics.changes == 100);
  CHECK(statistics.commits <= 100);
  CHECK(statistics.queued == 0);
}

TEST_CASE("a second agent on one directory is refused and told whom to ask") {
  const Scratch scratch;
  asio::io_context io;
  {
    auto first = open_at(io, scratch.path());
    REQUIRE(first);
    const auto second = open_at(io, scratch.path());
    REQUIRE_FALSE(second);
    CHECK(second.error().kind == ErrorKind::kConflict);
    CHECK(second.error().message ==
          scratch.path() + " is in use by another agent (pid " + std::to_string(::getpid()) +
              "): stop it, or give this one its own place with -data-dir");
    // It has touched nothing.
    CHECK(slurp(scratch / "epoch") == std::to_string(kNow) + "\n");
  }
  CHECK(open_at(io, scratch.path()));
}

TEST_CASE("a damaged database is moved aside and begun anew") {
  const Scratch scratch;
  const std::string garbage(8192, 'g');
  REQUIRE(reopened(scratch.path(), {{Clocks{5, 5, 5}}}).clocks.event == 5);
  for (int n = 1; n <= 2; ++n) {
    spill(scratch / "state.db", garbage);
    asio::io_context io;
    auto store = open_at(io, scratch.path());
    REQUIRE(store);
    REQUIRE((*store)->notes().size() == 1);
    CHECK((*store)->notes()[0].find("was damaged") != std::string::npos);
    CHECK((*store)->take_state().clocks.event == 0);
    CHECK(slurp(scratch / ("state.db.corrupt-" + std::to_string(n))) == garbage);
    CHECK_FALSE((*store)->key().created);  // still the same member
    REQUIRE(save_now(io, **store, {Clocks{6, 6, 6}}));
  }
}

TEST_CASE("what is left of a removed database does not get into the next one") {
  const Scratch scratch;
  const std::filesystem::path file = scratch / "state.db";
  const std::filesystem::path wal = scratch / "state.db-wal";
  {
    asio::io_context io;
    auto store = open_at(io, scratch.path());
    REQUIRE(store);
    REQUIRE(save_now(io, **store, {PutMember{known(1, kNow)}}));
    std::filesystem::copy(wal, scratch / "kept");
  }
  std::filesystem::remove(file);
  std::filesystem::rename(scratch / "kept", wal);
  asio::io_context io;
  auto store = open_at(io, scratch.path());
  REQUIRE(store);
  CHECK((*store)->notes().empty());
  CHECK((*store)->take_state().members.empty());
}

TEST_CASE("damage inside a database is found at start") {
  const Scratch scratch;
  Changes changes;
  for (uint64_t n = 1; n <= 400; ++n) {
    changes.push_back(PutEvent{message_id(1, n), std::string(300, 'r')});
  }
  REQUIRE(reopened(scratch.path(), {changes}).events.size() == 400);
  std::string content = slurp(scratch / "state.db");
  REQUIRE(content.size() > 20 * 4096);
  for (size_t page = 6; page < 20; ++page)
    content.replace(page * 4096, 64, std::string(64, '\xee'));
  spill(scratch / "state.db", content);
  asio::io_context io;
  auto store = open_at(io, scratch.path());
  REQUIRE(store);
  CHECK((*store)->notes().size() == 1);
  CHECK((*store)->take_state().events.empty());
}

TEST_CASE("coordinates are kept while their members are") {
  const Scratch scratch;
  membership::Coordinate place;
  place.vector[3] = 0.05F;
  place.height = 0.002F;
  place.error = 0.25F;
  const auto stored = [&](const StoredState& state, uint8_t n) {
    return std::ranges::any_of(state.coordinates, [&](const auto& each) {
      return each.id == node_id(n) && each.coordinate.height == Approx(0.002) &&
             each.coordinate.vector[3] == Approx(0.05) && each.coordinate.error == Approx(0.25);
    });
  };
  StoredState state = reopened(
      scratch.path(),
      {{PutMember{known(1, kNow)}, PutMember{known(2, kNow)},
        PutCoordinates{{{membership::NodeId(), place}, {node_id(1), {}}, {node_id(2), place}}}},
       {PutCoordinates{{{node_id(1), place}}}, DropMember{node_id(2)}}});
  REQUIRE(state.coordinates.size() == 2);
  CHECK(stored(state, 1));
  CHECK_FALSE(stored(state, 2));
  // Nor is what cannot be a coordinate taken back.
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((scratch / "state.db").c_str(), &raw) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, "UPDATE coordinates SET coordinate = x'ff'", nullptr, nullptr,
                       nullptr) == SQLITE_OK);
  sqlite3_close(raw);
  CHECK(reopened(scratch.path(), {}).coordinates.empty());
}

TEST_CASE("a database of version 3 gets a place for coordinates") {
  const Scratch scratch;
  CHECK(reopened(scratch.path(), {{PutMember{known(1, kNow)}}}).coordinates.empty());
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((scratch / "state.db").c_str(), &raw) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, kBackToVersion4, nullptr, nullptr, nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, "DROP TABLE coordinates; PRAGMA user_version = 3", nullptr, nullptr,
                       nullptr) == SQLITE_OK);
  sqlite3_close(raw);
  const StoredState state =
      reopened(scratch.path(), {{PutCoordinates{{{membership::NodeId(), {}}}}}});
  CHECK(state.members.size() == 1);
  CHECK(state.coordinates.size() == 1);
}

TEST_CASE("operators are kept, and which orders they have had carried out") {
  const Scratch scratch;
  const std::string alice(32, 'a');
  const std::string bob(32, 'b');
  PendingEvent event{message_id(2, 1), 5, "deploy", "v1", false};
  event.operator_name = "alice";
  event.operator_key = "0123456789abcdef";
  const StoredState state =
      reopened(scratch.path(), {{PutOperator{{alice, "alice", false, 7}}},
                                {PutOperator{{bob, "bob", false, 8}}},
                                {PutOperator{{bob, "bob", true, 9}}, PutPending{event}},
                                {PutStatement{"node", "admitted"}},
                                {PutStatement{"node", "banned"}},
                                {PutOrder{"first", 100, 0}},
                                {PutOrder{"second", 300, 100}}});
  REQUIRE(state.operators.size() == 2);
  CHECK(state.operators[0].name == "alice");
  CHECK_FALSE(state.operators[0].revoked);
  CHECK(state.operators[1].key == bob);
  CHECK(state.operators[1].revoked);
  CHECK(state.operators[1].since_ms == 9);
  REQUIRE(state.pending.size() == 1);
  CHECK(state.pending[0].operator_name == "alice");
  CHECK(state.pending[0].operator_key == "0123456789abcdef");
  CHECK(state.statements == std::vector<std::string>{"banned"});
  // What lies behind the horizon is swept at start.
  REQUIRE(state.orders.orders.size() == 1);
  CHECK(state.orders.orders[0] == std::pair<std::string, int64_t>("second", 300));
  CHECK(state.orders.horizon_ms == 100);
}

TEST_CASE("a database of version 4 gets places for operators and keeps what is pending") {
  const Scratch scratch;
  reopened(scratch.path(),
           {{PutPending{PendingEvent{message_id(2, 1), 5, "deploy", "v1", false}}}});
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((scratch / "state.db").c_str(), &raw) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, kBackToVersion4, nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(raw);
  const StoredState state =
      reopened(scratch.path(), {{PutOperator{{std::string(32, 'a'), "alice", false, 7}}}});
  CHECK(state.operators.size() == 1);
  REQUIRE(state.pending.size() == 1);
  CHECK(state.pending[0].name == "deploy");
  CHECK(state.pending[0].operator_name.empty());
}

TEST_CASE("a database of a newer version is left alone") {
  const Scratch scratch;
  CHECK(reopened(scratch.path(), {}).events.empty());
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((scratch / "state.db").c_str(), &raw) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, "PRAGMA user_version = 99", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(raw);
  asio::io_context io;
  const auto store = open_at(io, scratch.path());
  REQUIRE_FALSE(store);
  CHECK(store.error().kind == ErrorKind::kInvalid);
  CHECK(store.error().message.find("newer version") != std::string::npos);
}

TEST_CASE("a database that another program holds is a conflict") {
  const Scratch scratch;
  CHECK(reopened(scratch.path(), {}).events.empty());
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((scratch / "state.db").c_str(), &raw) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr) == SQLITE_OK);
  asio::io_context io;
  const auto store = open_at(io, scratch.path());
  sqlite3_close(raw);
  REQUIRE_FALSE(store);
  CHECK(store.error().kind == ErrorKind::kConflict);
  CHECK(store.error().message.find("locked by another program") != std::string::npos);
}

TEST_CASE("a full disk fails what is saved and says so once until it is better") {
  const Scratch scratch;
  asio::io_context io;
  StoreLimits limits;
  limits.database.pages = 48;
  limits.recovered_after = std::chrono::milliseconds(0);
  auto store = open_at(io, scratch.path(), kNow, limits);
  REQUIRE(store);
  std::vector<Result<void>> health;
  (*store)->set_health([&](const Result<void>& now) { health.push_back(now); });
  const std::string big(100'000, 'x');
  CHECK(save_now(io, **store, {PutEvent{message_id(1, 1), big}}));
  const auto full = save_now(io, **store, {PutEvent{message_id(1, 2), big}, Clocks{9, 9, 9}});
  REQUIRE_FALSE(full);
  CHECK(full.error().kind == ErrorKind::kUnavailable);
  CHECK(full.error().message == scratch.path() + "/state.db: no space is left: free some");
  CHECK_FALSE(save_now(io, **store, {PutEvent{message_id(1, 3), big}}));
  REQUIRE(health.size() == 1);
  CHECK((*store)->statistics().failed == 3);

  CHECK(save_now(io, **store, {ForgetEvent{message_id(1, 1)}}));
  REQUIRE(health.size() == 2);
  CHECK(health[1]);
  CHECK(save_now(io, **store, {PutEvent{message_id(1, 4), big}}));
  store->reset();
  const StoredState state = (*open_at(io, scratch.path()))->take_state();
  REQUIRE(state.events.size() == 1);
  CHECK(state.events[0].id == message_id(1, 4));
  CHECK(state.clocks.event == 0);  // part of what failed
}

TEST_CASE("a disk that is full now and then is told of once") {
  const Scratch scratch;
  asio::io_context io;
  StoreLimits limits;
  limits.database.pages = 48;
  auto store = open_at(io, scratch.path(), kNow, limits);
  REQUIRE(store);
  int told = 0;
  (*store)->set_health([&](const Result<void>&) { ++told; });
  const std::string large(200'000, 'x');
  for (uint64_t n = 1; n <= 5; ++n) {
    CHECK_FALSE(save_now(io, **store, {PutEvent{message_id(1, n), large}}));
    CHECK(save_now(io, **store, {Clocks{n, n, n}}));
  }
  CHECK(told == 1);
}

TEST_CASE("nobody but the owner can read what is kept") {
  const Scratch scratch;
  asio::io_context io;
  auto store = open_at(io, scratch.path());
  REQUIRE(store);
  REQUIRE(save_now(io, **store, {Clocks{1, 1, 1}}));
  for (const char* name : {"state.db", "state.db-wal", "state.db-shm", "node.key", "epoch"}) {
    CAPTURE(name);
    struct stat status = {};
    REQUIRE(::stat((scratch / name).c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
  }
}

TEST_CASE("the queue is bounded and what is over it fails") {
  const Scratch scratch;
  asio::io_context io;
  StoreLimits limits;
  limits.queued_changes = 10;
  auto store = open_at(io, scratch.path(), kNow, limits);
  REQUIRE(store);
  Changes many;
  for (uint64_t n = 0; n < 5000; ++n) many.push_back(PutEvent{message_id(1, n + 1), "r"});
  bool first = false;
  std::optional<Error> second;
  (*store)->save(many, [&](const Result<void>& done) { first = done.has_value(); });
  (*store)->save({Clocks{}}, [&](const Result<void>& done) {
    if (!done) second = done.error();
  });
  (*store)->flush();
  io.run_for(std::chrono::milliseconds(50));
  CHECK(first);  // alone, however large
  REQUIRE(second);
  CHECK(second->kind == ErrorKind::kBusy);
  CHECK((*store)->statistics().dropped == 1);
}

TEST_CASE("a directory that cannot be written is one clear line") {
  const Scratch scratch;
  REQUIRE(::chmod(scratch.path().c_str(), 0555) == 0);
  // Root may write everywhere: ask as somebody else.
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (::getuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    asio::io_context io;
    const auto store = open_at(io, scratch.path());
    const std::string message = store ? "opened" : store.error().message;
    const ssize_t written = ::write(pipe_ends[1], message.data(), message.size());
    ::_exit(written > 0 ? 0 : 3);
  }
  ::close(pipe_ends[1]);
  char text[512] = {};
  const ssize_t got = ::read(pipe_ends[0], text, sizeof text - 1);
  ::close(pipe_ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(::chmod(scratch.path().c_str(), 0755) == 0);
  REQUIRE(status == 0);
  CHECK(std::string(text, static_cast<size_t>(got)) ==
        "cannot lock " + scratch.path() +
            "/lock: Permission denied; give the agent's user access, or choose another place with "
            "-data-dir");
}

}  // namespace
}  // namespace starling::agent
