// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/traffic.h"

#include <algorithm>

#include "membership/limits.h"

namespace starling::membership {

namespace {

// Their sum is below one: the rest goes by urgency.
constexpr std::array<double, kTrafficClasses> kFloors = {0.10, 0.05, 0.15, 0.10, 0.15, 0.10};
// So much may go out at once after a silence.
constexpr double kBurst_s = 0.125;
// A floor that was not used is kept for a moment only.
constexpr double kFloorBurst = 2 * kMaxPacket;
// Shorter waits would wake the node for a packet or two.
constexpr Duration kLeastWait = std::chrono::milliseconds(1);
constexpr size_t kBulk = static_cast<size_t>(TrafficClass::kBulk);

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Traffic::Traffic(size_t rate, bool floors, TimePoint now)
    : rate_(static_cast<double>(rate)),
      floors_(floors),
      burst_(std::max(rate_ * kBurst_s, 2.0 * kMaxPacket)),
      filled_(now),
      budget_(burst_),
      bulk_(burst_) {
  owed_.fill(kFloorBurst);
}

double Traffic::floor_of(TrafficClass traffic) {
  return kFloors[static_cast<size_t>(traffic)];
}

void Traffic::fill(TimePoint now) {
  const double gain = seconds(now - filled_) * rate_;
  filled_ = now;
  // What one side cannot use, because it is full, goes to the other.
  const double for_bulk = floors_ ? gain * kFloors[kBulk] : 0;
  bulk_ += for_bulk;
  const double spare = std::max(bulk_ - burst_, 0.0);
  bulk_ -= spare;
  budget_ += gain - for_bulk + spare;
  const double left = std::max(budget_ - burst_, 0.0);
  budget_ -= left;
  bulk_ = std::min(bulk_ + left, burst_);
  for (size_t i = 0; i < kTrafficClasses; ++i) {
    owed_[i] = std::min(owed_[i] + gain * kFloors[i], kFloorBurst);
  }
}

std::optional<TrafficClass> Traffic::next(const Waiting& waiting, TimePoint now) {
  fill(now);
  const bool packets = rate_ == 0 || budget_ > 0;
  by_floor_ = true;
  for (size_t i = 0; floors_ && packets && i < kBulk; ++i) {
    if (waiting[i] && owed_[i] > 0) return static_cast<TrafficClass>(i);
  }
  by_floor_ = false;
  for (size_t i = 0; packets && i < kBulk; ++i) {
    if (waiting[i]) return static_cast<TrafficClass>(i);
  }
  if (waiting[kBulk] && (rate_ == 0 || bulk_ > 0)) return TrafficClass::kBulk;
  return std::nullopt;
}

void Traffic::spend(TrafficClass sent, size_t bytes) {
  if (rate_ == 0) return;
  const auto spent = static_cast<double>(bytes);
  if (sent == TrafficClass::kBulk) {
    bulk_ -= spent;
    return;
  }
  budget_ -= spent;
  if (by_floor_) owed_[static_cast<size_t>(sent)] -= spent;
}

TimePoint Traffic::ready_at(const Waiting& waiting, TimePoint now) const {
  const bool packets =
      std::find(waiting.begin(), waiting.begin() + kBulk, true) != waiting.begin() + kBulk;
  TimePoint ready = kNever;
  const auto consider = [&](double level, double rate) {
    const double wait_s = std::max(-level, 0.0) / rate;
    const Duration wait(static_cast<Duration::rep>(wait_s * 1e9));
    ready = std::min(ready, now + std::max<Duration>(wait, kLeastWait));
  };
  if (rate_ == 0) return kNever;
  const double floor = floors_ ? kFloors[kBulk] : 0;
  if (packets) consider(budget_, rate_ * (1 - floor));
  if (waiting[kBulk]) consider(bulk_, rate_ * (packets ? std::max(floor, 0.01) : 1));
  return ready;
}

}  // namespace starling::membership
