// SPDX-License-Identifier: Apache-2.0
#include "agent/cluster.h"

#include <algorithm>

#include "agent/joiner.h"
#include "test/unit/agent/host.h"

namespace starling::agent {
namespace {

using namespace std::chrono_literals;

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::ranges::find(list, item) != list.end();
}

struct Pair {
  Pair() {
    a.run();
    b.run();
    b.join(a);
    turn_until(io, [&] { return a.status_of("b") == "alive" && b.status_of("a") == "alive"; });
  }

  asio::io_context io;
  Host a{io, "a"};
  Host b{io, "b"};
};

TEST_CASE("a node tells of its own join first") {
  asio::io_context io;
  Host a(io, "a");
  CHECK(a.members.empty());
  a.run();
  CHECK(a.members == std::vector<std::string>{"member-join a"});
}

TEST_CASE_METHOD(Pair, "hosts that joined see each other and are remembered") {
  CHECK(contains(a.members, "member-join b"));
  CHECK(contains(b.members, "member-join a"));
  a.stop();
  a.start();
  REQUIRE(a.state.members.size() == 1);
  CHECK(a.state.members[0].name == "b");
  CHECK(a.state.members[0].address == b.address());
  CHECK(a.cluster->knows_members());
}

TEST_CASE_METHOD(Pair, "a host that is restarted finds the others by itself") {
  b.stop();
  b.members.clear();
  b.start();
  b.run();
  turn_until(io, [&] { return b.status_of("a") == "alive" && a.status_of("b") == "alive"; });
  CHECK(a.cluster->node().member("b")->address == b.address());
}

TEST_CASE_METHOD(Pair, "an event is on disk before anybody hears of it") {
  bool checked = false;
  b.on_event = [&](const membership::UserEventArrived& event) {
    // What a process that dies here would leave.
    asio::io_context other;
    std::filesystem::copy(b.scratch.path(), b.scratch / "copy");
    auto copy = Store::open(other, b.scratch / "copy");
    REQUIRE(copy);
    const StoredState state = (*copy)->take_state();
    REQUIRE(state.pending.size() == 1);
    CHECK(state.pending[0].id == event.id);
    CHECK(state.pending[0].payload == "v2");
    CHECK(state.events.size() == 1);
    REQUIRE(state.progress.size() == 1);
    CHECK(state.progress[0].contiguous == 1);
    checked = true;
  };
  std::optional<Cluster::SentEvent> sent;
  REQUIRE(a.cluster->send_event("deploy", "v2", false, [&](const auto& event) {
    REQUIRE(event);
    sent = *event;
  }));
  CHECK(a.events.empty());  // not from within the call
  turn_until(io, [&] { return sent && !b.events.empty(); });
  CHECK(checked);
  CHECK(sent->id.sequence == 1);
  CHECK(sent->ltime > 0);
  CHECK(a.events == std::vector<std::string>{"v2"});
}

TEST_CASE_METHOD(Pair, "who looks on sees an event before the disk has it") {
  b.has_handler = false;
  bool before = false;
  b.on_event = [&](const membership::UserEventArrived&) {
    before = b.seen == std::vector<std::string>{"v2"};
  };
  REQUIRE(a.cluster->send_event("deploy", "v2", false, [](const auto&) {}));
  turn_until(io, [&] { return !b.events.empty(); });
  CHECK(before);
  // Kept for others; there is no handler that it would have to wait for.
  b.stop();
  asio::io_context other;
  auto store = Store::open(other, b.scratch.path());
  REQUIRE(store);
  const StoredState state = (*store)->take_state();
  CHECK(state.events.size() == 1);
  CHECK(state.pending.empty());
}

TEST_CASE("what an agent refuses is kept for others and comes to nothing here") {
  asio::io_context io;
  Host a(io, "a");
  Host b(io, "b");
  b.judge_event = [](const membership::UserEventArrived& event) {
    CHECK(event.origin == "a");
    OrderVerdict verdict;
    verdict.allowed = event.name == "good";
    verdict.reason = "by policy";
    verdict.signer = {"alice", "0123"};
    verdict.used = PutOrder{"order " + event.name, 1000, 0};
    return verdict;
  };
  b.judge_query = [](const membership::QueryArrived& query) {
    OrderVerdict verdict;
    verdict.allowed = query.name == "good";
    verdict.reason = "by policy";
    return verdict;
  };
  a.run();
  b.run();
  b.join(a);
  turn_until(io, [&] { return a.status_of("b") == "alive" && b.status_of("a") == "alive"; });
  REQUIRE(a.cluster->send_event("bad", "1", false, [](const auto&) {}, "signature"));
  REQUIRE(a.cluster->send_event("good", "2", false, [](const auto&) {}));
  turn_until(io, [&] { return b.events.size() == 1 && b.refused.size() == 1; });
  CHECK(b.events == std::vector<std::string>{"2"});
  CHECK(b.refused == std::vector<std::string>{"1"});
  CHECK(b.seen == b.events);

  std::vector<membership::QueryAnswered> answers;
  bool ended = false;
  membership::QueryOptions query;
  query.name = "bad";
  query.nodes = {"b"};
  query.request_ack = false;
  REQUIRE(a.cluster->send_query(query, {[&](const auto& answer) { answers.push_back(answer); },
                                        [&](const auto&) { ended = true; }}));
  turn_until(io, [&] { return ended; });
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].kind == membership::ReplyKind::kRefused);
  CHECK(answers[0].error == "by policy");

  // What a process that dies here leaves: both events for others, one of them to be handled, and
  // that the orders are used up.
  b.stop();
  asio::io_context other;
  auto store = Store::open(other, b.scratch.path());
  REQUIRE(store);
  const StoredState state = (*store)->take_state();
  CHECK(state.events.size() == 2);
  REQUIRE(state.pending.size() == 1);
  CHECK(state.pending[0].name == "good");
  CHECK(state.pending[0].operator_name == "alice");
  CHECK(state.pending[0].operator_key == "0123");
  CHECK(state.orders.orders.size() == 2);
}

TEST_CASE_METHOD(Pair, "events keep the order in which they came") {
  std::vector<std::string> expected;
  for (int i = 0; i < 50; ++i) {
    expected.push_back(std::to_string(i));
    REQUIRE(a.cluster->send_event("n", expected.back(), false, [](const auto&) {}));
  }
  turn_until(io, [&] { return a.events.size() == 50 && b.events.size() == 50; });
  CHECK(a.events == expected);
}

TEST_CASE_METHOD(Pair, "an event is heard once although the listener is restarted") {
  REQUIRE(a.cluster->send_event("n", "one", false, [](const auto&) {}));
  turn_until(io, [&] { return b.events.size() == 1; });
  b.stop();
  REQUIRE(a.cluster->send_event("n", "two", false, [](const auto&) {}));
  turn_until(io, [&] { return a.events.size() == 2; });
  b.start();
  b.run();
  turn_until(io, [&] { return b.events.size() == 2; });
  CHECK(b.events == std::vector<std::string>{"one", "two"});
}

TEST_CASE_METHOD(Pair, "a bad event is refused and nothing is sent") {
  const auto refused = a.cluster->send_event("", "x", false, [](const auto&) { FAIL(); });
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kInvalid);
  CHECK(a.cluster->send_event("n", std::string(2U << 20, 'x'), false, {}).error().kind ==
        ErrorKind::kTooLarge);
}

TEST_CASE_METHOD(Pair, "a query gathers answers and ends") {
  std::vector<std::string> answers;
  bool ended = false;
  membership::QueryOptions query;
  query.name = "who";
  const auto handle =
      a.cluster->send_query(query, {[&](const membership::QueryAnswered& answer) {
                                      if (answer.kind == membership::ReplyKind::kResponse) {
                                        answers.push_back(answer.payload);
                                      }
                                    },
                                    [&](const membership::QueryEnded& end) {
                                      CHECK(end.silent.empty());
                                      ended = true;
                                    }});
  REQUIRE(handle);
  CHECK(handle->addressed == 2);
  CHECK(answers.empty());
  turn_until(io, [&] { return ended; });
  std::ranges::sort(answers);
  CHECK(answers == std::vector<std::string>{"I am a", "I am b"});
}

TEST_CASE_METHOD(Pair, "a query can be cancelled from its own answer") {
  int heard = 0;
  membership::QueryOptions query;
  query.name = "who";
  membership::MessageId id;
  const auto handle =
      a.cluster->send_query(query, {[&](const membership::QueryAnswered&) {
                                      ++heard;
                                      a.cluster->cancel_query(id);
                                    },
                                    [&](const membership::QueryEnded&) { heard += 100; }});
  REQUIRE(handle);
  id = handle->id;
  turn_until(io, [&] { return heard > 0; });
  bool other = false;
  query.name = "again";
  REQUIRE(a.cluster->send_query(
      query, {[](const auto&) {}, [&](const membership::QueryEnded&) { other = true; }}));
  turn_until(io, [&] { return other; });
  CHECK(heard == 1);
}

TEST_CASE_METHOD(Pair, "a query that was heard is not answered again after a restart") {
  b.answer_queries = false;
  membership::QueryOptions query;
  query.name = "who";
  query.timeout = 60s;
  REQUIRE(a.cluster->send_query(query, {[](const auto&) {}, [](const auto&) {}}));
  turn_until(io, [&] {
    return b.store->statistics().queued == 0 && b.cluster->node().clocks().query > 0;
  });
  b.store->flush();
  b.stop();
  b.start();
  CHECK(b.state.queries.size() == 1);
}

TEST_CASE_METHOD(Pair, "a leave is told and remembered") {
  b.cluster->leave();
  turn_until(io, [&] { return b.left && a.status_of("b") == "left"; });
  CHECK(contains(a.members, "member-leave b"));
  b.stop();
  b.start();
  CHECK(b.state.left);
  a.save();
  a.stop();
  a.start();
  CHECK_FALSE(a.cluster->knows_members());  // who left is not sought
}

TEST_CASE("members that come together are written down together") {
  constexpr size_t kOthers = 24;
  asio::io_context io;
  Host a(io, "a");
  a.run();
  std::vector<std::unique_ptr<Host>> others;
  for (size_t i = 0; i < kOthers; ++i) {
    others.push_back(std::make_unique<Host>(io, "b" + std::to_string(i)));
    others.back()->run();
    others.back()->cluster->join(a.address(), false, [](const JoinOutcome&) {});
  }
  turn_until(io, [&] { return a.members.size() == 1 + kOthers; });
  a.save();
  a.store->flush();
  CHECK(a.store->statistics().commits < kOthers);
  a.stop();
  a.start();
  CHECK(a.state.members.size() == kOthers);
}

TEST_CASE_METHOD(Pair, "tags reach the others") {
  REQUIRE(a.cluster->set_tags({{"role", "db"}}));
  turn_until(io, [&] { return b.cluster->node().member("a")->tags.contains("role"); });
  CHECK(contains(b.members, "member-update a"));
  CHECK_FALSE(a.cluster->set_tags({{"role", std::string(600, 'x')}}));
}

TEST_CASE_METHOD(Pair, "clocks are kept now and then") {
  REQUIRE(a.cluster->send_event("n", "x", false, [](const auto&) {}));
  turn_until(io, [&] { return !a.events.empty(); });
  const auto clocks = a.cluster->node().clocks();
  // Half a second later, without being asked.
  turn_until(io, [&] {
    a.store->flush();
    asio::io_context other;
    std::filesystem::remove_all(b.scratch / "copy");
    std::filesystem::copy(a.scratch.path(), b.scratch / "copy");
    auto copy = Store::open(other, b.scratch / "copy");
    return copy && (*copy)->take_state().clocks.event >= clocks.event;
  });
}

TEST_CASE("a join counts targets and says why the others failed") {
  asio::io_context io;
  Host a(io, "a");
  Host b(io, "b");
  a.run();
  b.run();
  std::optional<JoinOutcome> outcome;
  a.cluster->join({b.address().to_string(), "127.0.0.1:1", "bad address"}, false,
                  [&](const JoinOutcome& done) { outcome = done; });
  turn_until(io, [&] { return outcome.has_value(); });
  CHECK(outcome->contacted == 1);
  REQUIRE(outcome->failures.size() == 2);
  std::ranges::sort(outcome->failures);
  CHECK(outcome->failures[0].first == "127.0.0.1:1");
  CHECK_FALSE(outcome->failures[0].second.empty());
  CHECK(outcome->failures[1].first == "bad address");
}

TEST_CASE("a join of nobody and one of too many end too") {
  asio::io_context io;
  Host a(io, "a");
  a.run();
  std::optional<JoinOutcome> none;
  a.cluster->join(std::vector<std::string>(), false, [&](const JoinOutcome& done) { none = done; });
  std::optional<JoinOutcome> many;
  a.cluster->join(std::vector<std::string>(Cluster::kMaxTargets + 5, "not an address"), false,
                  [&](const JoinOutcome& done) { many = done; });
  turn_until(io, [&] { return none && many; });
  CHECK(none->contacted == 0);
  CHECK(many->failures.size() == Cluster::kMaxTargets + 5);
}

TEST_CASE("a port that is taken is an error that names it") {
  asio::io_context io;
  Host a(io, "a");
  const Scratch scratch;
  auto store = Store::open(io, scratch.path());
  REQUIRE(store);
  ClusterOptions options;
  options.bind = a.address();
  options.name = "twin";
  options.protocol = membership::Options::local();
  options.advertise = [](uint16_t port) -> Result<membership::Address> {
    return *membership::Address::from_ip("127.0.0.1", port);
  };
  const auto twin = Cluster::open(io, *a.log, **store, Keyring::insecure(), options, {});
  REQUIRE_FALSE(twin);
  CHECK(twin.error().message.find(a.address().to_string()) != std::string::npos);
}

// --- joining in the background -----------------------------------------------------------------

TEST_CASE("retry join goes on until a member is there") {
  asio::io_context io;
  Host a(io, "a");
  a.run();
  Host b(io, "b");
  const std::string address = b.address().to_string();
  b.stop();
  bool gave_up = false;
  Joiner joiner(io, *a.cluster, *a.log,
                {.retry_join = {address}, .retry_interval = 20ms, .max_attempts = 0},
                [&] { gave_up = true; });
  joiner.start();
  std::vector<std::string> lines;
  const auto watch =
      a.log->watch(LogLevel::kWarn, [&](const std::string& line) { lines.push_back(line); });
  turn_until(io, [&] {
    return std::ranges::any_of(lines, [](const std::string& line) {
      return line.find("cannot join yet") != std::string::npos;
    });
  });
  // It comes up elsewhere on this host, at that very port.
  ClusterOptions options;
  auto store = Store::open(io, b.scratch.path());
  REQUIRE(store);
  options.bind = *membership::Address::parse(address);
  options.name = "b";
  options.protocol = membership::Options::local();
  options.advertise = [&](uint16_t) -> Result<membership::Address> {
    return *membership::Address::parse(address);
  };
  auto late = Cluster::open(io, *b.log, **store, Keyring::insecure(), options, {});
  REQUIRE(late);
  (*late)->start({});
  turn_until(io, [&] { return a.status_of("b") == "alive"; });
  CHECK_FALSE(gave_up);
  joiner.stop();
}

TEST_CASE("retry join gives up after as many attempts as it may make") {
  asio::io_context io;
  Host a(io, "a");
  a.run();
  bool gave_up = false;
  Joiner joiner(io, *a.cluster, *a.log,
                {.retry_join = {"127.0.0.1:1"}, .retry_interval = 1ms, .max_attempts = 3},
                [&] { gave_up = true; });
  joiner.start();
  turn_until(io, [&] { return gave_up; });
  size_t attempts = 0;
  const auto watch = a.log->watch(LogLevel::kWarn, [&](const std::string& line) {
    attempts += line.find("cannot join yet") != std::string::npos;
  });
  CHECK(attempts == 2);  // and the last one says that it gives up
}

TEST_CASE("a start join that reaches nobody says whom it tried") {
  asio::io_context io;
  Host a(io, "a");
  a.run();
  Joiner joiner(io, *a.cluster, *a.log, {}, [] {});
  std::optional<Result<size_t>> result;
  joiner.start_join({"127.0.0.1:1"}, false, [&](Result<size_t> done) { result = std::move(done); });
  turn_until(io, [&] { return result.has_value(); });
  REQUIRE_FALSE(*result);
  CHECK(result->error().message.starts_with("cannot join the cluster: 127.0.0.1:1: "));
}

TEST_CASE("members that failed long ago are looked for") {
  asio::io_context io;
  Host a(io, "a");
  Host b(io, "b");
  b.run();
  // What is left of a cluster that broke apart a day ago.
  a.stop();
  a.start();
  StoredState old;
  old.members.push_back({b.store->key().id, "b", b.address(), 0, true, false});
  a.cluster.reset();
  ClusterOptions options;
  options.bind = membership::Address(membership::Address::from_ip("127.0.0.1", 1)->ip(), 0);
  options.name = "a";
  options.protocol = membership::Options::local();
  options.advertise = [](uint16_t port) -> Result<membership::Address> {
    return *membership::Address::from_ip("127.0.0.1", port);
  };
  auto made = Cluster::open(io, *a.log, *a.store, Keyring::insecure(), options, old);
  REQUIRE(made);
  a.cluster = std::move(*made);
  a.run();
  turn_until(io, [&] { return a.status_of("b") == "alive"; });
}

}  // namespace
}  // namespace starling::agent
