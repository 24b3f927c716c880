// SPDX-License-Identifier: Apache-2.0
//
// A smoke test of the swarm; starling-sim runs it at length.
#include "test/simulation/swarm.h"

#include "test/catch.h"

namespace starling::simulation {
namespace {

void run_seeds(uint64_t first, uint64_t last) {
  for (uint64_t seed = first; seed <= last; ++seed) {
    const Scenario scenario = draw_scenario(seed);
    const ScenarioResult result = run_scenario(scenario);
    INFO("starling-sim run --seed " << seed << '\n' << result.report());
    CHECK(result.ok());
  }
}

TEST_CASE("swarm seeds 1 to 10") {
  run_seeds(1, 10);
}
TEST_CASE("swarm seeds 11 to 20") {
  run_seeds(11, 20);
}
TEST_CASE("swarm seeds 21 to 30") {
  run_seeds(21, 30);
}
TEST_CASE("swarm seeds 31 to 40") {
  run_seeds(31, 40);
}

TEST_CASE("a scenario is drawn from its seed alone") {
  CHECK(draw_scenario(5).to_string() == draw_scenario(5).to_string());
  CHECK(draw_scenario(5).to_string() != draw_scenario(6).to_string());
}

TEST_CASE("a drawn scenario names only members that there are") {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    const Scenario scenario = draw_scenario(seed);
    REQUIRE(scenario.nodes >= 3);
    REQUIRE(scenario.nodes <= 150);
    for (const Step& step : scenario.steps) {
      for (const NodeIndex node : step.nodes) REQUIRE(node < scenario.nodes);
    }
  }
}

}  // namespace
}  // namespace starling::simulation
