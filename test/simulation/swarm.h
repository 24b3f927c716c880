// SPDX-License-Identifier: Apache-2.0
//
// The swarm: a scenario drawn from nothing but a seed. Each seed decides how many members there
// are, which kinds of fault are on at all, and when they strike whom.
#pragma once

#include "test/simulation/scenario.h"

namespace starling::simulation {

/// Small clusters and short runs have as many odd cases as others and cost far less, so most seeds
/// are that.
struct SwarmOptions {
  size_t nodes_min = 3;
  /// 60 % of the seeds have at most 12 members, 95 % at most 40.
  size_t nodes_max = 150;
  /// Half of the seeds stay within an eighth of the way to the maximum.
  Duration chaos_min = 15s;
  Duration chaos_max = 90s;
  /// With members that lie about others. The rest of the scenario is as without.
  bool hostile = false;
};

[[nodiscard]] Scenario draw_scenario(uint64_t seed, const SwarmOptions& options = {});

}  // namespace starling::simulation
