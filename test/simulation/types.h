// SPDX-License-Identifier: Apache-2.0
//
// Words that every part of the simulator uses. Everything runs on one thread; virtual time is
// global and starts at kStart, each simulated process sees it through its own LocalClock.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "membership/address.h"
#include "membership/ids.h"
#include "membership/random.h"
#include "membership/time.h"

namespace starling::simulation {

using membership::Address;
using membership::Duration;
using membership::kNever;
using membership::mix64;
using membership::Random;
using membership::TimePoint;
using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): readable times

/// A host with at most one process on it; dense from 0.
using NodeIndex = uint32_t;
inline constexpr NodeIndex kNoNode = UINT32_MAX;

/// Virtual time of the first instant of every run.
inline constexpr TimePoint kStart = TimePoint(Duration::zero());

/// 10.x.y.z with the index in x.y.z; a process that moved has a higher port.
Address address_of(NodeIndex node, uint16_t moves);
/// kNoNode for an address that address_of never makes.
NodeIndex index_of(const Address& address);

/// "12.345678s" since kStart.
std::string time_string(TimePoint time);
double seconds(Duration duration);

/// A process' view of time: an origin of its own, and a rate that is off by some parts per
/// million. Monotonic, and exact enough for to_global to be the earliest instant that is not
/// before a local one.
class LocalClock {
 public:
  LocalClock() = default;
  LocalClock(Duration origin, int skew_ppm) : local_(origin), skew_ppm_(skew_ppm) {}

  /// `global` must not be before the last change.
  [[nodiscard]] TimePoint to_local(TimePoint global) const;
  [[nodiscard]] TimePoint to_global(TimePoint local) const;

  /// From `now` (global) on the clock gains this much; > -1'000'000.
  void set_skew(TimePoint now, int64_t skew_ppm);
  /// Moves the clock forward at `now` (global); `by` >= 0.
  void jump(TimePoint now, Duration by);
  [[nodiscard]] int64_t skew_ppm() const { return skew_ppm_; }

 private:
  TimePoint global_ = kStart;  ///< of the last change; then it showed ...
  TimePoint local_;
  int64_t skew_ppm_ = 0;
};

/// Running 64-bit hash over all that happens in a run. Not cryptographic.
class TraceHash {
 public:
  void add(uint64_t value) { state_ = mix64(state_ ^ value) + value; }
  void add(std::string_view bytes);
  [[nodiscard]] uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0x5a1ad;
};

/// Values that wait for a later event, addressed by small numbers that are used again.
template <typename T>
class Slab {
 public:
  uint32_t put(T value) {
    if (free_.empty()) {
      items_.push_back(std::move(value));
      return static_cast<uint32_t>(items_.size() - 1);
    }
    const uint32_t handle = free_.back();
    free_.pop_back();
    items_[handle] = std::move(value);
    return handle;
  }
  T take(uint32_t handle) {
    T value = std::move(items_[handle]);
    items_[handle] = T();
    free_.push_back(handle);
    return value;
  }
  [[nodiscard]] size_t in_use() const { return items_.size() - free_.size(); }

 private:
  std::vector<T> items_;
  std::vector<uint32_t> free_;
};

}  // namespace starling::simulation
