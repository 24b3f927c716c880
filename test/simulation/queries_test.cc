// SPDX-License-Identifier: Apache-2.0
//
// Queries: everyone addressed answers once, and the asker waits no longer than it must.
#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

using membership::QueryOptions;
using membership::ReplyKind;
using membership::Silence;

QueryOptions ask(std::string payload) {
  QueryOptions query;
  query.name = "status";
  query.payload = std::move(payload);
  return query;
}

std::optional<HandlerResult> answer_after(Duration delay, std::string payload,
                                          ReplyKind kind = ReplyKind::kResponse) {
  membership::Answer answer;
  answer.kind = kind;
  answer.payload = std::move(payload);
  return HandlerResult{delay, std::move(answer)};
}

TEST_CASE("all answer and the query ends early on a calm network") {
  Cluster cluster(seeded(60));
  cluster.boot(100);
  for (int i = 0; i < 5; ++i) {
    const auto query = cluster.world.send_query(static_cast<NodeIndex>(i * 13), ask("now"));
    REQUIRE(query);
    CHECK(query->addressed == 100);
    cluster.world.run_for(query->timeout + 1s);
    CHECK(cluster.checker.query_shortcoming(query->id).empty());
    const QueryOutcome& outcome = cluster.checker.queries().at(query->id);
    INFO("ended after " << seconds(outcome.ended_at - outcome.started) << " s");
    CHECK(outcome.ended_at - outcome.started < 200ms);
    CHECK(outcome.final.at("node-42") == "node-42:now");
    CHECK(outcome.acks.size() == 100);
  }
  cluster.settle(5s);
}

TEST_CASE("only those that the filters name answer") {
  Cluster cluster(seeded(61));
  cluster.boot(30);
  for (NodeIndex node = 0; node < 30; ++node) {
    REQUIRE(cluster.world.set_tags(node, {{"role", node % 3 == 0 ? "web" : "db"}}));
  }
  cluster.world.run_for(5s);
  QueryOptions query = ask("x");
  query.tags = {{"role", "^we"}};
  const auto by_tag = cluster.world.send_query(1, query);
  query.nodes = {"node-3", "node-4", "node-6"};
  const auto by_both = cluster.world.send_query(1, query);
  REQUIRE(by_tag);
  REQUIRE(by_both);
  CHECK(by_tag->addressed == 10);
  CHECK(by_both->addressed == 2);
  cluster.world.run_for(10s);
  CHECK(cluster.checker.query_shortcoming(by_tag->id).empty());
  CHECK(cluster.checker.query_shortcoming(by_both->id).empty());
  const QueryOutcome& outcome = cluster.checker.queries().at(by_both->id);
  CHECK(outcome.final.contains("node-3"));
  CHECK(outcome.final.contains("node-6"));
  cluster.settle(5s);
}

TEST_CASE("queries under loss are answered by all") {
  const double loss = GENERATE(0.05, 0.1, 0.2);
  Cluster cluster(seeded(62));
  cluster.boot(60);
  cluster.world.change_links([&](Network& network) { network.model().loss = loss; });
  for (int i = 0; i < 5; ++i) {
    const auto query = cluster.world.send_query(static_cast<NodeIndex>(i * 7), ask("x"));
    REQUIRE(query);
    cluster.world.run_for(query->timeout + 1s);
    INFO("loss " << loss);
    CHECK(cluster.checker.query_shortcoming(query->id).empty());
  }
  cluster.settle(20s);
}

TEST_CASE("who fails or has nothing to say says so") {
  Cluster cluster(seeded(63));
  cluster.world.set_query_handler([](World&, NodeIndex node, const membership::QueryArrived&) {
    if (node == 1) return answer_after(5ms, "stderr", ReplyKind::kFailed);
    if (node == 2) return answer_after(5ms, "", ReplyKind::kNoAnswer);
    if (node == 3) return answer_after(5ms, "", ReplyKind::kBusy);
    return answer_after(5ms, "fine");
  });
  cluster.boot(10);
  const auto query = cluster.world.send_query(0, ask("x"));
  REQUIRE(query);
  cluster.world.run_for(query->timeout + 1s);
  CHECK(cluster.checker.query_shortcoming(query->id).empty());
  const QueryOutcome& outcome = cluster.checker.queries().at(query->id);
  CHECK(outcome.kinds.at("node-1") == ReplyKind::kFailed);
  CHECK(outcome.kinds.at("node-2") == ReplyKind::kNoAnswer);
  CHECK(outcome.kinds.at("node-3") == ReplyKind::kBusy);
  CHECK(outcome.kinds.at("node-4") == ReplyKind::kResponse);
  cluster.settle(5s);
}

TEST_CASE("a query ends at its deadline and names who was silent") {
  Cluster cluster(seeded(64));
  cluster.world.set_query_handler([](World&, NodeIndex node, const membership::QueryArrived&) {
    if (node == 4) return std::optional<HandlerResult>();
    return answer_after(1ms, "fine");
  });
  cluster.boot(10);
  const auto query = cluster.world.send_query(0, ask("x"));
  REQUIRE(query);
  cluster.world.run_for(query->timeout + 1s);
  const QueryOutcome& outcome = cluster.checker.queries().at(query->id);
  CHECK(outcome.ended);
  CHECK(outcome.timed_out);
  CHECK(outcome.silent == std::vector<std::string>{"node-4"});
  CHECK(outcome.kinds.size() == 9);
  cluster.settle(5s);
}

TEST_CASE("an answer of one mebibyte comes over a stream") {
  Cluster cluster(seeded(65));
  const std::string large(1U << 20, 'z');
  cluster.world.set_query_handler([&](World&, NodeIndex node, const membership::QueryArrived&) {
    return answer_after(1ms, node == 3 ? large : "small");
  });
  cluster.boot(10);
  const auto query = cluster.world.send_query(0, ask("x"));
  REQUIRE(query);
  cluster.world.run_for(query->timeout + 1s);
  CHECK(cluster.checker.query_shortcoming(query->id).empty());
  CHECK(cluster.checker.queries().at(query->id).final.at("node-3") == large);
  cluster.settle(5s);
}

TEST_CASE("an answer over the limit is told to the asker") {
  Cluster cluster(seeded(66));
  cluster.world.set_query_handler([](World&, NodeIndex node, const membership::QueryArrived&) {
    return answer_after(1ms, node == 3 ? std::string((1U << 20) + 1, 'z') : "small");
  });
  cluster.boot(10);
  const auto query = cluster.world.send_query(0, ask("x"));
  REQUIRE(query);
  cluster.world.run_for(query->timeout + 1s);
  CHECK(cluster.checker.queries().at(query->id).kinds.at("node-3") == ReplyKind::kTooLarge);
  CHECK(cluster.checker.query_shortcoming(query->id).empty());
  cluster.settle(5s);
}

TEST_CASE("an answer goes through others when the direct link is cut") {
  const size_t size = GENERATE(size_t{10}, size_t{200'000});
  Cluster cluster(seeded(67));
  cluster.world.set_query_handler([&](World&, NodeIndex, const membership::QueryArrived&) {
    return answer_after(1ms, std::string(size, 'x'));
  });
  cluster.boot(20);
  cluster.world.change_links([](Network& network) {
    network.cut(0, 7);
    network.cut(7, 0);
  });
  cluster.world.run_for(5s);
  QueryOptions options = ask("x");
  options.timeout = 20s;
  const auto query = cluster.world.send_query(0, options);
  REQUIRE(query);
  cluster.world.run_for(query->timeout + 1s);
  INFO(size << " bytes");
  CHECK(cluster.checker.query_shortcoming(query->id).empty());
  CHECK(cluster.checker.queries().at(query->id).final.at("node-7").size() == size);
  cluster.settle(10s);
}

TEST_CASE("patterns choose members by name") {
  Cluster cluster(seeded(69));
  cluster.boot(30);
  QueryOptions query = ask("x");
  query.nodes = {"node-1?", "*-25", "node-7"};
  const auto asked = cluster.world.send_query(1, query);
  REQUIRE(asked);
  CHECK(asked->addressed == 12);
  cluster.world.run_for(asked->timeout + 1s);
  CHECK(cluster.checker.query_shortcoming(asked->id).empty());
  cluster.settle(5s);
}

TEST_CASE("who is named but not there is told at the end") {
  Cluster cluster(seeded(70));
  cluster.boot(10);
  cluster.world.crash(3);
  cluster.world.leave(4);
  cluster.world.run_for(20s);
  QueryOptions query = ask("x");
  query.nodes = {"node-1", "node-3", "node-4", "nobody"};
  const auto asked = cluster.world.send_query(0, query);
  REQUIRE(asked);
  CHECK(asked->addressed == 1);
  cluster.world.run_for(asked->timeout / 2);
  const QueryOutcome& outcome = cluster.checker.queries().at(asked->id);
  CHECK(outcome.ended);
  CHECK(outcome.final.contains("node-1"));
  CHECK(outcome.silence == std::map<std::string, Silence>{{"node-3", Silence::kFailed},
                                                          {"node-4", Silence::kLeft},
                                                          {"nobody", Silence::kUnknown}});
}

TEST_CASE("the end says why each silent member is silent") {
  Cluster cluster(seeded(71));
  cluster.world.set_query_handler([](World&, NodeIndex node, const membership::QueryArrived&) {
    if (node >= 3 && node <= 5) return std::optional<HandlerResult>();
    return answer_after(1ms, "fine");
  });
  cluster.boot(12);
  cluster.world.pause(6);
  QueryOptions options = ask("x");
  options.timeout = 20s;
  const auto query = cluster.world.send_query(0, options);
  REQUIRE(query);
  cluster.world.run_for(1s);
  cluster.world.crash(3);
  cluster.world.leave(4);
  cluster.world.run_for(1s);
  cluster.world.resume(6);
  cluster.world.run_for(query->timeout);
  const QueryOutcome& outcome = cluster.checker.queries().at(query->id);
  CHECK(outcome.timed_out);
  CHECK(outcome.silence == std::map<std::string, Silence>{{"node-3", Silence::kFailed},
                                                          {"node-4", Silence::kLeft},
                                                          {"node-5", Silence::kUnfinished}});
}

TEST_CASE("a member that heard nothing is told apart from one that did not answer") {
  Cluster cluster(seeded(72));
  cluster.boot(5);
  cluster.world.pause(2);
  QueryOptions options = ask("x");
  options.timeout = 1s;  // ends before the pause is a failure
  const auto query = cluster.world.send_query(0, options);
  REQUIRE(query);
  cluster.world.run_for(2s);
  const QueryOutcome& outcome = cluster.checker.queries().at(query->id);
  CHECK(outcome.silence == std::map<std::string, Silence>{{"node-2", Silence::kUnheard}});
  cluster.world.resume(2);
  cluster.settle(30s);
}

TEST_CASE("a query ends at its limit and the others stop") {
  Cluster cluster(seeded(73));
  size_t begun = 0;
  cluster.world.set_query_handler([&](World&, NodeIndex node, const membership::QueryArrived&) {
    ++begun;
    // Most would send a mebibyte, long after the asker has enough.
    return node < 5 ? answer_after(1ms, "quick") : answer_after(2s, std::string(1U << 20, 'x'));
  });
  cluster.boot(30);
  const uint64_t before = cluster.world.statistics().stream_bytes;
  QueryOptions options = ask("x");
  options.timeout = 20s;
  options.limit = 3;
  const auto query = cluster.world.send_query(0, options);
  REQUIRE(query);
  CHECK(query->addressed == 30);
  cluster.world.run_for(10s);
  const QueryOutcome& outcome = cluster.checker.queries().at(query->id);
  CHECK(outcome.ended);
  CHECK(outcome.limited);
  CHECK_FALSE(outcome.timed_out);
  CHECK(outcome.ended_at - outcome.started < 200ms);
  CHECK(outcome.final.size() == 3);
  CHECK(outcome.silent.size() == 27);
  CHECK(std::ranges::all_of(
      outcome.silence, [](const auto& member) { return member.second == Silence::kNotAwaited; }));
  CHECK(begun == 30);
  // Nobody sent what nobody wanted.
  CHECK(cluster.world.statistics().stream_bytes - before < 100'000);
  cluster.settle(5s);
}

TEST_CASE("a limit that all answers together do not reach changes nothing") {
  Cluster cluster(seeded(74));
  cluster.boot(8);
  QueryOptions options = ask("x");
  options.limit = 9;
  const auto query = cluster.world.send_query(0, options);
  REQUIRE(query);
  cluster.world.run_for(query->timeout + 1s);
  CHECK(cluster.checker.query_shortcoming(query->id).empty());
  CHECK_FALSE(cluster.checker.queries().at(query->id).limited);
}

TEST_CASE("several handlers of one member answer each for itself") {
  const double loss = GENERATE(0.0, 0.2);
  Cluster cluster(seeded(75));
  cluster.world.set_query_handler([](World&, NodeIndex node, const membership::QueryArrived&) {
    auto result = answer_after(30ms, "last and small");
    if (node != 2) return result;
    result->answer.responder = "small";
    result->answer.position = 1;
    // The large one goes over a stream, and the last overtakes it.
    auto large = answer_after(29ms, std::string(300'000, 'x'));
    large->answer.responder = "large";
    large->answer.last = false;
    result->others.push_back(*large);
    return result;
  });
  cluster.boot(12);
  cluster.world.change_links([&](Network& network) { network.model().loss = loss; });
  QueryOptions options = ask("x");
  options.timeout = 20s;
  const auto query = cluster.world.send_query(0, options);
  REQUIRE(query);
  cluster.world.run_for(query->timeout + 1s);
  INFO("loss " << loss);
  CHECK(cluster.checker.query_shortcoming(query->id).empty());
  const QueryOutcome& outcome = cluster.checker.queries().at(query->id);
  CHECK(outcome.responders.at("node-2") == std::set<std::string>{"large", "small"});
  CHECK(outcome.responders.at("node-1") == std::set<std::string>{""});
}

TEST_CASE("a cancelled query is heard of no more") {
  Cluster cluster(seeded(68));
  cluster.boot(10);
  const auto query = cluster.world.send_query(0, ask("x"));
  REQUIRE(query);
  cluster.world.cancel_query(0, query->id);
  cluster.world.run_for(query->timeout + 1s);
  CHECK_FALSE(cluster.checker.queries().at(query->id).ended);
  cluster.settle(5s);
}

}  // namespace
}  // namespace starling::simulation
