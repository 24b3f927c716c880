// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/degraded.h"

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::member_record;
using test::node_id;

namespace {

/// The same process says that it is alive, with a higher version and nothing new about itself.
void refute(test::Parts& parts, uint32_t number, uint32_t counter) {
  parts.members.apply(member_record(number, Incarnation::at(1, counter)), Heard::kPushed);
}

bool shown_as_degraded(const test::Parts& parts, uint32_t number) {
  return parts.members.view(*parts.table.find(node_id(number))).degraded;
}

}  // namespace

TEST_CASE("three refutations within five minutes make a member degraded") {
  Degraded degraded;
  const TimePoint begin{1h};
  CHECK_FALSE(degraded.refuted(node_id(1), begin));
  CHECK_FALSE(degraded.refuted(node_id(1), begin + 2min));
  CHECK_FALSE(degraded.contains(node_id(1)));
  CHECK(degraded.refuted(node_id(1), begin + 5min));
  CHECK(degraded.contains(node_id(1)));
  CHECK(degraded.count() == 1);
  CHECK_FALSE(degraded.refuted(node_id(1), begin + 6min));  // told once
  CHECK_FALSE(degraded.recovered(begin + 10min));
  CHECK(degraded.recovered(begin + 11min) == node_id(1));
  CHECK(degraded.count() == 0);
  CHECK(degraded.next_deadline() == kNever);
}

TEST_CASE("three refutations over a longer time do not") {
  Degraded degraded;
  TimePoint now{1h};
  for (int i = 0; i < 20; ++i) {
    CHECK_FALSE(degraded.refuted(node_id(1), now));
    now += 3min;
  }
}

TEST_CASE("a member that refutes again and again is shown as degraded until it is well") {
  test::Parts parts;
  refute(parts, 3, 1);  // not a refutation: it was not known
  refute(parts, 3, 2);
  refute(parts, 3, 3);
  CHECK_FALSE(shown_as_degraded(parts, 3));
  refute(parts, 3, 4);
  CHECK(shown_as_degraded(parts, 3));
  CHECK(parts.members.degraded_count() == 1);
  parts.run_for(Degraded::kWindow);
  CHECK_FALSE(shown_as_degraded(parts, 3));
}

TEST_CASE("a restart or another tag is no refutation") {
  const bool restarts = GENERATE(true, false);
  test::Parts parts;
  for (uint32_t i = 1; i < 8; ++i) {
    if (restarts) {
      parts.members.apply(member_record(3, Incarnation::at(i, 0)), Heard::kPushed);
    } else {
      auto record = member_record(3, Incarnation::at(1, i));
      record.set_port(7946 + i);
      starling::test::sign_as_owner(record);
      parts.members.apply(record, Heard::kPushed);
    }
  }
  CHECK_FALSE(shown_as_degraded(parts, 3));
}
