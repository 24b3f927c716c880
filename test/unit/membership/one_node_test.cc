// SPDX-License-Identifier: Apache-2.0
//
// One whole node; the test plays everybody else. What other parts of the protocol would mend if it
// went wrong is tested here.
#include "membership/node.h"
#include "membership/wire.h"
#include "proto/gossip.pb.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::address_of;
using test::identity_of;
using test::member_record;
using test::node_id;

namespace {

/// One node; packets from number 1 keep it from taking itself for deaf.
struct Bench {
  void receive(const std::vector<proto::MemberRecord>& records) {
    proto::Packet packet;
    packet.set_sender(std::string(node_id(1).wire()));
    for (const proto::MemberRecord& record : records) {
      *packet.add_records() = Members::encode(record);
    }
    node.receive_datagram(now, address_of(1), packet.SerializeAsString());
  }
  /// Runs on time, and hears something every 100 ms.
  void run_until(TimePoint end) {
    while (now < end) {
      const TimePoint pause = now + 100ms;
      while (node.next_deadline() <= pause) {
        now = std::max(now, node.next_deadline());
        node.advance(now);
      }
      now = pause;
      receive({});
    }
  }
  /// As receive(), but a ping from `number`.
  void ping_from(uint32_t number) {
    proto::Packet packet;
    packet.set_sender(std::string(node_id(number).wire()));
    packet.mutable_ping()->set_sequence(1);
    packet.mutable_ping()->set_target(std::string(node_id(0).wire()));
    node.receive_datagram(now, address_of(number), packet.SerializeAsString());
  }
  /// Number 5 is said to have failed, and so many have confirmed it that it does after
  /// suspicion_min.
  void accuse() {
    for (uint32_t i = 1; i <= 9; ++i) receive({member_record(i, Incarnation::at(1, 5))});
    auto accusation = member_record(5, Incarnation::at(1, 5), proto::MEMBER_FAILED);
    for (const uint32_t accuser : {1U, 2U, 3U, 4U}) {
      accusation.add_accusers(std::string(node_id(accuser).wire()));
    }
    receive({accusation});
  }
  void receive_from(uint32_t number) {
    proto::Packet packet;
    packet.set_sender(std::string(node_id(number).wire()));
    node.receive_datagram(now, address_of(number), packet.SerializeAsString());
  }
  /// Somebody who knows other members than the node does; the streams that it opens for that.
  size_t hear_a_difference() {
    collect();
    proto::Packet packet;
    packet.set_sender(std::string(node_id(1).wire()));
    packet.set_member_fingerprint(12345);
    node.receive_datagram(now, address_of(1), packet.SerializeAsString());
    size_t opened = 0;
    for (const Action& action : node.take_actions()) {
      const auto* open = std::get_if<OpenStream>(&action);
      if (open != nullptr && !open->connect_only) ++opened;
    }
    return opened;
  }
  /// A packet for `number` carries what is said about it.
  bool told(uint32_t number) {
    bool seen = false;
    collect();
    for (const Action& action : actions) {
      const auto* datagram = std::get_if<SendDatagram>(&action);
      if (datagram == nullptr || datagram->to != address_of(number)) continue;
      proto::Packet packet;
      packet.ParseFromString(datagram->bytes);
      for (const proto::Record& record : packet.records()) {
        seen = seen || record.key() == node_id(number).wire();
      }
    }
    return seen;
  }
  /// Number `number` acknowledges the pings that were sent to it. The streams that were to be
  /// opened.
  std::vector<OpenStream> answer_pings(uint32_t number, bool really = true) {
    std::vector<OpenStream> streams;
    for (const Action& action : node.take_actions()) {
      if (const auto* open = std::get_if<OpenStream>(&action)) streams.push_back(*open);
      if (!really) continue;
      const auto* datagram = std::get_if<SendDatagram>(&action);
      if (datagram == nullptr || datagram->to != address_of(number)) continue;
      proto::Packet asked;
      asked.ParseFromString(datagram->bytes);
      if (!asked.has_ping()) continue;
      proto::Packet answer;
      answer.set_sender(std::string(node_id(number).wire()));
      answer.mutable_ack()->set_sequence(asked.ping().sequence());
      answer.mutable_ack()->set_target(asked.ping().target());
      node.receive_datagram(now, address_of(number), answer.SerializeAsString());
    }
    return streams;
  }
  /// The next stream that it wants to open; number 1 answers its pings until then, or does not.
  OpenStream next_stream(bool answered) {
    for (int i = 0; i < 1000; ++i) {
      now = std::max(now, node.next_deadline());
      node.advance(now);
      const auto streams = answer_pings(1, answered);
      if (!streams.empty()) return streams.front();
    }
    return {};
  }
  void collect() {
    for (Action& action : node.take_actions()) actions.push_back(std::move(action));
  }
  bool failed() {
    bool seen = false;
    collect();
    for (const Action& action : actions) {
      const auto* event = std::get_if<MemberEvent>(&action);
      seen = seen || (event != nullptr && event->change == MemberChange::kFailed &&
                      event->member.id == node_id(5));
    }
    return seen;
  }

  TimePoint now = TimePoint{} + 1s;
  Actions actions;  ///< all so far
  Node node{Options::lan(), identity_of(0), Random(1), now};
};

}  // namespace

TEST_CASE("a connection does not put right what a handshake found broken") {
  Bench bench;
  bench.receive({member_record(1, Incarnation::at(1, 5))});
  const OpenStream check = bench.next_stream(true);
  REQUIRE(check.to == address_of(1));
  CHECK(check.connect_only);
  const OpenStream escalated = bench.next_stream(false);
  REQUIRE(escalated.to == address_of(1));
  CHECK_FALSE(escalated.connect_only);
  bench.node.stream_closed(bench.now, escalated.stream, StreamEnd::kProtocol);
  bench.node.stream_opened(bench.now, check.stream);
  REQUIRE(bench.node.routes().size() == 1);
  CHECK(bench.node.routes()[0].stream == StreamResult::kProtocol);
  CHECK(bench.node.routes()[0].streams_failed == 1);
  bool closed = false;
  for (const Action& action : bench.node.take_actions()) {
    const auto* close = std::get_if<CloseStream>(&action);
    closed = closed || (close != nullptr && close->stream == check.stream);
  }
  CHECK(closed);
}

TEST_CASE("a suspect gets back the time in which this node was stalled") {
  const bool stalled = GENERATE(false, true);
  Bench bench;
  bench.accuse();
  const TimePoint begin = bench.now;
  bench.run_until(begin + 1s);
  if (stalled) {
    bench.now += 1400ms;  // less than deaf_after
    bench.receive({});
  }
  bench.run_until(begin + 4s);
  CHECK(bench.failed() == !stalled);
  bench.actions.clear();
  bench.run_until(begin + 6s);
  CHECK(bench.failed() == stalled);
}

TEST_CASE("a probe gets back the time in which this node was stalled") {
  const bool stalled = GENERATE(false, true);
  Bench bench;
  for (uint32_t i = 1; i <= 9; ++i) bench.receive({member_record(i, Incarnation::at(1, 5))});
  while (bench.node.statistics().probes == 0) {
    bench.now = std::max(bench.now, bench.node.next_deadline());
    bench.node.advance(bench.now);
  }
  // Nobody answers. A probe that is begun now has failed after probe_interval of running.
  const TimePoint begin = bench.now;
  if (stalled) {
    bench.now += 1400ms;
    bench.node.advance(bench.now);
    CHECK(bench.node.statistics().probes_failed == 0);
    bench.run_until(begin + 1400ms + 200ms);
    CHECK(bench.node.statistics().probes_failed == 0);
  }
  bench.run_until(begin + 2s);
  CHECK(bench.node.statistics().probes_failed > 0);
}

TEST_CASE("who has stood still for long asks at once what it missed, and not after a short while") {
  const Duration stalled = GENERATE(as<Duration>{}, 700ms, 3s);
  Bench bench;
  bench.receive({member_record(1, Incarnation::at(1, 5))});
  bench.run_until(bench.now + 3s);
  bench.now += stalled;
  CHECK(bench.hear_a_difference() == (stalled > 1s ? 1 : 0));
  bench.run_until(bench.now + 1s);
  CHECK(bench.hear_a_difference() == (stalled > 1s ? 0 : 1));  // as always: when it has lasted
}

TEST_CASE("members are counted as they are listed") {
  Bench bench;
  bench.accuse();
  bench.run_until(bench.now + 5s);
  REQUIRE(bench.failed());
  bench.receive({member_record(20, Incarnation::at(1, 5)),
                 // Replaces one that has failed, which is listed no longer.
                 member_record(22, Incarnation::at(1, 5), proto::MEMBER_ALIVE, "node5")});
  bench.receive({member_record(20, Incarnation::at(1, 5), proto::MEMBER_LEFT)});
  const std::vector<Member> listed = bench.node.members();
  const auto of = [&](Status status) {
    return static_cast<size_t>(std::ranges::count(listed, status, &Member::status));
  };
  const MemberCounts counts = bench.node.member_counts();
  CHECK(counts.all == listed.size());
  CHECK(counts.failed == of(Status::kFailed));
  CHECK(counts.left == of(Status::kLeft));
  CHECK(counts.left == 1);
  CHECK(counts.degraded == 0);
}

TEST_CASE("who joins is told of many members in pieces") {
  Bench bench;
  constexpr uint32_t kMembers = 400;
  for (uint32_t i = 2; i <= kMembers; ++i) bench.receive({member_record(i, Incarnation::at(1, 5))});
  bench.collect();
  proto::StreamMessage message;
  message.set_sender(std::string(node_id(1).wire()));
  *message.mutable_sync_request()->mutable_self() = member_record(1, Incarnation::at(1, 0));
  message.mutable_sync_request()->set_join(true);
  bench.node.stream_accepted(bench.now, kFirstAcceptedStream, address_of(1));
  bench.node.receive_stream(bench.now, kFirstAcceptedStream, message.SerializeAsString());
  message.clear_sync_request();
  message.mutable_sync_batch()->set_last(true);
  bench.node.receive_stream(bench.now, kFirstAcceptedStream, message.SerializeAsString());
  size_t pieces = 0;
  int records = 0;
  size_t largest = 0;
  for (const Action& action : bench.node.take_actions()) {
    const auto* send = std::get_if<SendStream>(&action);
    if (send == nullptr) continue;
    proto::StreamMessage told;
    REQUIRE(told.ParseFromString(send->bytes));
    if (!told.has_sync_batch() || told.sync_batch().records_size() == 0) continue;
    ++pieces;
    records += told.sync_batch().records_size();
    largest = std::max(largest, send->bytes.size());
  }
  CHECK(records >= static_cast<int>(kMembers) - 1);
  CHECK(pieces > 1);
  CHECK(largest <= (16U << 10) + 100);
}

TEST_CASE("a failed member that speaks is told at once what is believed of it") {
  Bench bench;
  bench.accuse();
  bench.run_until(bench.now + 5s);
  REQUIRE(bench.failed());
  bench.ping_from(5);
  bool told = false;
  for (const Action& action : bench.node.take_actions()) {
    const auto* datagram = std::get_if<SendDatagram>(&action);
    if (datagram == nullptr || datagram->to != address_of(5)) continue;
    proto::Packet packet;
    packet.ParseFromString(datagram->bytes);
    for (const proto::Record& record : packet.records()) {
      proto::MemberRecord member;
      member.ParseFromString(record.payload());
      told = told || (member.id() == node_id(5).wire() && member.status() == proto::MEMBER_FAILED);
    }
  }
  CHECK(told);
}

TEST_CASE("a leave is done when the others know or after its time") {
  Bench bench;
  for (uint32_t i = 1; i <= 9; ++i) bench.receive({member_record(i, Incarnation::at(1, 5))});
  const auto done = [&] {
    bool seen = false;
    for (const Action& action : bench.node.take_actions()) {
      seen = seen || std::holds_alternative<LeaveDone>(action);
    }
    return seen;
  };
  bench.node.leave(bench.now);
  CHECK_FALSE(done());
  bench.run_until(bench.now + 300ms);
  CHECK_FALSE(done());
  bench.run_until(bench.now + 300ms);
  CHECK(done());
}

TEST_CASE("a suspect that speaks is told, and not declared failed while it is heard") {
  const bool speaks = GENERATE(false, true);
  Bench bench;
  bench.accuse();
  const TimePoint begin = bench.now;
  while (bench.now < begin + 4s) {
    bench.run_until(bench.now + 500ms);
    if (!speaks) continue;
    bench.collect();
    bench.actions.clear();
    bench.receive_from(5);
    CHECK(bench.told(5));  // in the same turn, not with some later probe
  }
  CHECK(bench.node.member("node5")->status == (speaks ? Status::kSuspect : Status::kFailed));
  // But hearing it is not reaching it: without a refutation it fails in the end.
  while (bench.now < begin + 8s) {
    bench.run_until(bench.now + 500ms);
    if (speaks) bench.receive_from(5);
  }
  CHECK(bench.node.member("node5")->status == Status::kFailed);
}

TEST_CASE(
    "who tells a member what is said about it is answered, also when that was refuted before") {
  Bench bench;
  for (uint32_t i = 1; i <= 9; ++i) bench.receive({member_record(i, Incarnation::at(1, 5))});
  const Incarnation accused = bench.node.self().incarnation;
  const auto told_by = [&](uint32_t number, proto::MemberStatus status) {
    proto::Packet packet;
    packet.set_sender(std::string(node_id(number).wire()));
    // As it rides along, and because this node has spoken.
    for (int i = 0; i < 2; ++i) {
      *packet.add_records() = Members::encode(member_record(0, accused, status));
    }
    bench.collect();
    bench.actions.clear();
    bench.node.receive_datagram(bench.now, address_of(number), packet.SerializeAsString());
    size_t answers = 0;
    for (const Action& action : bench.node.take_actions()) {
      const auto* datagram = std::get_if<SendDatagram>(&action);
      if (datagram == nullptr || datagram->to != address_of(number)) continue;
      proto::Packet answer;
      answer.ParseFromString(datagram->bytes);
      for (const proto::Record& record : answer.records()) {
        proto::MemberRecord member;
        member.ParseFromString(record.payload());
        const bool refutes = member.id() == node_id(0).wire() &&
                             member.status() == proto::MEMBER_ALIVE &&
                             member.incarnation() > accused.value;
        answers += refutes ? 1 : 0;
      }
    }
    return answers;
  };
  CHECK(told_by(2, proto::MEMBER_SUSPECT) == 1);
  const Incarnation refuted = bench.node.self().incarnation;
  CHECK(refuted > accused);
  // Number 3 has heard nothing of that: the way that the refutation took to it was cut.
  CHECK(told_by(3, proto::MEMBER_SUSPECT) == 1);
  CHECK(told_by(4, proto::MEMBER_FAILED) == 1);
  CHECK(told_by(5, proto::MEMBER_ALIVE) == 0);  // nothing to refute
  // What waited for a slow process says it again and again.
  CHECK(told_by(3, proto::MEMBER_SUSPECT) == 0);
  bench.now += bench.node.options().round_trip_max;
  CHECK(told_by(3, proto::MEMBER_SUSPECT) == 1);
  CHECK(bench.node.self().incarnation == refuted);
}

TEST_CASE("who has only heard of a suspicion declares nobody that it reaches itself") {
  const bool reachable = GENERATE(false, true);
  Bench bench;
  for (uint32_t i = 1; i <= 9; ++i) bench.receive({member_record(i, Incarnation::at(1, 5))});
  auto accusation = member_record(5, Incarnation::at(1, 5), proto::MEMBER_SUSPECT);
  for (const uint32_t accuser : {1U, 2U, 3U, 4U}) {
    accusation.add_accusers(std::string(node_id(accuser).wire()));
  }
  bench.receive({accusation});
  // Longer than a suspect is given for having spoken.
  const TimePoint end = bench.now + 4 * Options::lan().suspicion_min;
  while (bench.now < end) {
    bench.run_until(bench.now + 50ms);
    bench.answer_pings(reachable ? 5 : 6);
  }
  CHECK(bench.node.member("node5")->status == (reachable ? Status::kSuspect : Status::kFailed));
}
