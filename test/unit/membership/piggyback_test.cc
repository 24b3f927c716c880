// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/piggyback.h"

#include <map>
#include <string>

#include "test/catch.h"

namespace m = starling::membership;
namespace proto = starling::proto;

namespace {

m::NodeId node(uint8_t number) {
  m::NodeId id;
  id.bytes[0] = number;
  return id;
}

std::optional<proto::Record> encode(const m::NodeId& id) {
  proto::Record record;
  record.set_kind(proto::RECORD_MEMBER);
  record.set_key(std::string(id.wire()));
  record.set_payload(std::string(60, 'p'));
  return record;
}

}  // namespace

TEST_CASE("an update rides along as often as asked and no more") {
  m::Piggyback piggyback;
  piggyback.add(node(1), 3);
  int carried = 0;
  for (int i = 0; i < 10; ++i) {
    proto::Packet packet;
    piggyback.fill(packet, 1000, encode);
    carried += packet.records_size();
  }
  CHECK(carried == 3);
  CHECK(piggyback.size() == 0);
}

TEST_CASE("those told least often go first and space is respected") {
  m::Piggyback piggyback;
  for (uint8_t i = 1; i <= 50; ++i) piggyback.add(node(i), i);
  proto::Packet packet;
  piggyback.fill(packet, 500, encode);
  CHECK(packet.records_size() > 3);
  CHECK(packet.ByteSizeLong() <= 500);
  CHECK(packet.records(0).key() == node(50).wire());
  CHECK(packet.records(1).key() == node(49).wire());
}

TEST_CASE("a newer update starts over and an unknown member is forgotten") {
  m::Piggyback piggyback;
  piggyback.add(node(1), 1);
  piggyback.add(node(1), 2);
  CHECK(piggyback.size() == 1);
  piggyback.add(node(2), 5);
  proto::Packet packet;
  piggyback.fill(packet, 1000,
                 [](const m::NodeId& id) { return id == node(2) ? std::nullopt : encode(id); });
  CHECK(packet.records_size() == 1);
  CHECK(piggyback.size() == 1);
  piggyback.drop(node(1));
  CHECK(piggyback.size() == 0);
}
