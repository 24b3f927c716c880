// SPDX-License-Identifier: Apache-2.0
//
// Classes of traffic share what a member may send: a flood of one kind delays itself and starves
// nobody.
#include <optional>

#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

constexpr size_t kMembers = 60;

/// Members that send at most so much, on wires that carry twice that.
WorldOptions narrow(uint64_t seed, size_t egress_rate) {
  WorldOptions options = seeded(seed);
  options.node.egress_rate = egress_rate;
  return options;
}

void narrow_wires(World& world) {
  world.change_links([](Network& network) {
    for (NodeIndex node = 0; node < kMembers; ++node) network.set_bandwidth(node, 250e3);
  });
}

/// How long a query takes whose asker has just sent a burst of events.
struct Burst {
  double query = 0;  // seconds
  size_t answers = 0;
  size_t suspicions = 0;
};

Burst query_in_burst(Cluster& cluster) {
  Burst burst;
  narrow_wires(cluster.world);
  uint64_t before = 0;
  for (NodeIndex node = 0; node < kMembers; ++node) {
    before += cluster.world.node(node).statistics().suspicions;
  }
  for (int i = 0; i < 400; ++i) {
    REQUIRE(cluster.world.send_event(3, "burst", std::string(1000, 'x')));
  }
  const TimePoint begin = cluster.world.now();
  membership::QueryOptions query;
  query.name = "uptime";
  query.timeout = 10s;
  const auto handle = cluster.world.send_query(3, query);
  REQUIRE(handle);
  const auto ended = [&] { return cluster.checker.queries().at(handle->id).ended; };
  CHECK(cluster.world.run_while_not(ended, 12s, 1ms));
  burst.query = seconds(cluster.world.now() - begin);
  burst.answers = cluster.checker.queries().at(handle->id).final.size();
  cluster.world.run_for(10s);
  for (NodeIndex node = 0; node < kMembers; ++node) {
    burst.suspicions += cluster.world.node(node).statistics().suspicions;
  }
  burst.suspicions -= before;
  return burst;
}

TEST_CASE("a burst of events delays no query and no probe") {
  Cluster cluster(narrow(80, 125'000));
  cluster.boot(kMembers);
  const Burst burst = query_in_burst(cluster);
  CHECK(burst.query < 0.5);
  CHECK(burst.answers == kMembers);
  CHECK(burst.suspicions == 0);
  CHECK(cluster.members.count(membership::MemberChange::kFailed) == 0);
  cluster.world.end_faults();
  cluster.settle(60s);
  for (NodeIndex node = 0; node < kMembers; ++node) {
    CHECK(cluster.events.handled["burst"][node] == 400);
  }
}

TEST_CASE("without a budget a burst of events fills the wire before everything else") {
  Cluster cluster(narrow(80, 0));
  cluster.boot(kMembers);
  const Burst burst = query_in_burst(cluster);
  // Others may even take the sender for failed.
  CHECK(burst.query > 1);
}

/// Seconds until all have an event that is sent while members change their tags without a pause.
double event_in_flood(bool floors) {
  WorldOptions options = narrow(81, 64 << 10);
  options.node.traffic_floors = floors;
  Cluster cluster(options);
  cluster.boot(40);
  const TimePoint begin = cluster.world.now();
  for (int i = 0; i < 1000; ++i) {
    cluster.world.at(begin + i * 4ms, [&cluster, i] {
      const auto node = static_cast<NodeIndex>(i % 40);
      REQUIRE(cluster.world.set_tags(
          node, {{"version", std::to_string(i)}, {"text", std::string(400, 'x')}}));
    });
  }
  cluster.world.run_for(2s);
  const TimePoint sent = cluster.world.now();
  const auto id = cluster.world.send_event(7, "deploy", "x");
  REQUIRE(id);
  const auto everywhere = [&] { return cluster.events.handled["deploy"].size() == 40; };
  CHECK(cluster.world.run_while_not(everywhere, 60s, 1ms));
  const double took = seconds(cluster.world.now() - sent);
  CHECK(cluster.members.count(membership::MemberChange::kFailed) == 0);
  cluster.settle(120s);
  return took;
}

TEST_CASE("a flood of member states does not starve events") {
  const double with = event_in_flood(true);
  const double without = event_in_flood(false);
  INFO("with floors " << with << " s, without " << without << " s");
  CHECK(with < 1);
  CHECK(without > 3 * with);
}

}  // namespace
}  // namespace starling::simulation
