// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/suspicion.h"

#include "membership/swim/local_health.h"
#include "test/catch.h"

using namespace std::chrono_literals;
using starling::membership::Duration;
using starling::membership::LocalHealth;
using starling::membership::NodeId;
using starling::membership::Options;
using starling::membership::Suspicion;
using starling::membership::suspicion_timeout;
using starling::membership::TimePoint;

namespace {

NodeId node(uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

TEST_CASE("the suspicion time falls with the logarithm of confirmations") {
  // Lifeguard's formula with min 3 s and max 30 s; values worked out by hand.
  struct Row {
    size_t confirmations;
    size_t wanted;
    double expected;
  };
  const Row row = GENERATE(Row{0, 3, 30.0}, Row{1, 3, 16.5}, Row{2, 3, 8.603}, Row{3, 3, 3.0},
                           Row{9, 3, 3.0}, Row{0, 0, 3.0}, Row{0, 1, 30.0}, Row{1, 1, 3.0});
  CAPTURE(row.confirmations, row.wanted);
  const double got = seconds(suspicion_timeout(3s, 30s, row.confirmations, row.wanted));
  CHECK(got > row.expected - 0.01);
  CHECK(got < row.expected + 0.01);
}

TEST_CASE("small clusters have nobody to confirm") {
  const Options options = Options::lan();
  CHECK(Suspicion::wanted(options, 2) == 0);
  CHECK(Suspicion::wanted(options, 3) == 0);
  CHECK(Suspicion::wanted(options, 4) == 2);
  CHECK(Suspicion::wanted(options, 100) == 3);
}

TEST_CASE("evidence at first hand shortens a suspicion") {
  const Options options = Options::lan();
  const TimePoint start{};
  Suspicion suspicion;
  suspicion.start = start;
  suspicion.accusers = {node(1)};
  CHECK(suspicion.deadline(options, 100) == start + options.suspicion_max);
  suspicion.self_refused = true;
  CHECK(suspicion.deadline(options, 100) == start + options.suspicion_min);
  suspicion.refused = true;
  CHECK(suspicion.deadline(options, 100) == start + options.suspicion_refused);
  Suspicion declared;
  declared.start = start;
  declared.declared = true;
  CHECK(declared.deadline(options, 100) == start + options.suspicion_min);
}

TEST_CASE("local health stays in its bounds") {
  LocalHealth health(8);
  CHECK(health.factor() == 1);
  health.improve();
  CHECK(health.score() == 0);
  for (int i = 0; i < 20; ++i) health.worsen(3);
  CHECK(health.score() == 7);
  CHECK(health.factor() == 8);
  health.improve();
  CHECK(health.score() == 6);
}
