// SPDX-License-Identifier: Apache-2.0
//
// How fast a death is known, and that nothing else is taken for one.
#include <cstdio>

#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

using membership::MemberChange;

/// Seconds from a crash until the first and until the last survivor shows it.
struct Detection {
  double first = 0;
  double last = 0;
};

Detection detect(uint64_t seed, size_t nodes, StopKind kind, double loss = 0) {
  WorldOptions options = seeded(seed);
  options.links.loss = loss;
  Cluster cluster(options);
  cluster.boot(nodes);
  // At an odd moment, so that probes are in any phase.
  cluster.world.run_for(
      Duration(static_cast<int64_t>(cluster.world.random().below(2'000'000'000))));
  const auto victim = static_cast<NodeIndex>(1 + cluster.world.random().below(nodes - 1));
  const TimePoint crash = cluster.world.now();
  cluster.world.crash(victim, kind);
  const auto all_know = [&] {
    return cluster.members.count(MemberChange::kFailed, cluster.id(victim)) == nodes - 1;
  };
  REQUIRE(cluster.world.run_while_not(all_know, 30s));
  cluster.require_clean();
  Detection detection{1e9, 0};
  for (const auto& [node, at] : cluster.members.times(MemberChange::kFailed, cluster.id(victim))) {
    detection.first = std::min(detection.first, seconds(at - crash));
    detection.last = std::max(detection.last, seconds(at - crash));
  }
  return detection;
}

std::string table(const std::vector<Detection>& runs) {
  std::vector<double> first;
  std::vector<double> last;
  for (const Detection& run : runs) {
    first.push_back(run.first);
    last.push_back(run.last);
  }
  char text[160];
  std::snprintf(text, sizeof text, "first known p50 %.2f s max %.2f s, last p50 %.2f s max %.2f s",
                percentile(first, 0.5), percentile(first, 1), percentile(last, 0.5),
                percentile(last, 1));
  return text;
}

TEST_CASE("a silent crash among a hundred is known to all within eight seconds") {
  std::vector<Detection> runs;
  for (uint64_t seed = 1; seed <= 10; ++seed)
    runs.push_back(detect(seed, 100, StopKind::kHostDown));
  INFO(table(runs));
  for (const Detection& run : runs) {
    CHECK(run.first > 3.0);  // suspicion_min: a shorter pause is forgiven
    CHECK(run.last < 8.0);
  }
}

TEST_CASE("a refused crash among a hundred is known to all within three seconds") {
  std::vector<Detection> runs;
  for (uint64_t seed = 1; seed <= 10; ++seed) runs.push_back(detect(seed, 100, StopKind::kCrash));
  INFO(table(runs));
  for (const Detection& run : runs) CHECK(run.last < 3.0);
}

TEST_CASE("a silent crash is known in small clusters and under loss") {
  std::string all;
  for (const size_t nodes : {3U, 4U, 5U, 10U, 30U}) {
    const Detection run = detect(nodes, nodes, StopKind::kHostDown);
    INFO(nodes << " members: first " << run.first << " s last " << run.last << " s");
    CHECK(run.last < 10.0);
  }
  for (const double loss : {0.1, 0.2}) {
    const Detection run = detect(77, 60, StopKind::kHostDown, loss);
    INFO("loss " << loss << ": first " << run.first << " s last " << run.last << " s");
    CHECK(run.last < 10.0);
  }
}

TEST_CASE("a tenth of the members crash at the same time") {
  Cluster cluster(seeded(6));
  cluster.boot(100);
  for (NodeIndex node = 10; node < 20; ++node) {
    cluster.world.crash(node, node % 2 == 0 ? StopKind::kCrash : StopKind::kHostDown);
  }
  const Duration took = cluster.settle(15s);
  INFO("agreed after " << seconds(took) << " s");
  CHECK(took < 12s);
  CHECK(cluster.members.count(MemberChange::kFailed) == size_t{10} * 90);
}

TEST_CASE("half of the members crash at the same time") {
  Cluster cluster(seeded(7));
  cluster.boot(60);
  for (NodeIndex node = 0; node < 60; node += 2) cluster.world.crash(node, StopKind::kHostDown);
  const Duration took = cluster.settle(40s);
  INFO("agreed after " << seconds(took) << " s");
}

TEST_CASE("steady loss fails nobody") {
  const double loss = GENERATE(0.05, 0.1, 0.2);
  WorldOptions options = seeded(8);
  Cluster cluster(options);
  cluster.boot(100);
  cluster.world.change_links([&](Network& network) { network.model().loss = loss; });
  const uint64_t before = cluster.world.statistics().datagrams_sent;
  cluster.world.run_for(60s);
  const double packets =
      static_cast<double>(cluster.world.statistics().datagrams_sent - before) / 60 / 100;
  INFO("loss " << loss << ": " << packets << " packets a second and member");
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  CHECK(packets < 40);
  cluster.settle(30s);
}

TEST_CASE("pauses of two seconds are forgiven") {
  Cluster cluster(seeded(9));
  cluster.boot(100);
  for (int round = 0; round < 3; ++round) {
    std::vector<NodeIndex> paused;
    for (NodeIndex i = 0; i < 10; ++i) {
      paused.push_back(static_cast<NodeIndex>(cluster.world.random().below(100)));
    }
    for (const NodeIndex node : paused) cluster.world.pause(node);
    cluster.world.run_for(2s);
    for (const NodeIndex node : paused) cluster.world.resume(node);
    cluster.world.run_for(10s);
  }
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  cluster.settle(10s);
}

TEST_CASE("a long pause fails the paused one and nobody else and it comes back") {
  Cluster cluster(seeded(10));
  cluster.boot(50);
  cluster.world.pause(7);
  cluster.world.run_for(20s);
  CHECK(cluster.members.count(MemberChange::kFailed, cluster.id(7)) == 49);
  cluster.world.resume(7);
  cluster.settle(30s);
  // Neither did the sleeper take the others for dead when it woke.
  CHECK(cluster.members.count(MemberChange::kFailed) == 49);
}

TEST_CASE("a link cut one way or both ways fails nobody") {
  const bool both = GENERATE(false, true);
  Cluster cluster(seeded(11));
  cluster.boot(30);
  cluster.world.change_links([&](Network& network) {
    network.cut(3, 4);
    if (both) network.cut(4, 3);
  });
  cluster.world.run_for(120s);
  CHECK(cluster.members.count(MemberChange::kFailed) == 0);
  cluster.settle(10s);
}

TEST_CASE("a deaf member harms nobody else") {
  Cluster cluster(seeded(12));
  cluster.boot(60);
  cluster.world.change_links([](Network& network) { network.set_ingress_loss(5, 1.0); });
  cluster.world.run_for(30s);
  for (const MemberWatch::Notice& notice : cluster.members.notices()) {
    if (notice.event.change != MemberChange::kFailed || notice.node == 5) continue;
    CHECK(notice.event.member.id == cluster.id(5));
  }
  cluster.world.change_links([](Network& network) { network.set_ingress_loss(5, 0); });
  cluster.settle(60s);
}

}  // namespace
}  // namespace starling::simulation
