// SPDX-License-Identifier: Apache-2.0
//
// One prober with its parts; the test plays everybody else.
#include "membership/swim/prober.h"

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::address_of;
using test::member_record;
using test::node_id;

namespace {

using Packets = std::vector<std::pair<Address, proto::Packet>>;

struct Bench : test::Parts {
  explicit Bench(uint32_t others) {
    context.options.stream_probes = false;
    for (uint32_t i = 1; i <= others; ++i) {
      members.apply(member_record(i, Incarnation::at(1, 5)), Heard::kSynced);
    }
    sent();
  }
  /// Moves time on, firing what is due on the way, and collects what is sent.
  Packets run_for(Duration duration) {
    const TimePoint end = context.now + duration;
    Packets packets;
    for (;;) {
      const TimePoint next = std::min(prober.next_deadline(), members.next_deadline());
      if (next > end) break;
      context.now = std::max(context.now, next);
      prober.advance();
      members.advance();
      for (auto& packet : sent()) packets.push_back(std::move(packet));
    }
    context.now = end;
    return packets;
  }
  /// Runs until the next ping is sent; its target and sequence.
  struct Sent {
    uint32_t target = 0;
    uint32_t sequence = 0;
  };
  Sent next_ping() {
    for (int i = 0; i < 10'000; ++i) {
      for (const auto& [to, packet] : run_for(1ms)) {
        if (packet.has_ping()) return {number_at(to), packet.ping().sequence()};
      }
    }
    return {};
  }
  void answer(const Sent& ping, uint32_t as) {
    proto::Ack ack;
    ack.set_sequence(ping.sequence);
    ack.set_target(std::string(node_id(ping.target).wire()));
    members.heard_from(node_id(1));
    prober.receive_ack(node_id(as), ack);
  }
  static uint32_t number_at(const Address& address) {
    uint32_t number = 1;
    while (address_of(number) != address) ++number;
    return number;
  }

  Streams streams{context};
  Routes routes{context, table};
  Coordinates coordinates{context};
  Prober prober{context, table, members, outbox, streams, health, routes, coordinates};
};

/// The last accusation of `about` among these packets; none when there is none.
std::optional<proto::MemberRecord> accusation_of(uint32_t about, const Packets& packets) {
  std::optional<proto::MemberRecord> found;
  for (const auto& [to, packet] : packets) {
    for (const proto::Push& push : packet.pushes()) {
      proto::MemberRecord record;
      record.ParseFromString(push.records(0).payload());
      if (record.id() == node_id(about).wire() && record.accusers_size() > 0) found = record;
    }
  }
  return found;
}

}  // namespace

TEST_CASE("a ping that is asked for is sent and sent again and its answer carried back") {
  Bench bench(9);
  proto::PingRequest request;
  request.set_sequence(77);
  request.set_target(std::string(node_id(3).wire()));
  request.set_target_address(address_of(3).wire_ip());
  request.set_target_port(7946);
  request.set_timeout_ms(100);
  bench.prober.stop();  // no probes of its own
  bench.prober.receive_ping_request(address_of(8), request);
  Packets packets = bench.sent();
  REQUIRE(packets.size() == 1);
  CHECK(packets[0].first == address_of(3));
  const uint32_t sequence = packets[0].second.ping().sequence();
  CHECK(bench.run_for(60ms).size() == 1);

  SECTION("an answer goes to whoever asked, with its number") {
    bench.answer({3, sequence}, 3);
    packets = bench.sent();
    REQUIRE(packets.size() == 1);
    CHECK(packets[0].first == address_of(8));
    CHECK(packets[0].second.ack().sequence() == 77);
    CHECK(bench.run_for(1s).empty());
  }
  SECTION("without an answer it is said that there was none") {
    packets = bench.run_for(60ms);
    REQUIRE(packets.size() == 1);
    CHECK(packets[0].first == address_of(8));
    CHECK(packets[0].second.nack().sequence() == 77);
    CHECK_FALSE(packets[0].second.nack().refused());
    CHECK(bench.run_for(1s).empty());
  }
  SECTION("a refused port is told at once") {
    bench.prober.refused(address_of(3));
    packets = bench.sent();
    REQUIRE(packets.size() == 1);
    CHECK(packets[0].second.nack().refused());
  }
}

TEST_CASE("helpers that could not reach the target are named as accusers") {
  Bench bench(9);
  const Bench::Sent ping = bench.next_ping();
  std::vector<uint32_t> helpers;
  for (const auto& [to, packet] : bench.run_for(130ms)) {
    if (packet.has_ping_request()) helpers.push_back(Bench::number_at(to));
  }
  REQUIRE(helpers.size() == bench.context.options.indirect_probes);
  for (size_t i = 0; i < 2; ++i) {
    proto::Nack nack;
    nack.set_sequence(ping.sequence);
    nack.set_target(std::string(node_id(ping.target).wire()));
    bench.prober.receive_nack(test::address_of(helpers[i]), node_id(helpers[i]), nack);
  }
  const auto packets = bench.run_for(400ms);
  const auto accusation = accusation_of(ping.target, packets);
  REQUIRE(accusation);
  CHECK(accusation->accusers_size() == 3);  // this node and two helpers
  CHECK(bench.health.score() == 0);  // whether we are slow, the silent helpers' probes decide
  for (size_t i = 2; i < helpers.size(); ++i) {
    CHECK(std::ranges::any_of(packets, [&](const auto& sent) {
      return sent.first == address_of(helpers[i]) && sent.second.has_ping();
    }));
  }
}

TEST_CASE("a refused port is near-certain death when two hosts see it") {
  const bool second_host = GENERATE(false, true);
  Bench bench(9);
  const Bench::Sent ping = bench.next_ping();
  bench.prober.refused(address_of(ping.target));
  std::vector<uint32_t> helpers;
  for (const auto& [to, packet] : bench.sent()) {
    if (packet.has_ping_request()) helpers.push_back(Bench::number_at(to));
  }
  REQUIRE(helpers.size() == 4);
  proto::Nack nack;
  nack.set_sequence(ping.sequence);
  nack.set_target(std::string(node_id(ping.target).wire()));
  nack.set_refused(second_host);
  bench.prober.receive_nack(test::address_of(helpers[0]), node_id(helpers[0]), nack);
  const auto accusation = accusation_of(ping.target, bench.run_for(500ms));
  REQUIRE(accusation);
  CHECK(accusation->refused() == second_host);
}

TEST_CASE("who is accused is told so before others are") {
  Bench bench(9);
  const Bench::Sent ping = bench.next_ping();
  bool told = false;
  for (const auto& [to, packet] : bench.run_for(510ms)) {
    told = told || (to == address_of(ping.target) && packet.records_size() == 1);
  }
  CHECK(told);
}

TEST_CASE("an answer through anybody ends the probe well") {
  Bench bench(9);
  const Bench::Sent ping = bench.next_ping();
  bench.run_for(200ms);
  bench.answer(ping, 5);
  CHECK_FALSE(accusation_of(ping.target, bench.run_for(400ms)));
  CHECK(bench.context.statistics.probes_failed == 0);
}

TEST_CASE("an answer that names nobody speaks for its sender, and a helper says whom it reached") {
  Bench bench(9);
  proto::Ping asked;
  asked.set_sequence(7);
  asked.set_target(std::string(node_id(0).wire()));
  bench.prober.receive_ping(address_of(1), asked);
  const auto answers = bench.sent();
  REQUIRE(answers.size() == 1);
  REQUIRE(answers[0].second.has_ack());
  CHECK(answers[0].second.ack().target().empty());

  const Bench::Sent ping = bench.next_ping();
  proto::Ack ack;
  ack.set_sequence(ping.sequence);
  bench.prober.receive_ack(node_id(ping.target == 1 ? 2 : 1), ack);  // somebody else's
  CHECK(bench.prober.running() == 1);
  bench.prober.receive_ack(node_id(ping.target), ack);
  CHECK(bench.prober.running() == 0);

  proto::PingRequest request;
  request.set_sequence(77);
  request.set_target(std::string(node_id(3).wire()));
  request.set_target_address(address_of(3).wire_ip());
  request.set_target_port(address_of(3).port());
  request.set_timeout_ms(100);
  bench.prober.receive_ping_request(address_of(2), request);
  const auto relayed = bench.sent();
  REQUIRE(relayed.size() == 1);
  ack.set_sequence(relayed[0].second.ping().sequence());
  bench.prober.receive_ack(node_id(3), ack);
  const auto forwarded = bench.sent();
  REQUIRE(forwarded.size() == 1);
  CHECK(forwarded[0].first == address_of(2));
  CHECK(forwarded[0].second.ack().sequence() == 77);
  CHECK(forwarded[0].second.ack().target() == node_id(3).wire());
}

TEST_CASE("the round trip is measured with the answer to the one ping that was sent") {
  Bench bench(9);
  Bench::Sent ping = bench.next_ping();
  const TimePoint asked = bench.context.now;
  bench.run_for(20ms);
  bench.answer(ping, ping.target);
  CHECK(bench.table.find(node_id(ping.target))->srtt() <= bench.context.now - asked + 1ms);
  CHECK(bench.table.find(node_id(ping.target))->srtt() >= 20ms);

  ping = bench.next_ping();
  bench.run_for(200ms);  // meanwhile the ping was repeated: which of them is answered?
  bench.answer(ping, ping.target);
  // A bound will do until the way is measured.
  const Entry* far = bench.table.find(node_id(ping.target));
  CHECK(std::chrono::round<std::chrono::milliseconds>(far->srtt()) == 200ms);
  CHECK(far->round_trip_bound_only);
}

TEST_CASE("others learn the round trip, or how long it is at least") {
  Bench bench(1);
  std::vector<std::pair<Duration, bool>> learned;
  bench.prober.learn_round_trip = [&](const Entry& entry, Duration took, bool at_least) {
    CHECK(entry.id() == node_id(1));
    learned.emplace_back(took, at_least);
  };
  Duration since_last{};  // ping, within a millisecond
  const auto answer_after = [&](Duration delay, Duration standing_still = 0ms) {
    learned.clear();
    const Bench::Sent ping = bench.next_ping();
    const TimePoint asked = bench.context.now;
    TimePoint last = asked;
    while (bench.context.now < asked + delay) {
      for (const auto& [to, packet] : bench.run_for(1ms)) {
        if (packet.has_ping() && to == address_of(1)) last = bench.context.now;
      }
    }
    bench.context.now += standing_still;
    since_last = bench.context.now - last;
    bench.answer(ping, ping.target);
  };
  answer_after(20ms);
  REQUIRE(learned.size() == 1);
  CHECK(learned[0].first >= 20ms);
  CHECK(learned[0].first <= 21ms);
  CHECK_FALSE(learned[0].second);

  answer_after(230ms);
  CHECK(since_last < 150ms);  // it was asked again meanwhile, and may have answered any of these
  REQUIRE(learned.size() == 1);
  CHECK(learned[0].first >= since_last);
  CHECK(learned[0].first <= since_last + 1ms);
  CHECK(learned[0].second);

  answer_after(230ms, 3s);
  CHECK(learned.empty());
}

TEST_CASE("a certain round trip replaces one that was only bounded") {
  Bench bench(1);
  Bench::Sent ping = bench.next_ping();
  bench.run_for(200ms);
  bench.answer(ping, ping.target);
  ping = bench.next_ping();
  bench.run_for(120ms);  // within the bound now, and beyond the first wait
  bench.answer(ping, ping.target);
  const Entry* far = bench.table.find(node_id(ping.target));
  CHECK(std::chrono::round<std::chrono::milliseconds>(far->srtt()) == 120ms);
  CHECK_FALSE(far->round_trip_bound_only);
}

TEST_CASE("answers heal the local health that missing ones have worsened") {
  Bench bench(9);
  bench.health.worsen(3);
  for (int i = 0; i < 3; ++i) {
    const Bench::Sent ping = bench.next_ping();
    bench.answer(ping, ping.target);
  }
  CHECK(bench.health.score() == 0);
}

TEST_CASE("a probe gets back the time in which this node did not run") {
  Bench bench(9);
  const Bench::Sent ping = bench.next_ping();
  bench.context.now += 3s;
  bench.prober.forgive(3s);
  CHECK_FALSE(accusation_of(ping.target, bench.run_for(300ms)));
  bench.answer(ping, ping.target);
  CHECK(bench.context.statistics.probes_failed == 0);
}
