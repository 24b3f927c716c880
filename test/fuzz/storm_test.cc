// SPDX-License-Identifier: Apache-2.0
//
// A short storm against the core itself, so that the sanitizers see it in every run.
#include <string>

#include "membership/limits.h"
#include "membership/node.h"
#include "test/catch.h"
#include "test/fuzz/message_maker.h"
#include "test/stand_in_keys.h"

namespace starling::fuzz {
namespace {

using membership::Address;
using membership::Node;
using membership::Random;
using membership::TimePoint;

Node make_node() {
  silence_protobuf();
  membership::Identity identity;
  identity.id.bytes.fill(1);
  identity.keys = std::make_shared<test::StandInKeys>(identity.id);
  identity.name = "target";
  identity.address = *Address::parse("127.0.0.1:7946");
  return Node(membership::Options::lan(), identity, Random(7), TimePoint{});
}

// What the driver would do, as far as it comes back: streams that the node opens all fail.
void carry_out(Node& node, TimePoint now) {
  for (int rounds = 0; rounds < 100; ++rounds) {
    const membership::Actions actions = node.take_actions();
    if (actions.empty()) return;
    for (const membership::Action& action : actions) {
      if (const auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
        REQUIRE(datagram->bytes.size() <= membership::kMaxPacket);
      } else if (const auto* open = std::get_if<membership::OpenStream>(&action)) {
        node.stream_closed(now, open->stream, membership::StreamEnd::kRefused);
      } else if (const auto* send = std::get_if<membership::SendStream>(&action)) {
        REQUIRE(send->bytes.size() <= membership::kMaxStreamMessage);
      }
    }
  }
  FAIL("the node does not stop asking");
}

void storm(Node& node, MessageMaker& maker, int rounds) {
  const Address from = *Address::parse("127.0.0.2:7946");
  TimePoint now{};
  membership::StreamId stream = membership::kFirstAcceptedStream;
  bool open = false;
  for (int round = 0; round < rounds; ++round) {
    now += std::chrono::milliseconds(maker.random().below(20));
    const bool damaged = maker.random().chance(0.5);
    if (maker.random().chance(0.7)) {
      std::string packet = maker.packet();
      if (damaged) maker.damage(packet);
      node.receive_datagram(now, from, packet);
    } else {
      if (!open) node.stream_accepted(now, ++stream, from);
      std::string message = maker.stream_message();
      if (damaged) maker.damage(message);
      node.receive_stream(now, stream, message);
      open = maker.random().chance(0.7);
      if (!open) node.stream_closed(now, stream, membership::StreamEnd::kClosed);
    }
    carry_out(node, now);
    if (node.next_deadline() <= now) node.advance(now);
    carry_out(node, now);
  }
}

TEST_CASE("absurd messages change nothing that a user can see") {
  const auto seed = GENERATE(uint64_t{1}, uint64_t{2}, uint64_t{3});
  CAPTURE(seed);
  Node node = make_node();
  MessageMaker maker(Random(seed), MessageMaker::Claims::kAbsurd);
  storm(node, maker, 3000);
  CHECK(node.statistics().malformed_packets > 0);
  CHECK(node.statistics().events_accepted == 0);
  const auto members = node.members();
  REQUIRE(members.size() == 1);
  CHECK(members[0].name == "target");
  CHECK(members[0].status == membership::Status::kAlive);
  CHECK(node.events_held() == 0);
}

TEST_CASE("well-formed nonsense leaves the node alive and within its limits") {
  const auto seed = GENERATE(uint64_t{1}, uint64_t{2}, uint64_t{3});
  CAPTURE(seed);
  Node node = make_node();
  MessageMaker maker(Random(seed), MessageMaker::Claims::kPlausible);
  storm(node, maker, 3000);
  CHECK(node.self().status == membership::Status::kAlive);
  CHECK(node.members().size() <= membership::kMaxMembers);
  CHECK(node.events_held() <= node.options().event_retention_count);
  REQUIRE(node.send_event(TimePoint{} + std::chrono::hours(1), "still", "here", false).has_value());
}

TEST_CASE("the same seed makes the same messages") {
  silence_protobuf();
  MessageMaker one(Random(5), MessageMaker::Claims::kAbsurd);
  MessageMaker two(Random(5), MessageMaker::Claims::kAbsurd);
  MessageMaker other(Random(6), MessageMaker::Claims::kAbsurd);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const std::string packet = one.packet();
    CHECK(packet == two.packet());
    differs = differs || packet != other.packet();
    CHECK(one.stream_message() == two.stream_message());
    other.stream_message();
  }
  CHECK(differs);
}

}  // namespace
}  // namespace starling::fuzz
