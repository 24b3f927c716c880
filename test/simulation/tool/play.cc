// SPDX-License-Identifier: Apache-2.0
//
// starling-sim run, replay and list.
#include <cstdio>
#include <fstream>
#include <memory>

#include "test/simulation/tool/commands.h"
#include "test/simulation/tool/plot.h"
#include "test/simulation/tool/recorder.h"
#include "test/simulation/tool/step_words.h"
#include "test/simulation/tool/story.h"
#include "test/simulation/tool/summary.h"
#include "test/simulation/tool/text.h"
#include "test/simulation/trace_printer.h"

namespace starling::simulation {

namespace {

int refuse(const std::string& message) {
  std::fprintf(stderr, "starling-sim: %s\n", message.c_str());
  return 2;
}

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << text;
  stream.close();
  if (stream) return true;
  refuse(path + ": cannot be written; check the directory and its permissions");
  return false;
}

struct Played {
  ScenarioResult result;
  Record record;
};

/// Plays the scenario with whatever was asked for watching it.
Played watch(const Scenario& scenario, const PlayOptions& options) {
  std::unique_ptr<Recorder> recorder;
  std::unique_ptr<Story> story;
  std::unique_ptr<TracePrinter> printer;
  Played played;
  played.result = run_scenario(
      scenario,
      [&](World& world) {
        recorder = std::make_unique<Recorder>(world, scenario);
        if (options.trace) {
          story = std::make_unique<Story>(world, *options.trace, options.packets, stdout);
        }
        if (options.events) printer = std::make_unique<TracePrinter>(world, kNoNode, stdout);
      },
      [&](Phase phase, const World& /*world*/) {
        recorder->phase(phase);
        if (story) story->phase(phase);
      });
  played.record = recorder->take();
  return played;
}

/// Runs the scenario again, unwatched: watching must change nothing either.
int compare_again(const Scenario& scenario, const ScenarioResult& result) {
  const ScenarioResult again = run_scenario(scenario);
  const bool same = again.trace_hash == result.trace_hash;
  std::printf("  %-16s %016llx, %s\n", "again", static_cast<unsigned long long>(again.trace_hash),
              same ? "the same" : "ANOTHER ONE: the run does not depend on its seed alone");
  return same ? 0 : 1;
}

int play(const ScenarioFile& file, const std::string& title, const PlayOptions& options) {
  const Scenario& scenario = file.scenario;
  if (options.trace && *options.trace >= scenario.nodes) {
    return refuse("--trace " + std::to_string(*options.trace) + ": the members are 0 to " +
                  std::to_string(scenario.nodes - 1));
  }
  if (!options.write.empty() && !write_file(options.write, write_scenario(scenario, title))) {
    return 2;
  }
  const Played played = watch(scenario, options);
  std::printf("%s\n", title.c_str());
  if (!file.about.empty()) std::printf("%s\n", file.about.c_str());
  std::printf("\n%s\n%s", timeline(scenario, played.record, played.result).c_str(),
              summary(scenario, played.record, played.result).c_str());
  int status = played.result.ok() ? 0 : 1;
  for (const Verdict& verdict : judge(file.expect, played.record, played.result)) {
    std::printf("  %-16s %s\n", verdict.met ? "as expected" : "NOT AS EXPECTED",
                verdict.text.c_str());
    if (!verdict.met) status = 1;
  }
  if (options.twice && compare_again(scenario, played.result) != 0) status = 1;
  if (!options.plot.empty()) {
    if (!write_file(options.plot, plot(scenario, played.record, played.result))) return 2;
    std::printf("  %-16s %s\n", "picture", options.plot.c_str());
  }
  return status;
}

}  // namespace

int run_file(const std::string& path, const ScenarioOverrides& overrides,
             const PlayOptions& options) {
  const auto file = read_scenario(path, overrides);
  if (!file) return refuse(file.error().message);
  return play(*file, file->scenario.name, options);
}

int replay_seed(uint64_t seed, const SwarmOptions& swarm, const PlayOptions& options) {
  ScenarioFile file;
  file.scenario = draw_scenario(seed, swarm);
  return play(file, "swarm seed " + std::to_string(seed) + swarm_flags(swarm), options);
}

int list_steps() {
  std::printf(
      "Steps of a scenario, each with 'at: TIME' and, if wanted, 'every:' and 'until:'\n\n");
  for (const StepInfo& info : step_infos()) {
    std::printf("  %-58s %s\n", step_form(info).c_str(), std::string(info.help).c_str());
  }
  std::printf(
      "\n'stagger: TIME' does a step to one member after the other.\n"
      "MEMBERS: 3, 10..19, [1, 4, 7..9], 5%%, random 3, zone 2, all, not 3, or a group's name.\n"
      "SHARE: 5%% or 0.05.  TIME: 250ms, 20s, 1.5m.  docs/simulation.md has it all.\n");
  return 0;
}

}  // namespace starling::simulation
