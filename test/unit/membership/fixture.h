// SPDX-License-Identifier: Apache-2.0
//
// The parts of one node without the node, for tests that look inside.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "membership/context.h"
#include "membership/gossip/broadcast_tree.h"
#include "membership/gossip/outbox.h"
#include "membership/gossip/piggyback.h"
#include "membership/swim/members.h"
#include "membership/wire.h"
#include "test/stand_in_keys.h"

namespace starling::membership::test {

inline NodeId node_id(uint32_t number) {
  NodeId id;
  id.bytes[0] = static_cast<uint8_t>(number);
  id.bytes[1] = static_cast<uint8_t>(number >> 8);
  return id;
}

inline Address address_of(uint32_t number) {
  return *Address::from_ip(
      "10.0." + std::to_string(number / 256) + "." + std::to_string(number % 256), 7946);
}

inline Identity identity_of(uint32_t number) {
  Identity identity;
  identity.id = node_id(number);
  identity.name = "node" + std::to_string(number);
  identity.address = address_of(number);
  identity.epoch = 1;
  identity.keys = std::make_shared<starling::test::StandInKeys>(identity.id);
  return identity;
}

inline proto::MemberRecord member_record(uint32_t number, Incarnation incarnation,
                                         proto::MemberStatus status = proto::MEMBER_ALIVE) {
  proto::MemberRecord record;
  record.set_id(std::string(node_id(number).wire()));
  record.set_incarnation(incarnation.value);
  record.set_status(status);
  record.set_name("node" + std::to_string(number));
  record.set_address(address_of(number).wire_ip());
  record.set_port(7946);
  starling::test::sign_as_owner(record);
  return record;
}

struct Parts {
  Context context{Options::lan(), identity_of(0), Random(1), TimePoint{}, {}, {}, {}, {}, {}};
  MemberTable table;
  Outbox outbox{context};
  Piggyback piggyback;
  LocalHealth health{8};
  BroadcastTree tree{context, table, outbox};
  Members members{context, table, tree, piggyback, health};

  template <typename T>
  std::vector<T> take() {
    std::vector<T> taken;
    for (Action& action : context.actions) {
      if (auto* found = std::get_if<T>(&action)) taken.push_back(std::move(*found));
    }
    context.actions.clear();
    return taken;
  }
  /// Everything that was put into the outbox, as packets by destination.
  std::vector<std::pair<Address, proto::Packet>> sent() {
    outbox.flush(1, 1, [](const Address&, proto::Packet&, size_t) {});
    std::vector<std::pair<Address, proto::Packet>> packets;
    for (const SendDatagram& datagram : take<SendDatagram>()) {
      packets.emplace_back(datagram.to, proto::Packet());
      packets.back().second.ParseFromString(datagram.bytes);
    }
    return packets;
  }
  /// Moves time on, firing what is due on the way.
  void run_for(Duration duration) {
    const TimePoint end = context.now + duration;
    while (members.next_deadline() <= end) {
      context.now = std::max(context.now, members.next_deadline());
      members.advance();
    }
    context.now = end;
  }
};

}  // namespace starling::membership::test
