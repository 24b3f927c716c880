// SPDX-License-Identifier: Apache-2.0
//
// starling-sim: runs swarm seeds and prints what came of them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "test/simulation/experiments/table_command.h"
#include "test/simulation/swarm.h"
#include "test/simulation/trace_printer.h"

namespace starling::simulation {
namespace {

constexpr int kMaxReported = 10;

void print_header() {
  std::printf("%8s %6s %8s %8s %8s %9s %7s %7s %6s %8s %7s  %s\n", "seed", "nodes", "virtual",
              "wall", "speed", "recovery", "events", "queries", "false", "packets", "peak",
              "result");
}

void print_row(const Scenario& scenario, const ScenarioResult& result) {
  const double virtual_seconds = seconds(result.virtual_time);
  const double packets = static_cast<double>(result.statistics.datagrams_sent) / virtual_seconds /
                         static_cast<double>(scenario.nodes);
  std::printf("%8llu %6zu %7.1fs %7.2fs %7.0fx %8.2fs %7zu %7zu %6zu %6.1f/s %5zu/s  %s\n",
              static_cast<unsigned long long>(scenario.world.seed), scenario.nodes, virtual_seconds,
              result.wall_seconds, virtual_seconds / result.wall_seconds, seconds(result.recovery),
              result.events, result.queries, result.false_failures, packets,
              result.packets_per_second_max,
              result.ok() ? "ok" : result.violations.front().invariant.c_str());
  std::fflush(stdout);
}

void print_violations(const Scenario& scenario, const ScenarioResult& result,
                      const SwarmOptions& options) {
  int shown = 0;
  for (const Violation& violation : result.violations) {
    if (++shown > kMaxReported) break;
    std::printf("         %s\n", violation.to_string().c_str());
  }
  if (result.violations.size() > kMaxReported) {
    std::printf("         ... %zu in all\n", result.violations.size());
  }
  std::printf("         again: starling-sim run --seed %llu",
              static_cast<unsigned long long>(scenario.world.seed));
  if (options.nodes_max != SwarmOptions().nodes_max) {
    std::printf(" --nodes-max %zu", options.nodes_max);
  }
  std::printf("\n");
}

/// "A..B" or "A".
bool parse_range(const std::string& text, uint64_t* first, uint64_t* last) {
  try {
    const size_t dots = text.find("..");
    *first = std::stoull(text.substr(0, dots));
    *last = dots == std::string::npos ? *first : std::stoull(text.substr(dots + 2));
  } catch (const std::exception&) {
    return false;
  }
  return *first <= *last;
}

int run_swarm(const std::string& range, const SwarmOptions& options) {
  uint64_t first = 0;
  uint64_t last = 0;
  if (!parse_range(range, &first, &last)) {
    std::fprintf(stderr, "starling-sim: --seeds '%s': use A..B, for example 1..40\n",
                 range.c_str());
    return 2;
  }
  print_header();
  size_t failed = 0;
  double wall = 0;
  Duration virtual_time{};
  for (uint64_t seed = first; seed <= last; ++seed) {
    const Scenario scenario = draw_scenario(seed, options);
    const ScenarioResult result = run_scenario(scenario);
    print_row(scenario, result);
    wall += result.wall_seconds;
    virtual_time += result.virtual_time;
    if (!result.ok()) {
      ++failed;
      print_violations(scenario, result, options);
    }
  }
  const uint64_t count = last - first + 1;
  std::printf("%llu seeds, %zu failed, %.0f virtual seconds in %.1f s\n",
              static_cast<unsigned long long>(count), failed, seconds(virtual_time), wall);
  return failed == 0 ? 0 : 1;
}

int run_one(uint64_t seed, const SwarmOptions& options, const CLI::Option* traced, NodeIndex node,
            bool all) {
  const Scenario scenario = draw_scenario(seed, options);
  std::printf("%s", scenario.to_string().c_str());
  std::unique_ptr<TracePrinter> printer;
  const ScenarioResult result = run_scenario(scenario, [&](World& world) {
    if (traced->count() > 0 || all) {
      printer = std::make_unique<TracePrinter>(world, all ? kNoNode : node, stdout);
    }
  });
  print_header();
  print_row(scenario, result);
  std::printf("trace hash %016llx\n", static_cast<unsigned long long>(result.trace_hash));
  if (result.ok()) return 0;
  std::printf("%s", result.report().c_str());
  return 1;
}

int run(int argc, char** argv) {
  CLI::App app{"Simulates clusters of agents in virtual time, with every fault we can name."};
  app.require_subcommand(1);
  SwarmOptions options;
  std::string range = "1..40";
  uint64_t seed = 1;
  NodeIndex node = 0;
  bool all = false;

  CLI::App* swarm = app.add_subcommand("swarm", "run one random scenario per seed");
  swarm->add_option("--seeds", range, "seeds to run, A..B")->capture_default_str();
  CLI::App* one = app.add_subcommand("run", "run one seed and print its timeline");
  one->add_option("--seed", seed, "the seed")->required();
  const CLI::Option* traced = one->add_option("--trace", node, "print all that one member does");
  one->add_flag("--events", all, "print what happens at all members, without packets");
  for (CLI::App* command : {swarm, one}) {
    command->add_option("--nodes-max", options.nodes_max, "largest cluster")
        ->capture_default_str()
        ->check(CLI::Range(3, 5000));
  }
  const TableCommand table(app);
  CLI11_PARSE(app, argc, argv);
  if (table.parsed()) return table.run();
  return swarm->parsed() ? run_swarm(range, options) : run_one(seed, options, traced, node, all);
}

}  // namespace
}  // namespace starling::simulation

int main(int argc, char** argv) {
  return starling::simulation::run(argc, argv);
}
