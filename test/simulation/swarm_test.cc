// SPDX-License-Identifier: Apache-2.0
//
// What a seed draws. starling-sim plays it: see CMakeLists.txt.
#include "test/simulation/swarm.h"

#include <set>

#include "test/catch.h"

namespace starling::simulation {
namespace {

TEST_CASE("a scenario is drawn from its seed alone") {
  CHECK(draw_scenario(5).to_string() == draw_scenario(5).to_string());
  CHECK(draw_scenario(5).to_string() != draw_scenario(6).to_string());
}

TEST_CASE("every kind of fault is drawn, and only for members that there are") {
  std::set<StepKind> drawn;
  size_t small = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    const Scenario scenario = draw_scenario(seed);
    small += scenario.nodes <= 12 ? 1 : 0;
    REQUIRE(scenario.nodes >= 3);
    REQUIRE(scenario.nodes <= 150);
    for (const Step& step : scenario.steps) {
      drawn.insert(step.kind);
      for (const NodeIndex node : step.nodes) REQUIRE(node < scenario.nodes);
    }
  }
  CHECK(small > 250);
  // What ends another step is drawn as that step's length; liars have to be asked for.
  const std::set<StepKind> ends = {StepKind::kHeal,     StepKind::kResume,  StepKind::kUnblock,
                                   StepKind::kDiskFree, StepKind::kRestart, StepKind::kHostile};
  for (const StepInfo& info : step_infos()) {
    INFO(info.name);
    CHECK(drawn.contains(info.kind) != ends.contains(info.kind));
  }
}

}  // namespace
}  // namespace starling::simulation
