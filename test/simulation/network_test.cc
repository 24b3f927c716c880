// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/network.h"

#include <algorithm>
#include <cmath>

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
    const Network::Arrivals arrivals = network.datagram(1, 2, 100, kStart);
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
    if (network.datagram(1, 2, 100, kStart).delay[0] > network.base_latency(1, 2)) ++late;
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
  CHECK(network.datagram(0, 2, 100, kStart).count == 0);
  CHECK_FALSE(network.stream_message(0, 2, 10, kStart));
  network.heal();
  CHECK(network.passes(0, 2));
  CHECK(network.datagram(0, 2, 100, kStart).count == 1);
}

TEST_CASE("a cut link drops one direction of datagrams and no stream survives it") {
  Network network(LinkModel::lan(), 1);
  network.cut(0, 1);
  CHECK_FALSE(network.passes(0, 1));
  CHECK(network.passes(1, 0));
  CHECK_FALSE(network.connected(0, 1));
  CHECK_FALSE(network.stream_message(1, 0, 10, kStart));
  CHECK(network.wire(0).cuts == 1);
  CHECK(network.wire(2).cuts == 0);
  network.mend(0, 1);
  CHECK(network.connected(0, 1));
}

TEST_CASE("loss at one host's wire is for that direction only") {
  Network network(LinkModel::lan(), 1);
  network.set_ingress_loss(2, 1.0);
  CHECK(network.datagram(0, 2, 100, kStart).count == 0);
  CHECK(network.datagram(2, 0, 100, kStart).count == 1);
  network.set_ingress_loss(2, 0);
  network.set_egress_loss(2, 1.0);
  CHECK(network.datagram(0, 2, 100, kStart).count == 1);
  CHECK(network.datagram(2, 0, 100, kStart).count == 0);
}

TEST_CASE("where everything is lost no stream passes either") {
  Network network({}, 1);
  network.set_ingress_loss(2, 0.99);
  CHECK(network.stream_message(1, 2, 10, kStart));
  network.set_ingress_loss(2, 1);
  CHECK_FALSE(network.stream_message(1, 2, 10, kStart));
  CHECK_FALSE(network.stream_message(2, 1, 10, kStart));  // its acknowledgements are lost
  CHECK(network.passes(2, 1));
  CHECK_FALSE(network.passes(1, 2));
  network.set_ingress_loss(2, 0);
  network.set_link_loss(1, 2, 1);
  CHECK_FALSE(network.connected(1, 2));
}

TEST_CASE("a long stream message takes its time on the wire") {
  Network network(LinkModel::lan(), 1);
  const auto shorter = network.stream_message(0, 1, 100, kStart);
  const auto longer = network.stream_message(0, 1, 1U << 20, kStart);
  REQUIRE(shorter);
  REQUIRE(longer);
  CHECK(*longer > 8ms);
  CHECK(*shorter < 2ms);
}

TEST_CASE("latency has the mean and the shape that was asked for") {
  struct Expected {
    JitterShape shape;
    double percentile99;  ///< in means
  };
  const Expected expected =
      GENERATE(Expected{JitterShape::kConstant, 1}, Expected{JitterShape::kUniform, 1.98},
               Expected{JitterShape::kExponential, 4.6}, Expected{JitterShape::kLognormal, 6.2});
  LinkModel model;
  model.jitter = 1ms;
  model.jitter_shape = expected.shape;
  Network network(model, 1);
  std::vector<double> delays;
  double sum = 0;
  for (int i = 0; i < 50'000; ++i) {
    delays.push_back(
        seconds(network.datagram(1, 2, 100, kStart).delay[0] - network.base_latency(1, 2)) * 1e3);
    sum += delays.back();
  }
  std::sort(delays.begin(), delays.end());
  CHECK(std::abs(sum / 50'000 - 1) < 0.05);
  CHECK(std::abs(delays[49'500] / expected.percentile99 - 1) < 0.1);
}

TEST_CASE("spikes and extra latency hold packets up") {
  LinkModel model;
  model.spikes = 0.1;
  Network network(model, 1);
  size_t late = 0;
  for (int i = 0; i < 1000; ++i) {
    late += network.datagram(1, 2, 100, kStart).delay[0] > 5ms ? 1 : 0;
  }
  CHECK(late > 70);
  CHECK(late < 130);
  network.model().spikes = 0;
  network.set_extra_latency(2, 50ms);
  CHECK(network.datagram(1, 2, 100, kStart).delay[0] > 50ms);
  CHECK(network.datagram(2, 1, 100, kStart).delay[0] > 50ms);
  CHECK(network.datagram(1, 3, 100, kStart).delay[0] < 50ms);
}

TEST_CASE("one lossy link loses in its own direction only") {
  Network network(LinkModel::lan(), 1);
  network.set_link_loss(1, 2, 1.0);
  CHECK(network.datagram(1, 2, 100, kStart).count == 0);
  CHECK(network.datagram(2, 1, 100, kStart).count == 1);
  CHECK(network.datagram(1, 3, 100, kStart).count == 1);
  network.set_link_loss(1, 2, 0);
  CHECK(network.datagram(1, 2, 100, kStart).count == 1);
  CHECK(network.wire(1).lossy_links == 0);
}

TEST_CASE("a narrow wire queues what leaves and drops what is too much") {
  LinkModel model;
  model.egress_queue = 10'000;
  Network network(model, 1);
  network.set_bandwidth(1, 10'000);
  size_t sent = 0;
  Duration last{};
  for (int i = 0; i < 100; ++i) {
    const Network::Arrivals arrivals = network.datagram(1, 2, 898, kStart);  // 1000 on the wire
    if (arrivals.count == 0) continue;
    ++sent;
    CHECK(arrivals.delay[0] >= last);
    last = arrivals.delay[0];
  }
  CHECK(sent == 11);
  CHECK(last >= 1100ms);
  CHECK_FALSE(network.stream_message(1, 2, 100, kStart));
  CHECK(network.stream_message(1, 2, 100, kStart + 2s));
  CHECK(network.datagram(2, 1, 898, kStart).delay[0] < 5ms);
}

TEST_CASE("nothing waits at a narrow wire for longer than a queue makes it wait") {
  Network network(LinkModel(), 1);
  network.set_bandwidth(1, 1'000);
  size_t sent = 0;
  for (int i = 0; i < 100; ++i) {  // 100 s of them: the queue would hold them all
    const Network::Arrivals arrivals = network.datagram(1, 2, 898, kStart);
    if (arrivals.count == 0) continue;
    ++sent;
    CHECK(arrivals.delay[0] < 6100ms);
  }
  CHECK(sent == 6);
}

TEST_CASE("a black hole swallows large datagrams alone") {
  Network network(LinkModel::lan(), 1);
  network.set_mtu(2, 500);
  CHECK(network.datagram(1, 2, 501, kStart).count == 0);
  CHECK(network.datagram(2, 1, 501, kStart).count == 0);
  CHECK(network.datagram(1, 2, 500, kStart).count == 1);
  CHECK(network.datagram(1, 3, 501, kStart).count == 1);
  CHECK(network.stream_message(1, 2, 5000, kStart));
}

TEST_CASE("a host that is down is alone until its wires are reset") {
  Network network(LinkModel::lan(), 1);
  network.set_down(1, true);
  network.partition({{0, 1, 2}});
  CHECK_FALSE(network.passes(0, 1));
  CHECK_FALSE(network.passes(1, 2));
  CHECK(network.passes(1, 1));
  network.reset_wires();
  CHECK(network.passes(0, 1));
  CHECK_FALSE(network.passes(0, 3));
}

TEST_CASE("equal seeds give equal networks and other seeds do not") {
  LinkModel model;
  model.loss = 0.5;
  const auto pattern = [&](uint64_t seed) {
    Network network(model, seed);
    std::string text;
    for (int i = 0; i < 200; ++i)
      text += network.datagram(0, 1, 100, kStart).count == 0 ? '.' : '#';
    return text;
  };
  CHECK(pattern(1) == pattern(1));
  CHECK(pattern(1) != pattern(2));
}

}  // namespace
}  // namespace starling::simulation
