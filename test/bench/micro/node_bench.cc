// SPDX-License-Identifier: Apache-2.0
//
// A whole node: what a ping costs that it answers, and a member's record that it merges, with 100
// to 100,000 members.
#include <benchmark/benchmark.h>

#include "membership/node.h"
#include "test/bench/micro/sample.h"

namespace starling::bench {
namespace {

using membership::Identity;
using membership::Node;
using membership::Options;
using membership::Random;
using membership::TimePoint;

constexpr uint32_t kSelf = 1'000'000;
constexpr TimePoint kBegin{std::chrono::hours(1)};

std::string packet_with(const std::vector<proto::Record>& records) {
  proto::Packet packet;
  packet.set_sender(std::string(node_id(1).wire()));
  for (const proto::Record& record : records) *packet.add_records() = record;
  return packet.SerializeAsString();
}

/// A node that knows so many members and has nothing to say at the moment.
std::unique_ptr<Node> node_of(uint32_t members) {
  Identity identity{node_id(kSelf), 1,  "self",
                    address(kSelf), {}, std::make_shared<test::StandInKeys>(node_id(kSelf))};
  auto node = std::make_unique<Node>(Options::lan(), identity, Random(1), kBegin);
  std::vector<proto::Record> records;
  for (uint32_t i = 0; i < members; ++i) {
    records.push_back(gossip_record(i));
    if (records.size() == 8 || i + 1 == members) {
      node->receive_datagram(kBegin, address(1), packet_with(records));
      benchmark::DoNotOptimize(node->take_actions());
      records.clear();
    }
  }
  return node;
}

void node_answers_ping(benchmark::State& state) {
  const auto node = node_of(static_cast<uint32_t>(state.range(0)));
  proto::Packet packet;
  packet.set_sender(std::string(node_id(1).wire()));
  packet.mutable_ping()->set_target(std::string(node_id(kSelf).wire()));
  packet.set_member_fingerprint(node->member_fingerprint());
  packet.set_event_fingerprint(node->event_fingerprint());
  uint32_t sequence = 0;
  std::string bytes;
  for (auto _ : state) {
    packet.mutable_ping()->set_sequence(++sequence);
    packet.SerializeToString(&bytes);
    node->receive_datagram(kBegin, address(1), bytes);
    benchmark::DoNotOptimize(node->take_actions());
  }
}

void node_merges_record(benchmark::State& state) {
  const auto members = static_cast<uint32_t>(state.range(0));
  const auto node = node_of(members);
  uint32_t number = 0;
  uint32_t counter = 1;
  for (auto _ : state) {
    state.PauseTiming();
    if (++number == members) {
      number = 0;
      ++counter;
    }
    const std::string bytes = packet_with({gossip_record(number, counter)});
    state.ResumeTiming();
    node->receive_datagram(kBegin, address(1), bytes);
    benchmark::DoNotOptimize(node->take_actions());
  }
}

BENCHMARK(node_answers_ping)->RangeMultiplier(10)->Range(100, 100'000);
BENCHMARK(node_merges_record)->RangeMultiplier(10)->Range(100, 100'000)->Iterations(100'000);

}  // namespace
}  // namespace starling::bench
