// SPDX-License-Identifier: Apache-2.0
//
// Back-pressure at the sender: token buckets in the node's time. Who sends faster than his agent
// allows is told so at once, before anything has been sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "membership/options.h"
#include "membership/time.h"
#include "proto/support/result.h"

namespace starling::membership {

/// Fills with `rate` tokens a second up to `burst`, and begins full. A rate of 0 has no limit.
class TokenBucket {
 public:
  /// Present tokens are kept, up to the new burst; a bucket that had no limit begins full.
  void set(uint64_t rate, uint64_t burst, TimePoint now);
  /// Takes tokens (more than `burst` when it is full: the debt is paid before others get any).
  /// Otherwise takes nothing and says after what time they will be there.
  [[nodiscard]] std::optional<Duration> take(uint64_t tokens, TimePoint now);

  [[nodiscard]] uint64_t rate() const { return rate_; }
  [[nodiscard]] uint64_t burst() const { return burst_; }

 private:
  void fill(TimePoint now);

  uint64_t rate_ = 0;
  uint64_t burst_ = 0;
  double level_ = 0;
  TimePoint filled_{};
};

/// The rates of one agent: Options::event_rate, event_burst, event_byte_rate, query_rate and
/// query_burst.
class RateLimit {
 public:
  RateLimit(const Options& options, TimePoint now) { set(options, now); }
  void set(const Options& options, TimePoint now);

  /// kBusy, with the limit and the remedy, when the agent's users send too fast.
  [[nodiscard]] Result<void> admit_event(size_t bytes, TimePoint now);
  [[nodiscard]] Result<void> admit_query(TimePoint now);

 private:
  TokenBucket events_;
  TokenBucket event_bytes_;
  TokenBucket queries_;
};

}  // namespace starling::membership
