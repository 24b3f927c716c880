// SPDX-License-Identifier: Apache-2.0
//
// What a run is told as: its timeline in words, a table of what came of it, and whether what was
// expected of it holds. Pure functions over a Record.
#pragma once

#include <string>
#include <vector>

#include "test/simulation/scenario.h"
#include "test/simulation/tool/recorder.h"
#include "test/simulation/tool/scenario_file.h"

namespace starling::simulation {

/// One line per step and per thing that came of it, in order of time. At most about 200 lines:
/// what is repeated is told once.
[[nodiscard]] std::string timeline(const Scenario& scenario, const Record& record,
                                   const ScenarioResult& result);

[[nodiscard]] std::string summary(const Scenario& scenario, const Record& record,
                                  const ScenarioResult& result);

struct Verdict {
  bool met = false;
  std::string text;  ///< "detected within 8 s: at most 3.9 s"
};
[[nodiscard]] std::vector<Verdict> judge(const Expectations& expect, const Record& record,
                                         const ScenarioResult& result);

/// "0.61 s", or "never".
[[nodiscard]] std::string time_or_never(const std::optional<Duration>& time);

/// Times of many events or queries taken together, each as if it were the worst of its share:
/// sorted over all arrivals.
struct SpreadFigures {
  size_t count = 0;
  size_t expected = 0;
  size_t arrived = 0;
  std::optional<Duration> half;
  std::optional<Duration> most;  ///< 99 %
  std::optional<Duration> all;
};
[[nodiscard]] SpreadFigures figures(const std::vector<Spread>& spreads);

/// Datagrams and bytes per member and second after the boot.
struct TrafficFigures {
  double datagrams = 0;
  double bytes = 0;
};
[[nodiscard]] TrafficFigures traffic_figures(const Record& record);

}  // namespace starling::simulation
