// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/network.h"

#include "test/catch.h"
#include "test/simulation/types.h"

namespace starling::simulation {
namespace {

TEST_CASE("addresses name hosts and moves") {
  CHECK(address_of(0, 0).to_string() == "10.0.0.1:7946");
  CHECK(address_of(299, 2).to_string() == "10.0.1.44:7948");
  for (const NodeIndex node : {0U, 1U, 254U, 255U, 256U, 70'000U}) {
    CHECK(index_of(address_of(node, 3)) == node);
  }
  CHECK(index_of(*Address::parse("127.0.0.1:7946")) == kNoNode);
}

TEST_CASE("a local clock goes there and back") {
  for (const int skew : {0, 200, -200, 20'000, -20'000}) {
    const LocalClock clock(12'345s, skew);
    TimePoint before = clock.to_local(kStart);
    for (int64_t i = 1; i < 2000; ++i) {
      const TimePoint global = kStart + Duration(i * 7'919'999'999 + i);
      const TimePoint local = clock.to_local(global);
      REQUIRE(local > before);
      before = local;
      const TimePoint back = clock.to_global(local);
      REQUIRE(clock.to_local(back) >= local);
      REQUIRE(clock.to_local(back - Duration(1)) < local);
      REQUIRE(back <= global);
    }
  }
}

TEST_CASE("latency is the same both ways and differs between pairs") {
  const Network network(LinkModel::wan(), 7);
  Duration least = 10s;
  Duration most{};
  for (NodeIndex a = 0; a < 40; ++a) {
    for (NodeIndex b = 0; b < 40; ++b) {
      if (a == b) continue;
      const Duration latency = network.base_latency(a, b);
      REQUIRE(latency == network.base_latency(b, a));
      least = std::min(least, latency);
      most = std::max(most, latency);
    }
  }
  CHECK(least < 1ms);
  CHECK(most > 20ms);
  CHECK(most < 60ms);
}

TEST_CASE("loss and duplication come at their rates") {
  LinkModel model;
  model.loss = 0.1;
  model.duplication = 0.2;
  Network network(model, 3);
  size_t lost = 0;
  size_t twice = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Network::Arrivals arrivals = network.datagram(1, 2);
    lost += arrivals.count == 0 ? 1 : 0;
    twice += arrivals.count == 2 ? 1 : 0;
    for (size_t copy = 0; copy < arrivals.count; ++copy) {
      REQUIRE(arrivals.delay[copy] >= network.base_latency(1, 2));
    }
  }
  CHECK(lost > 1800);
  CHECK(lost < 2200);
  CHECK(twice > 3300);
  CHECK(twice < 3900);
}

TEST_CASE("reordering holds packets up") {
  LinkModel model;
  model.jitter = 0s;
  model.reordering = 0.5;
  Network network(model, 3);
  size_t late = 0;
  for (int i = 0; i < 1000; ++i) {
    if (network.datagram(1, 2).delay[0] > network.base_latency(1, 2)) ++late;
  }
  CHECK(late > 400);
  CHECK(late < 600);
}

TEST_CASE("a partition divides and heals") {
  Network network(LinkModel::lan(), 1);
  network.partition({{0, 1}, {2}});
  CHECK(network.passes(0, 1));
  CHECK_FALSE(network.passes(0, 2));
  CHECK_FALSE(network.passes(2, 3));
  CHECK(network.passes(3, 4));
  CHECK(network.datagram(0, 2).count == 0);
  CHECK_FALSE(network.stream_message(0, 2, 10));
  network.heal();
  CHECK(network.passes(0, 2));
  CHECK(network.datagram(0, 2).count == 1);
}

TEST_CASE("a cut link drops one direction of datagrams and no stream survives it") {
  Network network(LinkModel::lan(), 1);
  network.cut(0, 1);
  CHECK_FALSE(network.passes(0, 1));
  CHECK(network.passes(1, 0));
  CHECK_FALSE(network.connected(0, 1));
  CHECK_FALSE(network.stream_message(1, 0, 10));
  CHECK(network.cuts(0) == 1);
  CHECK(network.cuts(2) == 0);
  network.mend(0, 1);
  CHECK(network.connected(0, 1));
}

TEST_CASE("loss at one host's wire is for that direction only") {
  Network network(LinkModel::lan(), 1);
  network.set_ingress_loss(2, 1.0);
  CHECK(network.datagram(0, 2).count == 0);
  CHECK(network.datagram(2, 0).count == 1);
  network.set_ingress_loss(2, 0);
  network.set_egress_loss(2, 1.0);
  CHECK(network.datagram(0, 2).count == 1);
  CHECK(network.datagram(2, 0).count == 0);
}

TEST_CASE("a long stream message takes its time on the wire") {
  Network network(LinkModel::lan(), 1);
  const auto shorter = network.stream_message(0, 1, 100);
  const auto longer = network.stream_message(0, 1, 1U << 20);
  REQUIRE(shorter);
  REQUIRE(longer);
  CHECK(*longer > 8ms);
  CHECK(*shorter < 2ms);
}

TEST_CASE("equal seeds give equal networks and other seeds do not") {
  LinkModel model;
  model.loss = 0.5;
  const auto pattern = [&](uint64_t seed) {
    Network network(model, seed);
    std::string text;
    for (int i = 0; i < 200; ++i) text += network.datagram(0, 1).count == 0 ? '.' : '#';
    return text;
  };
  CHECK(pattern(1) == pattern(1));
  CHECK(pattern(1) != pattern(2));
}

}  // namespace
}  // namespace starling::simulation
