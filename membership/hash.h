// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "membership/random.h"

namespace starling::membership {

/// 64-bit hash of bytes, eight at a time: quick, the same on every little-endian machine, for
/// tables that live within one process. Not against an adversary.
[[nodiscard]] inline uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = bytes.size() * 0x9e3779b97f4a7c15ULL;
  while (bytes.size() >= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    hash = mix64(hash ^ word);
    bytes.remove_prefix(sizeof word);
  }
  uint64_t rest = 0;
  if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
  return mix64(hash ^ rest);
}

}  // namespace starling::membership
