// SPDX-License-Identifier: Apache-2.0
//
// Makes a failing scenario smaller while it still fails in the same way: a shorter timeline, fewer
// members, fewer steps, fewer kinds of fault, fewer members in each step. Delta debugging (Zeller,
// Hildebrandt, "Simplifying and isolating failure-inducing input", 2002), halves first.
#pragma once

#include <functional>

#include "test/simulation/scenario.h"

namespace starling::simulation {

struct ShrinkOptions {
  double seconds = 60;  ///< of real time, about
  size_t attempts = 2000;
};

struct Shrunk {
  Scenario scenario;
  size_t attempts = 0;
  bool exhausted = false;  ///< the time or the attempts were used up
};

/// `fails`: whether a scenario still fails in the way that matters. It is not asked about
/// `scenario` itself, which is known to fail; `violated` is the time of the violation, counted as
/// steps are, or the end of the chaos.
[[nodiscard]] Shrunk shrink(const Scenario& scenario, Duration violated,
                            const std::function<bool(const Scenario&)>& fails,
                            const ShrinkOptions& options = {});

}  // namespace starling::simulation
