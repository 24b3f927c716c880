// SPDX-License-Identifier: Apache-2.0
//
// The member table at 100 to 100,000 members.
#include <benchmark/benchmark.h>

#include "membership/swim/member_table.h"
#include "test/bench/micro/sample.h"

namespace starling::bench {
namespace {

using membership::Description;
using membership::Incarnation;
using membership::MemberTable;
using membership::Random;
using membership::Status;

void fill(MemberTable& table, Random& random, uint32_t members) {
  for (uint32_t i = 0; i < members; ++i) {
    Description description;
    description.id = node_id(i);
    description.name = "node" + std::to_string(i);
    description.address = address(i);
    table.set_state(table.add(std::move(description), random), Status::kAlive,
                    Incarnation::at(1, 0));
  }
}

void table_fill(benchmark::State& state) {
  for (auto _ : state) {
    MemberTable table;
    Random random(1);
    fill(table, random, static_cast<uint32_t>(state.range(0)));
    benchmark::DoNotOptimize(table.ring_at(0));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void table_find(benchmark::State& state) {
  MemberTable table;
  Random random(1);
  const auto members = static_cast<uint32_t>(state.range(0));
  fill(table, random, members);
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.find(node_id(static_cast<uint32_t>(random.below(members)))));
  }
}

void table_set_state(benchmark::State& state) {
  MemberTable table;
  Random random(1);
  const auto members = static_cast<uint32_t>(state.range(0));
  fill(table, random, members);
  uint32_t counter = 0;
  for (auto _ : state) {
    auto* entry = table.find(node_id(static_cast<uint32_t>(random.below(members))));
    table.set_state(*entry, Status::kAlive, Incarnation::at(1, ++counter));
  }
}

void table_probe_target(benchmark::State& state) {
  MemberTable table;
  Random random(1);
  fill(table, random, static_cast<uint32_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(table.next_probe_target(random));
}

BENCHMARK(table_fill)->RangeMultiplier(10)->Range(100, 100'000)->Unit(benchmark::kMillisecond);
BENCHMARK(table_find)->RangeMultiplier(10)->Range(100, 100'000);
BENCHMARK(table_set_state)->RangeMultiplier(10)->Range(100, 100'000);
BENCHMARK(table_probe_target)->RangeMultiplier(10)->Range(100, 100'000);

}  // namespace
}  // namespace starling::bench
