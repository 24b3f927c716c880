// SPDX-License-Identifier: Apache-2.0
#include "membership/deadlines.h"

#include "test/catch.h"

using namespace std::chrono_literals;
using starling::membership::Deadlines;
using starling::membership::kNever;
using starling::membership::TimePoint;

TEST_CASE("deadlines come out in order and only when due") {
  Deadlines<int> deadlines;
  const TimePoint start{};
  CHECK(deadlines.next() == kNever);
  deadlines.set(1, start + 3s);
  deadlines.set(2, start + 1s);
  deadlines.set(3, start + 2s);
  deadlines.set(1, start + 500ms);  // moved, not doubled
  CHECK(deadlines.size() == 3);
  CHECK(deadlines.next() == start + 500ms);
  CHECK_FALSE(deadlines.pop(start + 499ms).has_value());
  CHECK(deadlines.pop(start + 2s) == 1);
  CHECK(deadlines.pop(start + 2s) == 2);
  deadlines.erase(3);
  deadlines.erase(3);
  CHECK_FALSE(deadlines.pop(kNever).has_value());
}

TEST_CASE("shifting moves every deadline by the same time") {
  Deadlines<int> deadlines;
  const TimePoint start{};
  deadlines.set(1, start + 1s);
  deadlines.set(2, start + 2s);
  deadlines.shift(10s);
  CHECK(deadlines.next() == start + 11s);
  deadlines.erase(1);  // still found under its new time
  CHECK(deadlines.next() == start + 12s);
  CHECK(deadlines.pop(start + 12s) == 2);
}
