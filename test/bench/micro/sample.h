// SPDX-License-Identifier: Apache-2.0
//
// Members and packets as a cluster has them, for the microbenchmarks.
#pragma once

#include <cstdint>
#include <string>

#include "membership/address.h"
#include "membership/ids.h"
#include "proto/gossip.pb.h"
#include "test/stand_in_keys.h"

namespace starling::bench {

inline membership::NodeId node_id(uint32_t number) {
  membership::NodeId id;
  for (size_t i = 0; i < 4; ++i) id.bytes[i] = static_cast<uint8_t>(number >> (8 * i));
  id.bytes[15] = 1;  // never all zero
  return id;
}

inline membership::Address address(uint32_t number) {
  const std::string ip = "10." + std::to_string(number >> 16 & 255) + "." +
                         std::to_string(number >> 8 & 255) + "." + std::to_string(number & 255);
  return *membership::Address::from_ip(ip, 7946);
}

/// An alive member with two tags, as others hear of it; about 90 bytes.
inline proto::MemberRecord member_record(uint32_t number, uint32_t counter = 0) {
  proto::MemberRecord record;
  record.set_id(std::string(node_id(number).wire()));
  record.set_incarnation(uint64_t{1} << 32 | counter);
  record.set_status(proto::MEMBER_ALIVE);
  record.set_name("node" + std::to_string(number));
  record.set_address(std::string(address(number).wire_ip()));
  record.set_port(7946);
  for (const auto& [key, value] : {std::pair{"role", "web"}, std::pair{"zone", "fsn1"}}) {
    proto::Tag& tag = *record.add_tags();
    tag.set_key(key);
    tag.set_value(value);
  }
  record.set_protocol_min(1);
  record.set_protocol_max(1);
  test::sign_as_owner(record);
  return record;
}

inline proto::Record gossip_record(uint32_t number, uint32_t counter = 0) {
  proto::Record record;
  record.set_kind(proto::RECORD_MEMBER);
  record.set_key(std::string(node_id(number).wire()));
  record.set_payload(member_record(number, counter).SerializeAsString());
  return record;
}

}  // namespace starling::bench
