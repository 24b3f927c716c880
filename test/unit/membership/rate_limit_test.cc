// SPDX-License-Identifier: Apache-2.0
#include "membership/rate_limit.h"

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

namespace starling::membership {
namespace {

TEST_CASE("a bucket lets a burst through and then its rate") {
  TokenBucket bucket;
  TimePoint now{};
  now += 5s;
  bucket.set(10, 4, now);
  for (int i = 0; i < 4; ++i) CHECK_FALSE(bucket.take(1, now));
  CHECK(bucket.take(1, now) == Duration(100ms));
  CHECK(bucket.take(1, now + 40ms) == Duration(60ms));
  CHECK_FALSE(bucket.take(1, now + 100ms));
  CHECK(bucket.take(1, now + 100ms));
  // Never more than the burst, however long nobody came.
  now += 10min;
  for (int i = 0; i < 4; ++i) CHECK_FALSE(bucket.take(1, now));
  CHECK(bucket.take(1, now));
}

TEST_CASE("more than a burst goes from a full bucket and is paid back") {
  TokenBucket bucket;
  TimePoint now{};
  bucket.set(10, 20, now);
  CHECK_FALSE(bucket.take(50, now));
  CHECK(bucket.take(1, now + 3s) == Duration(100ms));
  CHECK_FALSE(bucket.take(1, now + 3100ms));
}

TEST_CASE("a rate of nothing has no limit and new rates count at once") {
  TokenBucket bucket;
  TimePoint now{};
  for (int i = 0; i < 1000; ++i) CHECK_FALSE(bucket.take(1'000'000, now));
  bucket.set(1, 2, now);
  CHECK_FALSE(bucket.take(2, now));
  CHECK(bucket.take(1, now));
  bucket.set(100, 50, now);  // what was taken stays taken
  CHECK(bucket.take(1, now) == Duration(10ms));
  bucket.set(0, 0, now);
  CHECK_FALSE(bucket.take(1, now));
}

TEST_CASE("a refusal says the limit and the remedy") {
  Options options;
  options.event_rate = 5;
  options.event_burst = 1;
  options.event_byte_rate = 100;
  options.query_rate = 1;
  options.query_burst = 1;
  RateLimit limit(options, TimePoint{});
  REQUIRE(limit.admit_event(10, TimePoint{}));
  const auto fast = limit.admit_event(10, TimePoint{});
  REQUIRE_FALSE(fast);
  CHECK(fast.error().kind == ErrorKind::kBusy);
  CHECK(fast.error().message ==
        "refused, nothing was sent: this agent sends at most 5 user events a second, after 1 at "
        "once; retry in 200 ms, or raise event_rate and event_burst in its configuration");
  REQUIRE(limit.admit_event(700, TimePoint{} + 1s));
  const auto large = limit.admit_event(700, TimePoint{} + 2s);
  REQUIRE_FALSE(large);
  CHECK(large.error().message.find("100 bytes of user events a second, after 800 at once") !=
        std::string::npos);
  CHECK(large.error().message.find("event_byte_rate") != std::string::npos);
  REQUIRE(limit.admit_query(TimePoint{}));
  CHECK(limit.admit_query(TimePoint{}).error().message.find("1 queries a second") !=
        std::string::npos);
}

TEST_CASE("by default a thousand events at once go out and two thousand more do not") {
  RateLimit limit(Options(), TimePoint{});
  size_t sent = 0;
  while (sent < 10'000 && limit.admit_event(512, TimePoint{})) ++sent;
  CHECK(sent >= 1000);
  CHECK(sent < 3000);
}

}  // namespace
}  // namespace starling::membership
