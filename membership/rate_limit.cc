// SPDX-License-Identifier: Apache-2.0
#include "membership/rate_limit.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace starling::membership {

namespace {

// Seconds' worth of bytes that may go out at once.
constexpr uint64_t kByteBurst_s = 8;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

tl::unexpected<Error> refuse(const std::string& limit, std::string_view keys, Duration wait) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  return fail(ErrorKind::kBusy, "refused, nothing was sent: this agent sends at most " + limit +
                                    "; retry in " + std::to_string(ms) + " ms, or raise " +
                                    std::string(keys) + " in its configuration");
}

}  // namespace

void TokenBucket::set(uint64_t rate, uint64_t burst, TimePoint now) {
  fill(now);
  if (rate_ == 0) level_ = static_cast<double>(burst);
  rate_ = rate;
  burst_ = burst;
  level_ = std::min(level_, static_cast<double>(burst));
  filled_ = now;
}

void TokenBucket::fill(TimePoint now) {
  level_ = std::min(static_cast<double>(burst_),
                    level_ + seconds(now - filled_) * static_cast<double>(rate_));
  filled_ = now;
}

std::optional<Duration> TokenBucket::take(uint64_t tokens, TimePoint now) {
  if (rate_ == 0) return std::nullopt;
  fill(now);
  const auto wanted = static_cast<double>(std::min(tokens, burst_));
  if (level_ >= wanted) {
    level_ -= static_cast<double>(tokens);
    return std::nullopt;
  }
  const double missing_s = (wanted - level_) / static_cast<double>(rate_);
  return Duration(static_cast<int64_t>(std::ceil(missing_s * 1e9)));
}

void RateLimit::set(const Options& options, TimePoint now) {
  events_.set(options.event_rate, options.event_burst, now);
  event_bytes_.set(options.event_byte_rate, options.event_byte_rate * kByteBurst_s, now);
  queries_.set(options.query_rate, options.query_burst, now);
}

Result<void> RateLimit::admit_event(size_t bytes, TimePoint now) {
  if (const auto wait = event_bytes_.take(bytes, now)) {
    return refuse(std::to_string(event_bytes_.rate()) + " bytes of user events a second, after " +
                      std::to_string(event_bytes_.burst()) + " at once",
                  "event_byte_rate", *wait);
  }
  if (const auto wait = events_.take(1, now)) {
    return refuse(std::to_string(events_.rate()) + " user events a second, after " +
                      std::to_string(events_.burst()) + " at once",
                  "event_rate and event_burst", *wait);
  }
  return {};
}

Result<void> RateLimit::admit_query(TimePoint now) {
  if (const auto wait = queries_.take(1, now)) {
    return refuse(std::to_string(queries_.rate()) + " queries a second, after " +
                      std::to_string(queries_.burst()) + " at once",
                  "query_rate and query_burst", *wait);
  }
  return {};
}

}  // namespace starling::membership
