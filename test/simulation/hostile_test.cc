// SPDX-License-Identifier: Apache-2.0
//
// What one hostile member can do to the others: nothing that lasts.
#include "test/simulation/hostile.h"

#include "test/catch.h"
#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

using membership::MemberChange;

/// More about each member than it may refute.
const std::vector<Lie> kFlood(8, Lie::kFailed);

/// Ten rounds a second for `length`.
void lie_for(Cluster& cluster, NodeIndex liar, const std::vector<Lie>& lies, Duration length) {
  membership::Random random(7);
  for (Duration passed{}; passed < length; passed += 100ms) {
    tell_lies(cluster.world, liar, lies, random);
    cluster.world.run_for(100ms);
  }
}

TEST_CASE("forged records and forged leaves change nothing") {
  Cluster cluster(seeded(31));
  cluster.boot(20);
  lie_for(cluster, 5, {Lie::kUnsigned, Lie::kOtherKey, Lie::kLeft, Lie::kFarFuture}, 20s);
  CHECK(cluster.members.count(MemberChange::kLeave) == 0);
  CHECK(cluster.members.count(MemberChange::kUpdate) == 0);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  CHECK(cluster.world.node(0).statistics().forged_records > 0);
  CHECK(cluster.world.node(0).statistics().refutations == 0);
  // Lamport time has room left.
  CHECK(cluster.world.node(0).clocks().member < uint64_t{1} << 45);
  cluster.settle(20s);
}

TEST_CASE("nobody sends events or queries in another's name, and the real ones get through") {
  const bool far = GENERATE(false, true);
  Cluster cluster(seeded(40));
  cluster.boot(20);
  std::vector<Lie> lies = {Lie::kEvent, Lie::kQuery};
  if (far) lies = {Lie::kFarEvent, Lie::kProgress};
  // All the while some members send events of their own.
  membership::Random random(7);
  std::vector<membership::MessageId> sent;
  for (int round = 0; round < 100; ++round) {
    tell_lies(cluster.world, 5, lies, random);
    const auto id = cluster.world.send_event(static_cast<NodeIndex>(round % 20), "real", "x");
    REQUIRE(id.has_value());
    sent.push_back(*id);
    cluster.world.run_for(200ms);
  }
  // In all places there is what was sent and nothing else: the checker sees to it.
  cluster.settle(40s);
  uint64_t forged = 0;
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    const membership::Statistics& counts = cluster.world.node(node).statistics();
    forged += counts.forged_events + counts.forged_queries;
    CHECK(counts.events_accepted == sent.size());
    CHECK(cluster.world.node(node).clocks().event < 10'000);
    CHECK(counts.forged_answers == 0);
  }
  CHECK(forged > 100);
}

TEST_CASE("incarnations cannot be used up by others") {
  Cluster cluster(seeded(32));
  cluster.boot(20);
  const auto before = cluster.world.node(3).self().incarnation;
  lie_for(cluster, 5, {Lie::kLastVersion}, 20s);
  CHECK(cluster.world.node(3).self().incarnation == before);
  CHECK(cluster.world.node(3).statistics().unproven_records > 0);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  cluster.settle(20s);
}

TEST_CASE("false suspicions by one liar fail no healthy member") {
  const uint64_t seed = GENERATE(33, 34, 35);
  WorldOptions options = seeded(seed);
  options.links.loss = 0.1;
  Cluster cluster(options);
  cluster.boot(20);
  lie_for(cluster, 5, kFlood, 60s);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  uint64_t refutations = 0;
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    refutations += cluster.world.node(node).statistics().refutations;
  }
  CHECK(refutations > 100);
  CHECK(refutations < 20 * (10 + 2 * 62));  // of each: ten at once and two a second
  cluster.world.change_links([](Network& network) { network.model().loss = 0; });
  cluster.settle(30s);
}

TEST_CASE("without the look at a refused port a liar fails healthy members") {
  WorldOptions options = seeded(33);
  options.links.loss = 0.1;
  options.node.guards.look = false;
  Cluster cluster(options);
  cluster.boot(20);
  lie_for(cluster, 5, kFlood, 60s);
  CHECK(cluster.members.count(MemberChange::kFailed) > 0);
}

TEST_CASE("an order to forget a live member is refuted") {
  Cluster cluster(seeded(36));
  cluster.boot(20);
  lie_for(cluster, 5, {Lie::kOrder}, 20s);
  CHECK(cluster.members.count(MemberChange::kLeave) == 0);
  CHECK(cluster.members.count(MemberChange::kReap) == 0);
  cluster.settle(20s);
}

TEST_CASE("who dies among liars is found dead all the same") {
  Cluster cluster(seeded(37));
  cluster.boot(20);
  cluster.world.crash(3, StopKind::kHostDown);
  lie_for(cluster, 5, lies_of_a_member(), 40s);
  CHECK(cluster.members.count(MemberChange::kFailed, cluster.id(3)) == 19);
  CHECK(cluster.members.count(MemberChange::kFailed) == 19);
  cluster.settle(20s);
}

TEST_CASE("a newcomer does not get the name of a live member by its restart or its failure") {
  Cluster cluster(seeded(38));
  cluster.boot(8);
  const NodeIndex thief = cluster.world.add_node("node-3");
  cluster.world.join(thief, {0});
  cluster.world.run_for(20s);
  const auto holder = [&](NodeIndex at) { return cluster.world.node(at).member("node-3")->id; };
  const auto all_show_node_3 = [&] {
    for (const NodeIndex node : cluster.world.usable_nodes()) {
      CAPTURE(node);
      CHECK(holder(node) == cluster.id(3));
    }
  };
  all_show_node_3();
  CHECK(cluster.world.node(0).statistics().member_conflicts == 1);
  CHECK(cluster.world.node(3).statistics().member_conflicts == 1);
  // A newcomer learns who holds the name from the one through which it joins.
  cluster.world.join(cluster.world.add_node(), {1});
  cluster.world.run_for(5s);
  all_show_node_3();
  cluster.world.crash(3);
  cluster.world.run_for(20s);
  all_show_node_3();
  CHECK(cluster.shown(0, "node-3") == membership::Status::kFailed);
  cluster.world.restart(3);
  cluster.world.run_for(20s);
  all_show_node_3();
  // Its own word, or an operator's, lets the other one have it.
  cluster.world.leave(3);
  cluster.world.run_for(5s);
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    CHECK(holder(node) == cluster.id(thief));
  }
}

TEST_CASE("a replaced host has its name as soon as the old one is found gone") {
  const bool moved = GENERATE(false, true);
  Cluster cluster(seeded(39));
  cluster.boot(20);
  const membership::NodeId old = cluster.id(3);
  if (moved) {
    cluster.world.crash(3, StopKind::kHostDown);
    cluster.world.add_node("node-3");
    cluster.world.join(20, {0});
  } else {
    cluster.world.restart_fresh(3, {0});
  }
  const membership::NodeId replaced = cluster.id(moved ? 20 : 3);
  cluster.world.run_for(moved ? 8s : 2s);
  for (const NodeIndex node : cluster.world.usable_nodes()) {
    const auto member = cluster.world.node(node).member("node-3");
    REQUIRE(member.has_value());
    CHECK(member->id == replaced);
    CHECK(member->status == membership::Status::kAlive);
  }
  // Users are told of it once, under its name, and of the old one that it failed.
  for (const MemberWatch::Notice& notice : cluster.members.notices()) {
    if (notice.event.member.id == replaced && notice.node != (moved ? 20 : 3)) {
      CHECK(notice.event.change == MemberChange::kJoin);
      CHECK(notice.event.member.name == "node-3");
    }
  }
  CHECK(cluster.members.count(MemberChange::kJoin, replaced) >= 19);
  CHECK(cluster.members.count(MemberChange::kFailed, old) >= 19);
}

}  // namespace
}  // namespace starling::simulation
