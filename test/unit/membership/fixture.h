// SPDX-License-Identifier: Apache-2.0
//
// The parts of one node without the node, for tests that look inside.
#pragma once

#include <algorithm>
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

/// Of the first process of a member.
constexpr Incarnation at(uint32_t counter) {
  return Incarnation::at(1, counter);
}

/// What the owner says of itself; under the name of its number unless `name` says another.
inline proto::MemberRecord member_record(uint32_t number, Incarnation incarnation,
                                         proto::MemberStatus status = proto::MEMBER_ALIVE,
                                         const std::string& name = {}) {
  proto::MemberRecord record;
  record.set_id(std::string(node_id(number).wire()));
  record.set_incarnation(incarnation.value);
  record.set_status(status);
  record.set_name(name.empty() ? "node" + std::to_string(number) : name);
  record.set_address(address_of(number).wire_ip());
  record.set_port(7946);
  starling::test::sign_as_owner(record);
  return record;
}

/// What others say of a member, without its own word.
inline proto::MemberRecord accusation(uint32_t about, Incarnation incarnation,
                                      proto::MemberStatus status,
                                      const std::vector<uint32_t>& accusers) {
  proto::MemberRecord record;
  record.set_id(std::string(node_id(about).wire()));
  record.set_incarnation(incarnation.value);
  record.set_status(status);
  for (const uint32_t accuser : accusers) record.add_accusers(std::string(node_id(accuser).wire()));
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
  /// Lets members 1 to `count` in, alive at incarnation 1.5.
  void meet(uint32_t count) {
    for (uint32_t i = 1; i <= count; ++i) {
      members.apply(member_record(i, at(5)), Heard::kSynced);
    }
    take<MemberEvent>();
  }
  Status status_of(uint32_t number) { return table.find(node_id(number))->status; }
  /// These members could not reach `number`, as this node knows it.
  void accuse(uint32_t number, const std::vector<uint32_t>& accusers) {
    Accusation accusation;
    for (const uint32_t accuser : accusers) accusation.accusers.push_back(node_id(accuser));
    members.accuse(node_id(number), table.find(node_id(number))->incarnation, accusation);
  }
  /// Moves time on while member 1 is heard, so that this node does not take itself for cut off.
  void listen_for(Duration duration) {
    const TimePoint end = context.now + duration;
    while (context.now < end) {
      members.heard_from(node_id(1));
      run_for(std::min<Duration>(end - context.now, std::chrono::milliseconds(100)));
    }
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
