// SPDX-License-Identifier: Apache-2.0
//
// starling-planted: runs the swarm over the test build of the core, with one bug after the other,
// and says which invariants notice it and how soon.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "test/simulation/planted/plant.h"
#include "test/simulation/swarm.h"

namespace {

using starling::membership::PlantedBug;
namespace simulation = starling::simulation;

/// Seeds 1..`seeds` with `bug`: one line of what was noticed.
void sweep(PlantedBug bug, uint64_t seeds, const simulation::SwarmOptions& options) {
  const simulation::Plant plant(bug);
  std::map<std::string, unsigned> broken;  // seeds by invariant
  uint64_t first = 0;
  unsigned failed = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const auto result = simulation::run_scenario(simulation::draw_scenario(seed, options));
    if (result.ok()) continue;
    ++failed;
    if (first == 0) first = seed;
    std::map<std::string, unsigned> here;
    for (const simulation::Violation& violation : result.violations) here[violation.invariant] = 1;
    for (const auto& [invariant, one] : here) broken[invariant] += one;
  }
  std::printf("%-26s", simulation::planted_bug_name(bug));
  if (failed == 0) {
    std::printf(" unnoticed\n");
    return;
  }
  std::printf(" %4u seeds, first %llu:", failed, static_cast<unsigned long long>(first));
  for (const auto& [invariant, count] : broken) std::printf(" %s %u", invariant.c_str(), count);
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the swarm with bugs planted in the core, and says what notices them.");
  uint64_t seeds = 200;
  std::string only;
  simulation::SwarmOptions options;
  options.nodes_max = 30;
  app.add_option("--seeds", seeds, "seeds 1 to N for each bug")->capture_default_str();
  app.add_option("--nodes-max", options.nodes_max, "largest cluster")->capture_default_str();
  app.add_option("--bug", only, "this one alone, by name");
  CLI11_PARSE(app, argc, argv);
  for (const PlantedBug bug : simulation::planted_bugs()) {
    if (only.empty() || only == simulation::planted_bug_name(bug)) sweep(bug, seeds, options);
  }
  return 0;
}
