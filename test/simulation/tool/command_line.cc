// SPDX-License-Identifier: Apache-2.0
//
// The command line of starling-sim: the one file of the tool that knows CLI11, and where its
// exceptions end. (The command `table` brings its own options, see experiments/.)
#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <thread>

#include "test/simulation/experiments/table_command.h"
#include "test/simulation/tool/commands.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

constexpr unsigned kJobsMax = 256;

struct Arguments {
  std::string file;
  uint64_t seed = 0;
  size_t members = 0;
  NodeIndex trace = 0;
  std::string seeds = "1..40";
  PlayOptions play;
  SwarmCommand swarm;
  SwarmOptions drawn;
  bool no_shrink = false;
};

/// "A..B" or "A".
bool parse_range(const std::string& text, uint64_t* first, uint64_t* last) {
  const size_t dots = text.find("..");
  const auto from = parse_count(std::string_view(text).substr(0, dots));
  const auto to =
      dots == std::string::npos ? from : parse_count(std::string_view(text).substr(dots + 2));
  if (!from || !to || *to < *from) return false;
  *first = *from;
  *last = *to;
  return true;
}

CLI::Option* add_play_options(CLI::App* app, Arguments& arguments) {
  app->add_option("--plot", arguments.play.plot, "draw a picture (SVG)")->type_name("FILE");
  app->add_option("--write", arguments.play.write, "write the scenario, all of it drawn, to a file")
      ->type_name("FILE");
  app->add_flag("--packets", arguments.play.packets, "with --trace: every packet too");
  app->add_flag("--events", arguments.play.events, "print what happens at all members");
  app->add_flag("--twice", arguments.play.twice, "run twice and compare the trace hashes");
  return app->add_option("--trace", arguments.trace, "tell the story of one member")
      ->type_name("MEMBER");
}

void add_swarm_options(CLI::App* app, Arguments& arguments) {
  app->add_option("--nodes-max", arguments.drawn.nodes_max,
                  "largest cluster; part of what a seed means")
      ->capture_default_str()
      ->check(CLI::Range(3, 5000));
  app->add_flag("--hostile", arguments.drawn.hostile,
                "some members lie about others; part of what a seed means");
}

int swarm(Arguments& arguments) {
  SwarmCommand& command = arguments.swarm;
  if (!parse_range(arguments.seeds, &command.first, &command.last)) {
    std::fprintf(stderr, "starling-sim: --seeds '%s': use A..B, for example 1..40\n",
                 arguments.seeds.c_str());
    return 2;
  }
  command.shrink = !arguments.no_shrink;
  if (command.jobs == 0) command.jobs = std::max(1U, std::thread::hardware_concurrency());
  if (command.directory.empty()) {
    std::error_code error;
    command.directory = std::filesystem::temp_directory_path(error).string();
    if (error) command.directory = ".";
  }
  return swarm_seeds(command, arguments.drawn);
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app{
      "Simulates clusters of agents in virtual time, with every fault we can name.\n"
      "Try: starling-sim run examples/simulation/crash.yaml --plot crash.svg"};
  app.name("starling-sim");
  app.require_subcommand(1);
  Arguments arguments;

  CLI::App* run = app.add_subcommand("run", "play a scenario file and say what came of it");
  auto* file = run->add_option("file", arguments.file, "the scenario; - is standard input")
                   ->type_name("FILE");
  auto* seed = run->add_option("--seed", arguments.seed, "another seed than the file's");
  auto* members = run->add_option("--members", arguments.members, "another number of members")
                      ->check(CLI::Range(size_t{2}, kMaxScenarioMembers));
  auto* run_trace = add_play_options(run, arguments);

  CLI::App* replay = app.add_subcommand("replay", "play one seed of the swarm");
  replay->add_option("seed", arguments.seed, "the seed")->required()->type_name("SEED");
  auto* replay_trace = add_play_options(replay, arguments);

  CLI::App* many = app.add_subcommand("swarm", "play a random scenario for each of many seeds");
  many->add_option("--seeds", arguments.seeds, "seeds to run, A..B")->capture_default_str();
  many->add_option("--jobs", arguments.swarm.jobs, "processes side by side; 0: one per core")
      ->capture_default_str()
      ->check(CLI::Range(0U, kJobsMax));
  many->add_flag("--failures-only", arguments.swarm.failures_only, "no row for seeds that pass");
  many->add_flag("--no-shrink", arguments.no_shrink, "do not make failing seeds smaller");
  many->add_option("--shrink-seconds", arguments.swarm.shrink_seconds,
                   "time for making one seed smaller")
      ->capture_default_str();
  many->add_option("--shrink-to", arguments.swarm.directory,
                   "directory for what is left of failing seeds")
      ->type_name("DIR");
  many->add_option("--timeout", arguments.swarm.timeout_seconds,
                   "a seed that takes longer has failed, in seconds of real time")
      ->capture_default_str();
  for (CLI::App* command : {run, replay, many}) add_swarm_options(command, arguments);

  CLI::App* list = app.add_subcommand("list", "say what scenarios can be made of");

  const TableCommand table(app);

  CLI11_PARSE(app, argc, argv);
  if (table.parsed()) return table.run();
  if (run_trace->count() + replay_trace->count() > 0) arguments.play.trace = arguments.trace;
  if (arguments.play.packets && !arguments.play.trace) {
    std::fprintf(stderr, "starling-sim: --packets needs --trace MEMBER\n");
    return 2;
  }
  if (list->parsed()) return list_steps();
  if (many->parsed()) return swarm(arguments);
  if (replay->parsed()) return replay_seed(arguments.seed, arguments.drawn, arguments.play);
  if (file->count() == 0) {
    if (seed->count() > 0) return replay_seed(arguments.seed, arguments.drawn, arguments.play);
    std::fprintf(stderr,
                 "starling-sim: run needs a scenario file; they are in "
                 "examples/simulation/\n");
    return 2;
  }
  ScenarioOverrides overrides;
  if (seed->count() > 0) overrides.seed = arguments.seed;
  if (members->count() > 0) overrides.members = arguments.members;
  return run_file(arguments.file, overrides, arguments.play);
}

}  // namespace starling::simulation
