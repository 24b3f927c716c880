// SPDX-License-Identifier: Apache-2.0
//
// A scenario is data: a cluster, a timeline of steps, and when the chaos ends. Scripted tests,
// the swarm, and whatever reads scenarios from files later all make one of these; run_scenario
// plays it. All times are counted from the moment at which the booted cluster first agreed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "test/simulation/checker.h"
#include "test/simulation/step.h"
#include "test/simulation/world.h"

namespace starling::simulation {

struct Scenario {
  std::string name;
  size_t nodes = 10;
  WorldOptions world;
  CheckerOptions checker;
  std::vector<Step> steps;
  Duration chaos = 60s;         ///< then everything heals and ended processes that ...
  std::vector<NodeIndex> back;  ///< ... are named here start again, with state
  /// All must agree within this time of the healing.
  Duration liveness_bound = 120s;
  /// Time given to the boot.
  Duration boot_bound = 60s;

  /// The whole timeline, for people.
  [[nodiscard]] std::string to_string() const;
};

struct ScenarioResult {
  std::vector<Violation> violations;
  uint64_t trace_hash = 0;
  Duration boot{};      ///< until the first agreement
  Duration recovery{};  ///< from the healing until agreement
  Duration virtual_time{};
  double wall_seconds = 0;
  WorldStatistics statistics;
  size_t events = 0;
  size_t queries = 0;
  size_t false_failures = 0;
  size_t packets_per_second_max = 0;
  double packets_per_change_max = 0;  ///< beyond the base, see CheckerOptions

  [[nodiscard]] bool ok() const { return violations.empty(); }
  [[nodiscard]] std::string report() const;
};

/// Called with the world before anything has happened in it, to add observers.
using Prepare = std::function<void(World&)>;

/// What a run has come to.
enum class Phase : uint8_t {
  kTimeline,  ///< booted and agreed: the moment from which steps are counted
  kHealing,   ///< the chaos has ended
  kAgreed,    ///< everybody agrees again, or the time for it is over
};
using Progress = std::function<void(Phase, const World&)>;

ScenarioResult run_scenario(const Scenario& scenario, const Prepare& prepare = {},
                            const Progress& progress = {});

}  // namespace starling::simulation
