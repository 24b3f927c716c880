// SPDX-License-Identifier: Apache-2.0
//
// Packets to bytes and back: a ping, and a push of a dozen members.
#include <benchmark/benchmark.h>

#include "test/bench/micro/sample.h"

namespace starling::bench {
namespace {

proto::Packet ping() {
  proto::Packet packet;
  packet.set_sender(std::string(node_id(1).wire()));
  packet.mutable_ping()->set_sequence(42);
  packet.mutable_ping()->set_target(std::string(node_id(2).wire()));
  packet.set_member_fingerprint(0x123456789abcdef0);
  packet.set_event_fingerprint(0x0fedcba987654321);
  return packet;
}

proto::Packet push() {
  proto::Packet packet = ping();
  packet.clear_ping();
  proto::Push& push = *packet.add_pushes();
  for (uint32_t i = 0; i < 9; ++i) *push.add_records() = gossip_record(i);
  push.set_range_end(UINT64_MAX);
  push.set_hop(7);
  return packet;
}

void encode(benchmark::State& state, const proto::Packet& packet) {
  std::string bytes;
  for (auto _ : state) {
    packet.SerializeToString(&bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  state.counters["bytes"] = static_cast<double>(bytes.size());
}

void decode(benchmark::State& state, const proto::Packet& packet) {
  const std::string bytes = packet.SerializeAsString();
  proto::Packet read;
  for (auto _ : state) benchmark::DoNotOptimize(read.ParseFromString(bytes));
}

BENCHMARK_CAPTURE(encode, ping, ping());
BENCHMARK_CAPTURE(encode, push_of_9, push());
BENCHMARK_CAPTURE(decode, ping, ping());
BENCHMARK_CAPTURE(decode, push_of_9, push());

}  // namespace
}  // namespace starling::bench
