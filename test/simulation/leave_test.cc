// SPDX-License-Identifier: Apache-2.0
//
// Leaving, being made to leave, being forgotten; and tags.
#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

using membership::MemberChange;
using membership::Status;

TEST_CASE("who leaves is shown as left and never as failed") {
  const double loss = GENERATE(0.0, 0.1);
  WorldOptions options = seeded(30);
  options.links.loss = loss;
  Cluster cluster(options);
  cluster.boot(60);
  const membership::NodeId id = cluster.id(9);
  cluster.world.leave(9);
  CHECK(cluster.world.run_while_not([&] { return !cluster.world.running(9); }, 2s));
  const auto all_know = [&] { return cluster.shown_by_all("node-9", Status::kLeft); };
  CHECK(cluster.world.run_while_not(all_know, 5s));
  cluster.world.run_for(30s);
  CHECK(cluster.members.count(MemberChange::kLeave, id) == 59);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  cluster.settle(10s);
}

TEST_CASE("a leave reaches all within half a second on a calm network") {
  Cluster cluster(seeded(31));
  cluster.boot(100);
  const TimePoint begin = cluster.world.now();
  cluster.world.leave(9);
  cluster.world.run_for(2s);
  const auto times = cluster.members.times(MemberChange::kLeave, cluster.id(9));
  REQUIRE(times.size() >= 99);
  for (const auto& [node, at] : times) CHECK(at - begin < 500ms);
}

TEST_CASE("who left can come back") {
  Cluster cluster(seeded(32));
  cluster.boot(20);
  cluster.world.leave(9);
  cluster.world.run_for(5s);
  REQUIRE_FALSE(cluster.world.running(9));
  cluster.world.restart(9);
  cluster.world.join(9, {0});
  cluster.settle(20s);
  CHECK(cluster.shown_by_all("node-9", Status::kAlive));
}

TEST_CASE("half of the cluster leaves one after the other") {
  Cluster cluster(seeded(33));
  cluster.boot(40);
  for (NodeIndex node = 20; node < 40; ++node) {
    cluster.world.leave(node);
    cluster.world.run_for(100ms);
  }
  cluster.world.run_for(5s);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  cluster.settle(10s);
  for (NodeIndex node = 20; node < 40; ++node) {
    CHECK(cluster.shown_by_all("node-" + std::to_string(node), Status::kLeft));
  }
}

TEST_CASE("a failed member is made to leave") {
  Cluster cluster(seeded(34));
  cluster.boot(40);
  cluster.world.crash(9);
  REQUIRE(cluster.world.run_while_not(
      [&] { return cluster.shown_by_all("node-9", Status::kFailed); }, 10s));
  REQUIRE(cluster.world.force_leave(0, "node-9"));
  CHECK(cluster.world.run_while_not([&] { return cluster.shown_by_all("node-9", Status::kLeft); },
                                    5s));
  cluster.settle(10s);
  CHECK_FALSE(cluster.world.force_leave(0, "nobody"));
}

TEST_CASE("a pruned member is forgotten everywhere") {
  Cluster cluster(seeded(35));
  cluster.boot(40);
  cluster.world.crash(9);
  REQUIRE(cluster.world.run_while_not(
      [&] { return cluster.shown_by_all("node-9", Status::kFailed); }, 10s));
  REQUIRE(cluster.world.force_leave(0, "node-9", true));
  cluster.world.run_for(10s);
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    CHECK_FALSE(cluster.shown(node, "node-9"));
  }
  cluster.settle(10s);
}

TEST_CASE("a live member that is made to leave objects") {
  Cluster cluster(seeded(36));
  cluster.boot(40);
  (void)cluster.world.force_leave(0, "node-9");
  cluster.settle(20s);
  CHECK(cluster.shown_by_all("node-9", Status::kAlive));
}

TEST_CASE("tags reach everyone") {
  const double loss = GENERATE(0.0, 0.2);
  WorldOptions options = seeded(37);
  options.links.loss = loss;
  Cluster cluster(options);
  cluster.boot(60);
  const TimePoint begin = cluster.world.now();
  REQUIRE(cluster.world.set_tags(9, {{"role", "web"}, {"zone", "b"}}));
  cluster.world.run_for(100ms);
  REQUIRE(cluster.world.set_tags(9, {{"role", "db"}}));
  const Duration took = cluster.settle(20s);
  INFO("agreed " << seconds(took) << " s after the change");
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    CHECK(cluster.world.node(node).member("node-9")->tags.at("role") == "db");
  }
  if (loss == 0) {
    for (const auto& [node, at] : cluster.members.times(MemberChange::kUpdate, cluster.id(9))) {
      CHECK(at - begin < 200ms);
    }
  }
}

TEST_CASE("members that are gone are reaped") {
  WorldOptions options = seeded(38);
  options.node.reconnect_timeout = 30s;
  options.node.tombstone_timeout = 20s;
  Cluster cluster(options);
  cluster.boot(30);
  cluster.world.crash(9);
  cluster.world.leave(10);
  cluster.world.run_for(15s);
  CHECK(cluster.shown_by_all("node-9", Status::kFailed));
  CHECK(cluster.shown_by_all("node-10", Status::kLeft));
  cluster.world.run_for(120s);
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    CHECK(cluster.world.node(node).members().size() == 28);
  }
  CHECK(cluster.members.count(MemberChange::kReap, cluster.id(9)) == 28);
  CHECK(cluster.members.count(MemberChange::kReap, cluster.id(10)) == 28);
  cluster.settle(10s);
}

}  // namespace
}  // namespace starling::simulation
