// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/traffic.h"

#include "membership/gossip/outbox.h"
#include "membership/limits.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)

namespace {

constexpr size_t kRate = 100'000;
constexpr size_t kBytes = 1000;

/// Bytes that each class has sent when those `waiting` have more than enough to send.
std::array<double, kTrafficClasses> shares(const Traffic::Waiting& waiting, bool floors) {
  TimePoint now{};
  Traffic traffic(kRate, floors, now);
  std::array<double, kTrafficClasses> sent{};
  const TimePoint begin = now + 5s;  // what may go at once has gone
  while (now < begin + 20s) {
    while (const auto next = traffic.next(waiting, now)) {
      traffic.spend(*next, kBytes);
      if (now >= begin) sent[static_cast<size_t>(*next)] += kBytes;
    }
    now = traffic.ready_at(waiting, now);
  }
  for (double& share : sent) share /= 20.0 * kRate;
  return sent;
}

}  // namespace

TEST_CASE("urgent traffic goes first, and each class has its floor") {
  const auto all = shares({true, true, true, true, true, true}, true);
  double sum = 0;
  for (size_t i = 0; i < kTrafficClasses; ++i) {
    CAPTURE(i);
    CHECK(all[i] > 0.9 * Traffic::floor_of(static_cast<TrafficClass>(i)));
    sum += all[i];
  }
  CHECK(sum > 0.97);
  CHECK(sum < 1.03);
  CHECK(all[0] > 0.4);  // its floor, and all that is left
}

TEST_CASE("without floors the most urgent class takes all") {
  const auto all = shares({true, true, true, true, true, true}, false);
  CHECK(all[0] > 0.97);
  CHECK(all[1] + all[2] + all[3] + all[4] + all[5] < 0.01);
}

TEST_CASE("what a class does not use goes to the others") {
  const auto events = shares({false, false, false, false, true, false}, true);
  CHECK(events[4] > 0.97);
  const auto bulk = shares({false, false, false, false, false, true}, true);
  CHECK(bulk[5] > 0.97);
  const auto two = shares({false, false, true, false, true, false}, true);
  CHECK(two[2] > 0.7);
  CHECK(two[4] > 0.13);
}

TEST_CASE("no limit lets everything go at once") {
  Traffic traffic(0, true, TimePoint{});
  const Traffic::Waiting waiting{false, false, false, false, true, true};
  for (int i = 0; i < 1000; ++i) {
    CHECK(traffic.next(waiting, TimePoint{}) == TrafficClass::kEvents);
    traffic.spend(TrafficClass::kEvents, 1 << 20);
  }
}

namespace {

struct Narrow : test::Parts {
  Narrow() {
    context.options.egress_rate = kRate;
    narrow = std::make_unique<Outbox>(context);
  }
  std::vector<proto::Packet> flush() {
    narrow->flush(1, 1, [](const Address&, proto::Packet&, size_t) {});
    std::vector<proto::Packet> packets;
    for (const SendDatagram& datagram : take<SendDatagram>()) {
      packets.emplace_back().ParseFromString(datagram.bytes);
    }
    return packets;
  }
  void push(proto::RecordKind kind, uint32_t to) {
    proto::Push push;
    proto::Record& record = *push.add_records();
    record.set_kind(kind);
    record.set_payload(std::string(1000, 'x'));
    narrow->push(test::address_of(to), push);
  }
  std::unique_ptr<Outbox> narrow;
};

}  // namespace

TEST_CASE("packets over the budget wait, and an urgent one overtakes them") {
  Narrow node;
  for (uint32_t i = 1; i <= 100; ++i) node.push(proto::RECORD_USER_EVENT, i);
  const size_t at_once = node.flush().size();
  CHECK(at_once > 5);
  CHECK(at_once < 30);
  CHECK(node.narrow->waits(TrafficClass::kEvents));
  CHECK(node.narrow->next_deadline() > node.context.now);
  node.narrow->ping(test::address_of(7), proto::Ping());
  node.context.now = node.narrow->next_deadline() + 20ms;
  const auto next = node.flush();
  REQUIRE(!next.empty());
  CHECK(next.front().has_ping());
  size_t pushes = at_once;
  for (const proto::Packet& packet : next) pushes += static_cast<size_t>(packet.pushes_size());
  while (node.narrow->next_deadline() != kNever) {
    node.context.now = node.narrow->next_deadline();
    pushes += node.flush().size();
  }
  CHECK(pushes == 100);
  CHECK(node.narrow->waiting_bytes() == 0);
}

TEST_CASE("a queue of packets has a bound, and what is over it is counted") {
  Narrow node;
  for (uint32_t i = 1; i <= 5000; ++i) {
    node.push(proto::RECORD_MEMBER, i);
    if (i % 2 == 0) node.push(proto::RECORD_QUERY, i);
    node.flush();
  }
  CHECK(node.narrow->waiting_bytes() <= 2 * kMaxOutboundBytes);
  CHECK(node.context.statistics.dropped_member_packets > 0);
  CHECK(node.context.statistics.dropped_query_packets == 0);
  CHECK(node.context.statistics.dropped_event_packets == 0);
}

TEST_CASE("bulk waits for room, and holds up no packet") {
  Narrow node;
  int pieces = 0;
  for (int i = 0; i < 4; ++i) node.narrow->bulk(50'000, [&] { ++pieces; });
  node.flush();
  CHECK(pieces == 1);
  node.push(proto::RECORD_USER_EVENT, 1);
  CHECK(node.flush().size() == 1);
  while (node.narrow->next_deadline() != kNever) {
    node.context.now = node.narrow->next_deadline();
    node.flush();
  }
  CHECK(pieces == 4);
  CHECK(node.context.now < TimePoint{} + 4s);
}
