// SPDX-License-Identifier: Apache-2.0
//
// The core's only source of randomness, injected so that a run can be repeated from its seed.
// Not for secrets. Generator: xoshiro256** 1.0 (Blackman, Vigna), seeded by splitmix64.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "proto/support/assert.h"

namespace starling::membership {

/// Mixes 64 bits well (the finaliser of splitmix64): a cheap hash for ids and fingerprints.
[[nodiscard]] constexpr uint64_t mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

class Random {
 public:
  using result_type = uint64_t;

  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15ULL;
      word = mix64(seed);
    }
  }

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return UINT64_MAX; }

  uint64_t operator()() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, bound). `bound` must not be 0.
  size_t below(size_t bound) {
    STARLING_ASSERT(bound > 0);
    return static_cast<size_t>((static_cast<unsigned __int128>((*this)()) * bound) >> 64);
  }

  /// Uniform in [0, 1).
  double unit() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }

  bool chance(double probability) { return unit() < probability; }

  template <typename T>
  void shuffle(std::span<T> items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

  /// Up to `count` of `items`, in random order.
  template <typename T>
  std::vector<T> sample(std::vector<T> items, size_t count) {
    for (size_t i = 0; i < items.size() && i < count; ++i) {
      std::swap(items[i], items[i + below(items.size() - i)]);
    }
    if (items.size() > count)
      items.erase(items.begin() + static_cast<std::ptrdiff_t>(count), items.end());
    return items;
  }

 private:
  std::array<uint64_t, 4> state_{};
};

}  // namespace starling::membership
