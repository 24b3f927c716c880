// SPDX-License-Identifier: Apache-2.0
//
// The core never reads a clock: whoever drives it says what time it is. Only differences matter;
// the driver's clock must be monotonic.
#pragma once

#include <chrono>
#include <cstdint>

namespace starling::membership {

using Duration = std::chrono::nanoseconds;

/// The clock of TimePoint. It has no now().
struct DriverClock {
  using rep = Duration::rep;
  using period = Duration::period;
  using duration = Duration;
  using time_point = std::chrono::time_point<DriverClock>;
  static constexpr bool is_steady = true;
};

using TimePoint = DriverClock::time_point;

/// "Nothing is due."
inline constexpr TimePoint kNever = TimePoint::max();

}  // namespace starling::membership
