// SPDX-License-Identifier: Apache-2.0
//
// The wall clock, for what is shown, stored, or compared with other hosts. Never in the core, which
// is told the time (test/lint/include_direction.py).
#pragma once

#include <chrono>
#include <cstdint>

namespace starling {

/// Milliseconds since 1970-01-01 UTC.
[[nodiscard]] inline int64_t unix_milliseconds() {
  const auto unix = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(unix).count();
}

}  // namespace starling
