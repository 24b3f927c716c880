// SPDX-License-Identifier: Apache-2.0
//
// Sealing and opening packets (XChaCha20-Poly1305, replay window).
#include <benchmark/benchmark.h>

#include <vector>

#include "agent/net/seal.h"
#include "test/bench/micro/sample.h"

namespace starling::bench {
namespace {

using agent::Keyring;
using agent::PacketSealer;

void seal(benchmark::State& state) {
  const Keyring keyring = *Keyring::from_base64({agent::generate_key()});
  PacketSealer sealer(keyring, node_id(1), 1);
  const std::string plain(static_cast<size_t>(state.range(0)), 'x');
  std::string sealed;
  for (auto _ : state) {
    sealer.seal(plain, sealed);
    benchmark::DoNotOptimize(sealed.data());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void open(benchmark::State& state) {
  const Keyring keyring = *Keyring::from_base64({agent::generate_key()});
  PacketSealer sender(keyring, node_id(1), 1);
  PacketSealer receiver(keyring, node_id(2), 1);
  const std::string plain(static_cast<size_t>(state.range(0)), 'x');
  // A packet opens once: it takes a fresh one each time, made while the clock stands still.
  constexpr size_t kBatch = 4096;
  std::vector<std::string> sealed(kBatch);
  size_t next = kBatch;
  for (auto _ : state) {
    if (next == kBatch) {
      state.PauseTiming();
      for (std::string& packet : sealed) sender.seal(plain, packet);
      next = 0;
      state.ResumeTiming();
    }
    const auto opened = receiver.open(sealed[next++]);
    if (!opened) state.SkipWithError("did not open");
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

BENCHMARK(seal)->Arg(100)->Arg(1152);
BENCHMARK(open)->Arg(100)->Arg(1152);

}  // namespace
}  // namespace starling::bench
