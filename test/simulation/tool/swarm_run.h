// SPDX-License-Identifier: Apache-2.0
//
// Runs scenarios in processes of their own, so that a run that aborts or hangs is a result like any
// other: one at a time (Sandbox), or the seeds of a range side by side (run_swarm). Results come
// back in the order of the seeds. Uses fork and pipes; the caller must have no other threads.
#pragma once

#include <functional>
#include <string>

#include "test/simulation/scenario.h"

namespace starling::simulation {

/// What came of one run, small enough to be passed on.
struct Report {
  uint64_t seed = 0;
  uint64_t nodes = 0;
  uint64_t trace_hash = 0;
  int64_t virtual_ns = 0;
  int64_t recovery_ns = 0;
  double wall_seconds = 0;
  uint64_t events = 0;
  uint64_t queries = 0;
  uint64_t false_failures = 0;
  uint64_t datagrams = 0;
  uint64_t packets_per_second_max = 0;
  uint64_t violations = 0;
  int64_t violated_ns = 0;  ///< virtual time of the first violation

  std::string failure;  ///< the first invariant that broke, "crash" or "timeout"; empty: none
  std::string details;  ///< the first violations, or the last that a crashed process said; lines

  [[nodiscard]] bool ok() const { return failure.empty(); }
};

[[nodiscard]] Report report_of(const Scenario& scenario, const ScenarioResult& result);

/// Runs the scenario in a child process; `timeout` is of real time.
[[nodiscard]] Report run_in_sandbox(const Scenario& scenario, double timeout_seconds);

struct SwarmRun {
  uint64_t first = 1;
  uint64_t last = 1;
  unsigned jobs = 1;
  double timeout_seconds = 600;  ///< real time for one seed
  std::function<Scenario(uint64_t seed)> draw;
  /// In the order of the seeds. False ends the run.
  std::function<bool(const Report&)> report;
  /// Whenever a seed is done, in any order.
  std::function<void(uint64_t done)> progress;
};

/// Runs all seeds; returns how many were reported.
uint64_t run_swarm(const SwarmRun& run);

}  // namespace starling::simulation
