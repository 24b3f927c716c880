// SPDX-License-Identifier: Apache-2.0
//
// The swarm: a scenario drawn from nothing but a seed. Each seed decides how many members there
// are, which kinds of fault are on at all, and when they strike whom.
#pragma once

#include "test/simulation/scenario.h"

namespace starling::simulation {

struct SwarmOptions {
  size_t nodes_min = 3;
  size_t nodes_max = 150;
  Duration chaos_min = 20s;
  Duration chaos_max = 90s;
};

[[nodiscard]] Scenario draw_scenario(uint64_t seed, const SwarmOptions& options = {});

}  // namespace starling::simulation
