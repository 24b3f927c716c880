// SPDX-License-Identifier: Apache-2.0
//
// What brings members back to normal, each way by itself: most faults are mended in more ways than
// one, so that none of them is missed when it does not work.
#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

using membership::MemberChange;
using membership::Status;

/// Suspicions that all running processes have had so far.
uint64_t suspicions(const World& world) {
  uint64_t count = 0;
  for (const NodeIndex node : world.usable_nodes()) {
    count += world.node(node).statistics().suspicions;
  }
  return count;
}

TEST_CASE("a sleeper that wakes is told and is back within a second") {
  Cluster cluster(seeded(100));
  cluster.boot(30);
  cluster.world.pause(7);
  cluster.world.run_for(20s);
  REQUIRE(cluster.shown_by_all("node-7", Status::kFailed));
  cluster.world.resume(7);
  const auto back = [&] { return cluster.shown_by_all("node-7", Status::kAlive); };
  CHECK(cluster.world.run_while_not(back, 1s));
  cluster.settle(10s);
}

TEST_CASE("who was cut off is told on its first word") {
  Cluster cluster(seeded(101));
  cluster.boot(30);
  cluster.world.partition({{7}});
  cluster.world.run_for(20s);
  REQUIRE_FALSE(cluster.shown(0, "node-7") == Status::kAlive);
  cluster.world.heal();
  const auto back = [&] { return cluster.shown_by_all("node-7", Status::kAlive); };
  CHECK(cluster.world.run_while_not(back, 5s));
  cluster.settle(60s);
}

TEST_CASE("failed and left members are kept for a time of their own") {
  WorldOptions options = seeded(102);
  options.node.reconnect_timeout = 40s;
  options.node.tombstone_timeout = 15s;
  Cluster cluster(options);
  cluster.boot(10);
  cluster.world.crash(3);
  cluster.world.leave(4);
  cluster.world.run_for(30s);
  CHECK(cluster.shown_by_all("node-3", Status::kFailed));
  CHECK_FALSE(cluster.shown(0, "node-4"));
  cluster.world.run_for(30s);
  CHECK_FALSE(cluster.shown(0, "node-3"));
  cluster.settle(10s);
}

TEST_CASE("a name whose holder has died goes to the other when the holder is given up") {
  Cluster cluster(seeded(106));
  cluster.boot(10);
  const NodeIndex twin = cluster.world.add_node("node-7");
  cluster.world.join(twin, {0});
  cluster.world.run_for(10s);
  const auto holder = cluster.world.node(0).member("node-7");
  REQUIRE(holder);
  const NodeIndex first = holder->id == cluster.id(7) ? 7 : twin;
  const NodeIndex second = first == twin ? 7 : twin;
  cluster.world.crash(first, StopKind::kHostDown);
  cluster.world.run_for(20s);
  const auto all_show = [&](NodeIndex claimant) {
    for (const NodeIndex node : cluster.world.usable_nodes()) {
      const auto now = cluster.world.node(node).member("node-7");
      REQUIRE(now);
      CHECK(now->id == cluster.id(claimant));
    }
  };
  all_show(first);  // the other one claimed it while its holder was well
  REQUIRE(cluster.world.force_leave(0, "node-7").has_value());
  cluster.world.run_for(2s);
  all_show(second);
}

TEST_CASE("helpers bridge a cut link so well that nobody is even suspected") {
  Cluster cluster(seeded(103));
  cluster.boot(10);
  const uint64_t before = suspicions(cluster.world);
  cluster.world.change_links([](Network& network) {
    network.cut(3, 4);
    network.cut(4, 3);
  });
  cluster.world.run_for(120s);
  CHECK(suspicions(cluster.world) == before);
  cluster.settle(10s);
}

TEST_CASE("who joins while a member is suspected learns of that member") {
  Cluster cluster(seeded(109));
  cluster.boot(10);
  cluster.world.crash(3, StopKind::kHostDown);
  const auto suspected = [&] { return cluster.world.node(0).sizes().suspicions > 0; };
  REQUIRE(cluster.world.run_while_not(suspected, 10s));
  const NodeIndex newcomer = cluster.world.add_node();
  cluster.world.join(newcomer, {0});
  cluster.world.run_for(20s);
  CHECK(cluster.shown_by_all("node-3", Status::kFailed));
  cluster.world.restart(3);
  cluster.settle(60s);
}

TEST_CASE("packets that suddenly take long do not make a flood of repetitions") {
  Cluster cluster(seeded(110));
  cluster.boot(60);
  cluster.world.change_links([](Network& network) { network.model().extra_latency = 295ms; });
  cluster.world.run_for(20s);
  CHECK(cluster.checker.packets_per_second_max() < 1000);
  cluster.world.change_links([](Network& network) { network.model().extra_latency = {}; });
  cluster.settle(60s);
}

TEST_CASE("local health recovers when the network does") {
  Cluster cluster(seeded(104));
  cluster.boot(10);
  cluster.world.change_links([](Network& network) { network.set_ingress_loss(5, 0.95); });
  cluster.world.run_for(30s);
  CHECK(cluster.world.node(5).local_health() > 0);
  cluster.world.change_links([](Network& network) { network.set_ingress_loss(5, 0); });
  cluster.world.run_for(60s);
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    CHECK(cluster.world.node(node).local_health() == 0);
  }
  cluster.settle(10s);
}

TEST_CASE("measured round trips are those of the network") {
  Cluster cluster(seeded(105));
  cluster.boot(10);
  cluster.world.run_for(30s);
  for (NodeIndex node = 1; node < 10; ++node) {
    const auto measured = cluster.world.node(0).round_trip(cluster.id(node));
    REQUIRE(measured);
    const Duration base = 2 * cluster.world.network().base_latency(0, node);
    CHECK(*measured >= base);
    CHECK(*measured < base + 2ms);
  }
}

TEST_CASE("a query waits no longer for who has died meanwhile") {
  Cluster cluster(seeded(107));
  cluster.world.set_query_handler([](World&, NodeIndex node, const membership::QueryArrived&) {
    if (node == 4) return std::optional<HandlerResult>();
    return std::optional<HandlerResult>({1ms, {}});
  });
  cluster.boot(10);
  membership::QueryOptions query;
  query.name = "status";
  query.timeout = 60s;
  const auto asked = cluster.world.send_query(0, query);
  REQUIRE(asked);
  cluster.world.run_for(1s);
  cluster.world.crash(4);
  cluster.world.run_for(10s);
  const QueryOutcome& outcome = cluster.checker.queries().at(asked->id);
  CHECK(outcome.ended);
  CHECK_FALSE(outcome.timed_out);
}

TEST_CASE("a query asks only those that match all of its filters") {
  Cluster cluster(seeded(108));
  cluster.boot(6);
  REQUIRE(cluster.world.set_tags(1, {{"role", "web"}, {"site", "a"}}));
  REQUIRE(cluster.world.set_tags(2, {{"role", "web"}, {"site", "b"}}));
  cluster.world.run_for(5s);
  membership::QueryOptions query;
  query.name = "status";
  query.tags = {{"role", "web"}, {"site", "b"}};
  const auto asked = cluster.world.send_query(0, query);
  REQUIRE(asked);
  CHECK(asked->addressed == 1);
  cluster.world.run_for(5s);
  CHECK(cluster.checker.queries().at(asked->id).final.contains("node-2"));
}

}  // namespace
}  // namespace starling::simulation
