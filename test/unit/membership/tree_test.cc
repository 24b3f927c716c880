// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/broadcast_tree.h"

#include <map>
#include <memory>
#include <set>

#include "membership/limits.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::address_of;
using test::node_id;
using test::Parts;

namespace {

/// Trees of `count` nodes that all know each other, with instant delivery.
struct Forest {
  /// Member i is in zone i mod `zones`.
  explicit Forest(uint32_t count, uint32_t zones = 1) : zones(zones) {
    for (uint32_t i = 0; i < count; ++i) {
      nodes.push_back(std::make_unique<Parts>());
      nodes[i]->context.identity = test::identity_of(i);
      nodes[i]->context.random = Random(i + 1);
      for (uint32_t j = 0; j < count; ++j) {
        if (i == j) continue;
        proto::MemberRecord member = test::member_record(j, Incarnation::at(1, 0));
        if (zones > 1) {
          proto::Tag& tag = *member.add_tags();
          tag.set_key("zone");
          tag.set_value("site-" + std::to_string(j % zones));
          starling::test::sign_as_owner(member);
        }
        nodes[i]->members.apply(member, Heard::kSynced);
      }
      nodes[i]->context.actions.clear();
      number[address_of(i)] = i;
    }
  }

  /// Delivers everything until nothing is under way; packets to `dead` vanish.
  void settle(const std::set<uint32_t>& dead = {}) {
    for (bool moved = true; moved;) {
      moved = false;
      for (uint32_t i = 0; i < nodes.size(); ++i) {
        for (auto& [to, packet] : nodes[i]->sent()) {
          moved = true;
          const uint32_t target = number.at(to);
          payloads += static_cast<size_t>(packet.pushes_size());
          if (target % zones != i % zones) crossings += static_cast<size_t>(packet.pushes_size());
          if (dead.contains(target) || dead.contains(i)) continue;
          for (const proto::Push& push : packet.pushes()) {
            const bool fresh = heard.insert(target).second;
            nodes[target]->tree.receive(address_of(i), node_id(i), push,
                                        fresh ? Verdict::kFresh : Verdict::kKnown, node_id(0));
          }
          for (const uint32_t hop : packet.push_acks()) nodes[target]->tree.acknowledged(hop);
        }
      }
    }
  }

  /// Lets timers fire until all are done.
  void settle_with_time(const std::set<uint32_t>& dead) {
    for (int i = 0; i < 200; ++i) {
      settle(dead);
      for (auto& node : nodes) {
        node->context.now += 50ms;
        node->tree.advance();
      }
    }
  }

  uint32_t zones;
  std::vector<std::unique_ptr<Parts>> nodes;
  std::map<Address, uint32_t> number;
  std::set<uint32_t> heard{0};
  size_t payloads = 0;
  size_t crossings = 0;  // of them, from zone to zone
};

proto::Record record() {
  proto::Record made;
  made.set_kind(proto::RECORD_USER_EVENT);
  made.set_key("key");
  made.set_payload("payload");
  return made;
}

}  // namespace

TEST_CASE("the tree reaches everyone with about one payload each") {
  const uint32_t count = GENERATE(2, 20, 33, 34, 100, 200);
  CAPTURE(count);
  Forest forest(count);
  forest.nodes[0]->tree.publish(record(), node_id(0));
  forest.settle();
  CHECK(forest.heard.size() == count);
  CHECK(forest.payloads >= count - 1);
  CHECK(forest.payloads <= count + count / 6);
  for (const auto& node : forest.nodes) CHECK(node->tree.pending() == 0);
}

TEST_CASE("news crosses from zone to zone as few times as there are zones") {
  const uint32_t zones = GENERATE(2, 5, 8);
  const bool by_zone = GENERATE(true, false);
  Forest forest(200, zones);
  for (auto& node : forest.nodes) node->context.options.tree_by_zone = by_zone;
  forest.nodes[0]->tree.publish(record(), node_id(0));
  forest.settle();
  CHECK(forest.heard.size() == 200);
  CHECK(forest.payloads <= 200 + 200 / 6);
  INFO(forest.crossings << " crossings between " << zones << " zones");
  // A zone may have several parts: eight in all.
  if (by_zone) CHECK(forest.crossings <= 8);
  if (!by_zone && zones > 2) CHECK(forest.crossings > 8);
}

TEST_CASE("more zones than parts are told together") {
  Forest forest(200, 50);
  forest.nodes[0]->tree.publish(record(), node_id(0));
  forest.settle();
  CHECK(forest.heard.size() == 200);
  CHECK(forest.payloads <= 200 + 200 / 6);
}

TEST_CASE("a silent representative is replaced by another of its range") {
  Forest forest(150);
  std::set<uint32_t> dead;
  for (uint32_t i = 1; i < 150; i += 10) dead.insert(i);
  forest.nodes[0]->tree.publish(record(), node_id(0));
  forest.settle_with_time(dead);
  CHECK(forest.heard.size() == 150 - dead.size());
  for (const auto& node : forest.nodes) CHECK(node->tree.pending() == 0);
}

TEST_CASE("a range is covered once however often it is asked for") {
  Forest forest(100);
  Parts& node = *forest.nodes[5];
  proto::Push push;
  *push.add_records() = record();
  push.set_range_begin(0);
  push.set_range_end(UINT64_MAX);
  push.set_hop(9);
  node.tree.receive(address_of(1), node_id(1), push, Verdict::kFresh, node_id(0));
  size_t pushes = 0;
  for (const auto& [to, packet] : node.sent()) pushes += static_cast<size_t>(packet.pushes_size());
  CHECK(pushes == 8);
  node.tree.receive(address_of(1), node_id(1), push, Verdict::kKnown, node_id(0));
  const auto again = node.sent();
  REQUIRE(again.size() == 1);  // only the acknowledgement
  CHECK(again[0].second.pushes_size() == 0);
  REQUIRE(again[0].second.push_acks_size() == 1);
  CHECK(again[0].second.push_acks(0) == 9);
}

TEST_CASE(
    "a part of a range that was left to others is covered again when they come back with it") {
  Forest forest(100);
  Parts& node = *forest.nodes[5];
  proto::Push push;
  *push.add_records() = record();
  push.set_range_begin(0);
  push.set_range_end(UINT64_MAX);
  node.tree.receive(address_of(1), node_id(1), push, Verdict::kFresh, node_id(0));
  const auto pushes = [&] {
    size_t count = 0;
    for (const auto& [to, packet] : node.sent()) {
      count += static_cast<size_t>(packet.pushes_size());
    }
    return count;
  };
  CHECK(pushes() == 8);
  push.set_range_end(UINT64_MAX / 2);
  node.tree.receive(address_of(2), node_id(2), push, Verdict::kKnown, node_id(0));
  CHECK(pushes() == 0);
  push.set_instead(true);
  node.tree.receive(address_of(2), node_id(2), push, Verdict::kKnown, node_id(0));
  CHECK(pushes() == 8);
  node.tree.receive(address_of(2), node_id(2), push, Verdict::kKnown, node_id(0));
  CHECK(pushes() == 0);
}

TEST_CASE("how far away an unmeasured member is, its neighbours in its zone tell") {
  const bool measured = GENERATE(false, true);
  Forest forest(40, 2);
  Parts& node = *forest.nodes[0];
  if (measured) {  // one member of each zone
    for (const uint32_t i : {7U, 8U}) node.table.find(node_id(i))->srtt_us = 150'000;
  }
  node.tree.publish(record(), node_id(0));
  const Duration wait = node.tree.next_deadline() - node.context.now;
  CHECK((wait >= 300ms) == measured);
}

TEST_CASE("a stale record is acknowledged and goes no further") {
  Forest forest(100);
  Parts& node = *forest.nodes[5];
  proto::Push push;
  *push.add_records() = record();
  push.set_range_end(UINT64_MAX);
  node.tree.receive(address_of(1), node_id(1), push, Verdict::kStale, node_id(0));
  const auto packets = node.sent();
  REQUIRE(packets.size() == 1);
  CHECK(packets[0].second.push_acks_size() == 1);
  CHECK(node.tree.pending() == 0);
}

TEST_CASE("a hop that is not acknowledged is repeated at growing intervals and then given up") {
  Forest forest(2);
  Parts& node = *forest.nodes[0];
  node.tree.publish(record(), node_id(0));
  std::vector<TimePoint> sent;
  const TimePoint end = node.context.now + 10s;
  while (node.context.now <= end) {
    for (const auto& [to, packet] : node.sent()) {
      if (packet.pushes_size() > 0) sent.push_back(node.context.now);
    }
    if (node.tree.pending() == 0) break;
    node.context.now = std::max(node.context.now, node.tree.next_deadline());
    node.tree.advance();
  }
  REQUIRE(sent.size() == 6);
  for (size_t i = 2; i < sent.size(); ++i) {
    CHECK(sent[i] - sent[i - 1] == (sent[i - 1] - sent[i - 2]) * 3 / 2);
  }
}

TEST_CASE("repetitions are few when nothing is acknowledged") {
  Forest forest(100);
  Parts& node = *forest.nodes[0];
  node.context.now += 10s;
  size_t pushes = 0;
  const TimePoint end = node.context.now + 1s;
  for (uint32_t i = 0; i < 100; ++i) {
    proto::Record made = record();
    made.set_key(std::to_string(i));
    node.tree.publish(made, node_id(0));
  }
  while (node.context.now <= end) {
    for (const auto& [to, packet] : node.sent()) {
      pushes += static_cast<size_t>(packet.pushes_size());
    }
    node.context.now = std::max(node.context.now, node.tree.next_deadline());
    node.tree.advance();
  }
  CHECK(pushes >= 800 + 128);
  CHECK(pushes <= 800 + 128 + 65);  // without a budget 4800
  CHECK(node.context.statistics.dropped_push_retries > 3000);
  CHECK(node.tree.pending() == 0);
}

TEST_CASE("acknowledgements that come after the last try make the next wait longer") {
  Forest forest(100);
  Parts& node = *forest.nodes[0];
  // All pushes of a broadcast, acknowledged this long after they were first sent.
  const auto pushes = [&](Duration round_trip) {
    std::map<TimePoint, std::vector<uint32_t>> acks;
    std::set<uint32_t> seen;
    size_t count = 0;
    node.tree.publish(record(), node_id(0));
    for (const TimePoint end = node.context.now + 10s; node.context.now < end;) {
      for (const auto& [to, packet] : node.sent()) {
        for (const proto::Push& push : packet.pushes()) {
          ++count;
          if (seen.insert(push.hop()).second) {
            acks[node.context.now + round_trip].push_back(push.hop());
          }
        }
      }
      const TimePoint answered = acks.empty() ? kNever : acks.begin()->first;
      node.context.now =
          std::max(node.context.now, std::min({end, answered, node.tree.next_deadline()}));
      if (node.context.now >= answered) {
        for (const uint32_t hop : acks.begin()->second) node.tree.acknowledged(hop);
        acks.erase(acks.begin());
      }
      node.tree.advance();
    }
    return count;
  };
  CHECK(pushes(1100ms) == size_t{8} * 6);
  node.context.now += 1min;  // the range is forgotten
  CHECK(pushes(1100ms) <= size_t{8} * 3);
}

TEST_CASE("what probes have learned of round trips, the first wait respects") {
  Forest forest(100);
  Parts& node = *forest.nodes[0];
  const Entry& peer = *node.table.find(node_id(1));
  const auto first_wait = [&] {
    node.sent();
    node.tree.publish(record(), node_id(0));
    const TimePoint published = node.context.now;
    node.sent();
    const Duration wait = node.tree.next_deadline() - published;
    node.context.now += 1min;  // all hops are given up, the range is forgotten
    node.tree.advance();
    return wait;
  };
  node.tree.learn_round_trip(peer, 100ms, true);
  Duration wait = first_wait();
  CHECK(wait >= 200ms);
  CHECK(wait <= 250ms);
  node.tree.learn_round_trip(peer, 20ms, true);  // says nothing new
  CHECK(first_wait() >= 200ms);
  node.tree.learn_round_trip(peer, 180ms, false);  // slower ones are followed slowly
  wait = first_wait();
  CHECK(wait >= 2 * 110ms);
  CHECK(wait <= 275ms);
  node.tree.learn_round_trip(peer, 1ms, false);  // and the quickest at once
  CHECK(first_wait() <= 5ms);
}

namespace {

/// Pushes in everything that `node` has to send now, and the records in them, by number.
std::pair<size_t, std::map<int, size_t>> pushes_of(Parts& node) {
  size_t pushes = 0;
  std::map<int, size_t> by_records;
  for (const auto& [to, packet] : node.sent()) {
    pushes += static_cast<size_t>(packet.pushes_size());
    for (const proto::Push& push : packet.pushes()) ++by_records[push.records_size()];
  }
  return {pushes, by_records};
}

proto::Record numbered(uint32_t number) {
  return Members::encode(test::member_record(number, Incarnation::at(1, 1)));
}

}  // namespace

TEST_CASE("the first of many records goes at once and the others together") {
  Forest forest(100);
  Parts& node = *forest.nodes[5];
  node.context.now += 10s;
  node.tree.publish_soon(numbered(1));
  CHECK(pushes_of(node).first == 8);
  for (uint32_t i = 2; i <= 5; ++i) node.tree.publish_soon(numbered(i));
  CHECK(pushes_of(node).first == 0);
  CHECK(node.tree.gathered() == 4);
  node.context.now += node.context.options.batch_delay;
  node.tree.advance();
  const auto [pushes, by_records] = pushes_of(node);
  CHECK(by_records.at(4) == 8);  // to eight children, all four records
  CHECK(node.tree.gathered() == 0);
}

TEST_CASE("a large batch is cut into pushes that fit a packet") {
  Forest forest(100);
  Parts& node = *forest.nodes[5];
  node.context.now += 10s;
  for (uint32_t i = 1; i <= 90; ++i) node.tree.publish_soon(numbered(i));
  node.sent();
  node.context.now += node.context.options.batch_delay;
  node.tree.advance();
  size_t records = 0;
  node.outbox.flush(1, 1, [](const Address&, proto::Packet&, size_t) {});
  for (const SendDatagram& datagram : node.take<SendDatagram>()) {
    CHECK(datagram.bytes.size() <= kMaxPacket);
    proto::Packet packet;
    packet.ParseFromString(datagram.bytes);
    for (const proto::Push& push : packet.pushes()) {
      const bool repeated = push.records(0).key() == node_id(1).wire();  // it went at once
      if (!repeated) records += static_cast<size_t>(push.records_size());
    }
  }
  CHECK(records == size_t{89} * 8);
}

TEST_CASE("what somebody else tells first is not told again") {
  Forest forest(100);
  Parts& node = *forest.nodes[5];
  node.tree.publish_unless_heard(numbered(1), 200ms);
  node.tree.publish_unless_heard(numbered(2), 200ms);
  proto::Push push;
  *push.add_records() = numbered(1);
  push.set_hop(9);
  node.tree.receive(address_of(1), node_id(1), push, Verdict::kKnown, node_id(0));
  node.sent();
  CHECK(node.tree.gathered() == 1);
  node.context.now += 200ms;
  node.tree.advance();
  CHECK(pushes_of(node).second == std::map<int, size_t>{{1, 8}});
}

TEST_CASE("what is urgent does not wait for what is not") {
  Forest forest(100);
  Parts& node = *forest.nodes[5];
  node.context.now += 10s;
  node.tree.publish_soon(numbered(1));  // takes the turn that goes at once
  node.tree.publish_unless_heard(numbered(2), 100s);
  node.tree.publish_soon(numbered(3));
  for (const auto& [to, packet] : node.sent()) {
    for (const proto::Push& push : packet.pushes()) node.tree.acknowledged(push.hop());
  }
  node.context.now += node.context.options.batch_delay;
  node.tree.advance();
  CHECK(pushes_of(node).second == std::map<int, size_t>{{2, 8}});
}

TEST_CASE("more records than can be gathered are left to anti-entropy and counted") {
  Forest forest(3);
  Parts& node = *forest.nodes[0];
  for (uint32_t i = 1; i <= kMaxBatched + 10; ++i) {
    proto::Record made = record();
    made.set_key(std::to_string(i));
    node.tree.publish_unless_heard(made, 1s);
  }
  CHECK(node.tree.gathered() == kMaxBatched);
  CHECK(node.context.statistics.dropped_batched == 10);
}
