// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/outbox.h"

#include "membership/limits.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::address_of;
using test::Parts;

TEST_CASE("what goes to one address in one turn shares packets") {
  Parts parts;
  proto::Ack ack;
  ack.set_sequence(7);
  parts.outbox.ack(address_of(1), ack);
  parts.outbox.push_ack(address_of(1), 3, TrafficClass::kEvents);
  parts.outbox.push_ack(address_of(2), 4, TrafficClass::kEvents);
  const auto packets = parts.sent();
  REQUIRE(packets.size() == 2);
  CHECK(packets[0].second.ack().sequence() == 7);
  CHECK(packets[0].second.push_acks(0) == 3);
  CHECK(packets[0].second.member_fingerprint() == 1);
  CHECK(packets[1].second.push_acks(0) == 4);
}

TEST_CASE("no packet is over the limit and each carries one probe") {
  Parts parts;
  proto::Push push;
  push.add_records()->set_payload(std::string(300, 'x'));
  for (int i = 0; i < 40; ++i) parts.outbox.push(address_of(1), push);
  proto::Ack ack;
  parts.outbox.ack(address_of(1), ack);
  parts.outbox.ack(address_of(1), ack);
  parts.outbox.flush(1, 1, [](const Address&, proto::Packet& packet, size_t free) {
    proto::Record record;
    if (free > 60) record.set_payload(std::string(free - 20, 'r'));
    *packet.add_records() = record;
  });
  int pushes = 0;
  int acks = 0;
  for (const SendDatagram& datagram : parts.take<SendDatagram>()) {
    CHECK(datagram.bytes.size() <= kMaxPacket);
    proto::Packet packet;
    REQUIRE(packet.ParseFromString(datagram.bytes));
    pushes += packet.pushes_size();
    acks += packet.has_ack() ? 1 : 0;
  }
  CHECK(pushes == 40);
  CHECK(acks == 2);
}

TEST_CASE("the largest event fits a packet") {
  Parts parts;
  proto::UserEvent event;
  event.set_ltime(UINT64_MAX);
  event.set_name(std::string(24, 'n'));
  event.set_payload(std::string(kMaxInlinePayload - 24, 'p'));
  event.set_coalesce(true);
  event.set_public_key(std::string(32, 'k'));
  event.set_signature(std::string(64, 's'));
  proto::Push push;
  proto::Record& record = *push.add_records();
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(message_key({test::node_id(1), UINT32_MAX, UINT64_MAX}));
  record.set_payload(event.SerializeAsString());
  push.set_range_begin(1);
  push.set_range_end(UINT64_MAX);
  push.set_hop(UINT32_MAX);
  parts.outbox.push(address_of(1), push);
  parts.outbox.flush(1, 1, [](const Address&, proto::Packet&, size_t) {});
  const auto sent = parts.take<SendDatagram>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].bytes.size() <= kMaxPacket);
}
