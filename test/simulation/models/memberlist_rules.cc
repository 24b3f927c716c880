// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/models/memberlist_rules.h"

#include <cmath>

namespace starling::simulation {

namespace {
/// util.go, pushPullScaleThreshold.
constexpr double kPushPullScaleThreshold = 32;
}  // namespace

MemberlistOptions MemberlistOptions::swim() {
  MemberlistOptions options;
  options.suspicion_mult = 5;
  options.suspicion_max_timeout_mult = 1;
  options.awareness_max_multiplier = 1;
  options.local_health_suspicion = false;
  options.buddy = false;
  return options;
}

MemberlistOptions MemberlistOptions::lha_probe() {
  MemberlistOptions options = swim();
  options.awareness_max_multiplier = 8;
  return options;
}

MemberlistOptions MemberlistOptions::lha_suspicion() {
  MemberlistOptions options = swim();
  options.suspicion_max_timeout_mult = 6;
  options.local_health_suspicion = true;
  return options;
}

MemberlistOptions MemberlistOptions::buddy_only() {
  MemberlistOptions options = swim();
  options.buddy = true;
  return options;
}

MemberlistOptions MemberlistOptions::lifeguard() {
  MemberlistOptions options;
  options.suspicion_mult = 5;
  return options;
}

Duration suspicion_timeout(int suspicion_mult, size_t n, Duration interval) {
  const double scale = std::max(1.0, std::log10(std::max(1.0, static_cast<double>(n))));
  return suspicion_mult * static_cast<int64_t>(scale * 1000) * interval / 1000;
}

int retransmit_limit(int retransmit_mult, size_t n) {
  return retransmit_mult * static_cast<int>(std::ceil(std::log10(static_cast<double>(n + 1))));
}

Duration push_pull_scale(Duration interval, size_t n) {
  const auto members = static_cast<double>(n);
  if (members <= kPushPullScaleThreshold) return interval;
  const double multiplier =
      std::ceil(std::log2(members) - std::log2(kPushPullScaleThreshold)) + 1.0;
  return static_cast<int64_t>(multiplier) * interval;
}

Duration remaining_suspicion_time(int n, int k, Duration elapsed, Duration min, Duration max) {
  const double share = std::log(n + 1.0) / std::log(k + 1.0);
  const double raw = seconds(max) - share * (seconds(max) - seconds(min));
  const Duration timeout = std::chrono::milliseconds(static_cast<int64_t>(std::floor(raw * 1000)));
  return std::max(timeout, min) - elapsed;
}

Suspicion::Suspicion(NodeIndex from, int k, Duration min, Duration max, TimePoint now)
    : k_(k),
      min_(min),
      max_(max),
      start_(now),
      deadline_(now + (k < 1 ? min : max)),
      confirmers_{from} {}

bool Suspicion::confirm(NodeIndex from, TimePoint now) {
  if (n_ >= k_) return false;
  if (std::find(confirmers_.begin(), confirmers_.end(), from) != confirmers_.end()) return false;
  confirmers_.push_back(from);
  ++n_;
  deadline_ =
      now + std::max(remaining_suspicion_time(n_, k_, now - start_, min_, max_), Duration::zero());
  return true;
}

}  // namespace starling::simulation
