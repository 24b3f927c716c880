// SPDX-License-Identifier: Apache-2.0
//
// That coordinates come to tell how far members are apart, and what they cost.
#include <algorithm>
#include <cmath>

#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

constexpr size_t kMembers = 50;
constexpr auto kSites = 5;

WorldOptions five_sites(uint64_t seed) {
  WorldOptions options = seeded(seed);
  options.links = LinkModel::wan();
  options.links.zones = kSites;
  // No way from site to site is longer than a detour: what would be has no place in any space.
  options.links.zone_latency_min = 20ms;
  options.links.zone_latency_max = 40ms;
  options.node = membership::Options::wan();
  return options;
}

double true_round_trip(World& world, NodeIndex a, NodeIndex b) {
  const auto& links = world.network().model();
  return 2 * seconds(world.network().base_latency(a, b) + links.jitter);
}

/// How far estimates are from true round trips.
struct Errors {
  std::vector<double> far;   ///< of pairs in two sites: relative to the round trip
  std::vector<double> near;  ///< of pairs in one site: milliseconds
};

Errors errors(World& world) {
  Errors all;
  for (NodeIndex a = 0; a < kMembers; ++a) {
    for (NodeIndex b = 0; b < a; ++b) {
      const auto here = world.node(a).coordinate(world.host(a).name);
      const auto there = world.node(b).coordinate(world.host(b).name);
      REQUIRE(here);
      REQUIRE(there);
      const double truth = true_round_trip(world, a, b);
      const double error = std::abs(here->distance_to(*there) - truth);
      if (world.network().zone(a) == world.network().zone(b)) {
        all.near.push_back(error * 1000);
      } else {
        all.far.push_back(error / truth);
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("coordinates come to tell round trips between five sites") {
  for (const uint64_t seed : {1, 2, 3}) {
    Cluster cluster(five_sites(seed));
    cluster.boot(kMembers);
    const double at_first = percentile(errors(cluster.world).far, 0.5);
    cluster.world.run_for(10min);
    const Errors later = errors(cluster.world);
    const double median = percentile(later.far, 0.5);
    const double most = percentile(later.far, 0.9);
    const double near = percentile(later.near, 0.9);
    std::printf(
        "coordinates, seed %d: between sites off by %.1f%% after the boot (median), %.1f%% ten "
        "minutes later (p90 %.1f%%); within a site by %.2f ms (p90)\n",
        static_cast<int>(seed), 100 * at_first, 100 * median, 100 * most, near);
    CHECK(median < 0.05);
    CHECK(most < 0.15);
    CHECK(median < at_first / 3);
    CHECK(near < 5);
    // Each knows where the others are, as they have told it.
    for (NodeIndex node = 1; node < kMembers; ++node) {
      const auto heard = cluster.world.node(0).coordinate(cluster.world.host(node).name);
      REQUIRE(heard);
      const auto own = cluster.world.node(0).coordinate(cluster.world.host(0).name);
      CHECK(own->distance_to(*heard) < 1);
    }
    CHECK(cluster.world.node(0).statistics().rejected_coordinates == 0);
    CHECK(cluster.world.node(0).statistics().coordinate_resets == 0);
    cluster.require_clean();
  }
}

TEST_CASE("coordinates cost few bytes and can be left out") {
  const auto bytes_per_second = [](bool disabled) {
    WorldOptions options = five_sites(1);
    options.node.disable_coordinates = disabled;
    Cluster cluster(options);
    cluster.boot(kMembers);
    cluster.world.run_for(30s);
    const auto sent = [&] {
      uint64_t bytes = 0;
      for (NodeIndex node = 0; node < kMembers; ++node) {
        bytes += cluster.world.node(node).statistics().bytes_sent;
      }
      return bytes;
    };
    const uint64_t before = sent();
    cluster.world.run_for(60s);
    CHECK(cluster.world.node(1).coordinate(cluster.world.host(0).name).has_value() == !disabled);
    return static_cast<double>(sent() - before) / 60 / kMembers;
  };
  const double with = bytes_per_second(false);
  const double without = bytes_per_second(true);
  std::printf("bytes of an idle member a second: %.0f with coordinates, %.0f without\n", with,
              without);
  CHECK(with > without);
  // One ack a second, of each probe: at most 43 bytes more.
  CHECK(with < without + 50);
}

}  // namespace starling::simulation
