// SPDX-License-Identifier: Apache-2.0
//
// Partitions, restarts and replacements: who is who afterwards.
#include <cstdio>
#include <numeric>

#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

using membership::MemberChange;
using membership::Status;

std::vector<NodeIndex> range(NodeIndex begin, NodeIndex end) {
  std::vector<NodeIndex> nodes(end - begin);
  std::iota(nodes.begin(), nodes.end(), begin);
  return nodes;
}

TEST_CASE("a partition of halves heals") {
  Cluster cluster(seeded(20));
  cluster.boot(60);
  cluster.world.partition({range(0, 30)});
  cluster.world.run_for(60s);
  for (NodeIndex node = 0; node < 60; ++node) {
    size_t failed = 0;
    for (const membership::Member& member : cluster.world.node(node).members()) {
      failed += member.status == Status::kFailed ? 1 : 0;
    }
    REQUIRE(failed == 30);
  }
  cluster.world.heal();
  const Duration took = cluster.settle(60s);
  INFO("agreed " << seconds(took) << " s after the healing");
}

TEST_CASE("a partition heals that lasted until both sides had forgotten each other") {
  for (const auto& [length, bound] : {std::pair<Duration, Duration>{5min, 5min}, {3h, 31min}}) {
    WorldOptions options = seeded(29);
    options.node.reconnect_timeout = 1min;
    Cluster cluster(options);
    cluster.boot(12);
    cluster.world.partition({range(0, 5)});
    cluster.world.run_for(length);
    for (NodeIndex node = 0; node < 12; ++node) {
      REQUIRE(cluster.world.node(node).members().size() == (node < 5 ? 5 : 7));
    }
    cluster.world.heal();
    const Duration took = cluster.settle(bound);
    std::printf("%.0f min apart and forgotten: one cluster again after %.0f s\n",
                seconds(length) / 60, seconds(took));
  }
}

TEST_CASE("a short partition fails nobody") {
  Cluster cluster(seeded(21));
  cluster.boot(60);
  cluster.world.partition({range(0, 30)});
  cluster.world.run_for(2s);
  cluster.world.heal();
  cluster.world.run_for(20s);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  cluster.settle(30s);
}

TEST_CASE("probes find out which way is cut, and only that") {
  Cluster cluster(seeded(24));
  cluster.boot(8);
  for (NodeIndex node = 0; node < 8; ++node) REQUIRE(cluster.world.node(node).routes().empty());
  cluster.world.change_links([](Network& network) { network.cut(1, 6); });
  cluster.world.run_for(60s);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  for (NodeIndex node = 0; node < 8; ++node) {
    const auto routes = cluster.world.node(node).routes();
    INFO("node " << node);
    REQUIRE(routes.size() == (node == 1 || node == 6 ? 1 : 0));
    if (routes.empty()) continue;
    CHECK(routes[0].peer == cluster.id(node == 1 ? 6 : 1));
    CHECK(routes[0].lost >= 2);
    CHECK(routes[0].last == membership::ProbeResult::kIndirect);
    CHECK(routes[0].helper != membership::NodeId());
    // What 6 sends arrives at 1; nothing comes the other way.
    CHECK(routes[0].heard.has_value() == (node == 1));
  }
  cluster.world.change_links([](Network& network) { network.mend(1, 6); });
  cluster.world.run_for(60s);
  for (NodeIndex node = 0; node < 8; ++node) CHECK(cluster.world.node(node).routes().empty());
  cluster.settle(10s);
}

TEST_CASE("a single member is cut off for long and comes back") {
  Cluster cluster(seeded(22));
  cluster.boot(30);
  cluster.world.partition({{5}});
  cluster.world.run_for(200s);
  // The others know within seconds. The one cannot tell its own network's fault from the end of the
  // world, and waits.
  CHECK(cluster.members.count(MemberChange::kFailed, cluster.id(5)) == 29);
  CHECK(cluster.members.count(MemberChange::kFailed) == 29);
  cluster.world.run_for(cluster.world.options().node.isolated_after);
  CHECK(cluster.members.count(MemberChange::kFailed) == 29 + 29);
  CHECK(cluster.checker.packets_per_second_max() < 400);
  cluster.world.heal();
  cluster.settle(120s);
}

TEST_CASE("the last of a small cluster knows that it is alone within a minute") {
  for (const uint64_t seed : {7114, 13532, 17535}) {
    WorldOptions options = seeded(seed);
    options.refusals = false;
    Cluster cluster(options);
    cluster.boot(4);
    for (const NodeIndex node : {3U, 2U, 1U}) {
      cluster.world.crash(node);
      cluster.world.run_for(500ms);
    }
    cluster.world.run_for(60s);
    CHECK(cluster.members.count(MemberChange::kFailed) == 3);
    cluster.settle(10s);
  }
}

TEST_CASE("members that all lost each other find each other") {
  for (uint64_t seed = 90; seed < 100; ++seed) {
    Cluster cluster(seeded(seed));
    cluster.boot(3);
    cluster.world.partition({{0}, {1}});
    cluster.world.run_for(60s);
    cluster.world.heal();
    cluster.settle(90s);
  }
}

TEST_CASE("three islands become one") {
  Cluster cluster(seeded(23));
  cluster.boot(45);
  cluster.world.partition({range(0, 15), range(15, 30)});
  cluster.world.run_for(40s);
  cluster.world.heal();
  cluster.settle(90s);
}

TEST_CASE("a restart with state is the same member again") {
  const Duration down = GENERATE(as<Duration>{}, 100ms, 2s, 20s);
  Cluster cluster(seeded(24));
  cluster.boot(40);
  const membership::NodeId id = cluster.id(9);
  cluster.world.crash(9);
  cluster.world.run_for(down);
  cluster.world.restart(9);
  cluster.settle(30s);
  CHECK(cluster.id(9) == id);
  CHECK(cluster.world.node(0).members().size() == 40);
  CHECK(cluster.shown_by_all("node-9", Status::kAlive));
}

TEST_CASE("a restart at a new address is the same member there") {
  Cluster cluster(seeded(25));
  cluster.boot(40);
  cluster.world.crash(9);
  cluster.world.run_for(1s);
  cluster.world.restart_moved(9);
  cluster.settle(30s);
  CHECK(cluster.world.node(0).member("node-9")->address == address_of(9, 1));
}

TEST_CASE("the whole cluster restarts with state and finds itself") {
  Cluster cluster(seeded(26));
  cluster.boot(30);
  for (NodeIndex node = 0; node < 30; ++node) cluster.world.crash(node);
  cluster.world.run_for(5s);
  for (NodeIndex node = 0; node < 30; ++node) cluster.world.restart(node);
  cluster.settle(60s);
}

TEST_CASE("a replaced host takes over its name at once") {
  const bool refused = GENERATE(true, false);
  Cluster cluster(seeded(27));
  cluster.boot(40);
  const membership::NodeId old = cluster.id(9);
  cluster.world.crash(9, refused ? StopKind::kCrash : StopKind::kHostDown);
  cluster.world.run_for(500ms);
  // Another machine, another key, another address, the same name.
  const NodeIndex replacement = cluster.world.add_node("node-9");
  cluster.world.join(replacement, {0});
  const auto taken_over = [&] {
    for (const NodeIndex node : cluster.world.usable_nodes()) {
      const auto member = cluster.world.node(node).member("node-9");
      if (!member || member->id != cluster.id(replacement) || member->status != Status::kAlive) {
        return false;
      }
    }
    return true;
  };
  CHECK(cluster.world.run_while_not(taken_over, refused ? 5s : 10s));
  cluster.settle(30s);
  CHECK(taken_over());
  CHECK(cluster.world.usable_nodes().size() == 40);
  CHECK(cluster.id(replacement) != old);
}

TEST_CASE("one name alive twice is settled alike everywhere and both stay up") {
  Cluster cluster(seeded(28));
  cluster.boot(20);
  const NodeIndex twin = cluster.world.add_node("node-7");
  cluster.world.join(twin, {0});
  cluster.world.run_for(30s);
  CHECK(cluster.world.usable(7));
  CHECK(cluster.world.usable(twin));
  const auto winner = cluster.world.node(0).member("node-7");
  REQUIRE(winner);
  CHECK((winner->id == cluster.id(7) || winner->id == cluster.id(twin)));
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    const auto shown = cluster.world.node(node).member("node-7");
    REQUIRE(shown);
    CHECK(shown->id == winner->id);
  }
  cluster.require_clean();
}

}  // namespace
}  // namespace starling::simulation
