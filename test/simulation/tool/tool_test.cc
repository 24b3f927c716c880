// SPDX-License-Identifier: Apache-2.0
//
// What the tool makes of a run: records, summaries, pictures, stories, smaller failures.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "test/catch.h"
#include "test/simulation/swarm.h"
#include "test/simulation/tool/plot.h"
#include "test/simulation/tool/recorder.h"
#include "test/simulation/tool/scenario_file.h"
#include "test/simulation/tool/shrink.h"
#include "test/simulation/tool/story.h"
#include "test/simulation/tool/summary.h"
#include "test/simulation/tool/swarm_run.h"

namespace starling::simulation {
namespace {

struct Watched {
  ScenarioFile file;
  ScenarioResult result;
  Record record;
  std::string story;

  explicit Watched(const std::string& text, NodeIndex hero = 0) {
    const auto parsed = parse_scenario(text, "test");
    INFO((parsed ? std::string() : parsed.error().message));
    REQUIRE(parsed);
    file = *parsed;
    std::unique_ptr<Recorder> recorder;
    std::unique_ptr<Story> told;
    std::FILE* out = std::tmpfile();
    result = run_scenario(
        file.scenario,
        [&](World& world) {
          recorder = std::make_unique<Recorder>(world, file.scenario);
          told = std::make_unique<Story>(world, hero, false, out);
        },
        [&](Phase phase, const World& /*world*/) {
          recorder->phase(phase);
          told->phase(phase);
        });
    record = recorder->take();
    told.reset();
    std::rewind(out);
    char buffer[4096];
    while (const size_t n = std::fread(buffer, 1, sizeof buffer, out)) story.append(buffer, n);
    std::fclose(out);
  }
  [[nodiscard]] bool tells(const char* words) const {
    return story.find(words) != std::string::npos;
  }
};

TEST_CASE("a crash is recorded with who noticed it when") {
  const Watched run(
      "{members: 12, length: 30s, steps: [{at: 5s, host-down: 3}, {at: 1s, event: 2}],"
      " expect: {detected-within: 10s, event-within: 1s, false-failures: 0}}");
  CHECK(run.result.ok());
  REQUIRE(run.record.failures.size() == 1);
  const Failure& failure = run.record.failures.front();
  CHECK(failure.node == 3);
  CHECK(run.record.offset(failure.at) == 5s);
  CHECK(failure.watchers.size() == 11);
  CHECK(failure.seen.size() == 11);
  REQUIRE(failure.all);
  CHECK(*failure.first <= *failure.median);
  CHECK(*failure.median <= *failure.all);
  REQUIRE(run.record.events.size() == 2);  // and the last one of every scenario
  CHECK(run.record.events[0].expected == 12);
  CHECK(run.record.events[0].arrivals.size() == 12);
  CHECK(run.record.false_failures.empty());
  for (const Verdict& verdict : judge(run.file.expect, run.record, run.result)) {
    INFO(verdict.text);
    CHECK(verdict.met);
  }
  const std::string words = timeline(run.file.scenario, run.record, run.result);
  CHECK(words.find("5.000 s  member 3 goes silent: its host is down") != std::string::npos);
  CHECK(words.find("everybody knows of the failure of member 3") != std::string::npos);
  const std::string table = summary(run.file.scenario, run.record, run.result);
  CHECK(table.find("1, 1 noticed by everybody") != std::string::npos);
  CHECK(table.find("checked, all held") != std::string::npos);
}

TEST_CASE("what is not met is said") {
  const Watched run(
      "{members: 5, length: 20s, steps: [{at: 5s, host-down: 3}],"
      " expect: {detected-within: 10ms}}");
  const auto verdicts = judge(run.file.expect, run.record, run.result);
  REQUIRE(verdicts.size() == 1);
  CHECK_FALSE(verdicts[0].met);
}

TEST_CASE("failures are told apart by why they were declared") {
  const Watched cut("{members: 10, length: 30s, steps: [{at: 5s, partition: 0..3}]}");
  CHECK(cut.record.count(Cause::kCutOff) > 0);
  CHECK(cut.record.count(Cause::kHealthy) == 0);
  const Watched paused("{members: 10, length: 30s, steps: [{at: 5s, pause: 2, for: 20s}]}");
  CHECK(paused.record.count(Cause::kDisturbed) == 9);
  CHECK(paused.record.count(Cause::kHealthy) == 0);
}

TEST_CASE("a picture is one well-formed document") {
  const Watched run(
      "{name: 'A < B & C', members: 10, length: 30s, steps: [{at: 5s, partition: 0..3, for: 10s},"
      " {at: 6s, event: 1}, {at: 20s, crash: 5}]}");
  const std::string svg = plot(run.file.scenario, run.record, run.result);
  CHECK(svg.starts_with("<svg "));
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(svg.find("A &lt; B &amp; C") != std::string::npos);
  CHECK(svg.find("<script") == std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
  CHECK(svg.size() < 200'000);
  CHECK(plot(run.file.scenario, run.record, run.result) == svg);
}

TEST_CASE("a picture of a run in which nothing happens is a picture") {
  const Watched run("{members: 2, length: 1s}");
  CHECK(plot(run.file.scenario, run.record, run.result).find("nobody was shown as failed") !=
        std::string::npos);
}

TEST_CASE("a story tells what one member saw") {
  const Watched run("{members: 8, length: 40s, steps: [{at: 5s, pause: 3, for: 15s}]}", 3);
  CHECK(run.tells("it starts without any state"));
  CHECK(run.tells("IT IS FROZEN"));
  CHECK(run.tells("IT GOES ON"));
  CHECK(run.tells("it refutes this"));
  const Watched other("{members: 8, length: 40s, steps: [{at: 5s, host-down: 3}]}", 4);
  CHECK(other.tells("it suspects member 3"));
  CHECK(other.tells("it shows member 3 as FAILED"));
}

// --- shrinking ---------------------------------------------------------------------------------

bool has(const Scenario& scenario, StepKind kind, NodeIndex node) {
  return std::any_of(scenario.steps.begin(), scenario.steps.end(), [&](const Step& step) {
    return step.kind == kind &&
           std::find(step.nodes.begin(), step.nodes.end(), node) != step.nodes.end();
  });
}

TEST_CASE("shrinking leaves what matters and nothing else") {
  const auto parsed = parse_scenario(R"(
members: 100
length: 90s
network: {zones: 4, loss: 2%}
steps:
  - {at: 1s, every: 3s, event: random 1}
  - {at: 2s, every: 5s, pause: random 10, for: 1s}
  - {at: 20s, crash: 2..9}
  - {at: 40s, restart: 0..20}
back: [7]
)",
                                     "test");
  REQUIRE(parsed);
  const auto fails = [](const Scenario& scenario) {
    return has(scenario, StepKind::kCrash, 3) && has(scenario, StepKind::kRestart, 3);
  };
  const Shrunk shrunk = shrink(parsed->scenario, 50s, fails);
  REQUIRE(fails(shrunk.scenario));
  CHECK(shrunk.scenario.steps.size() == 2);
  CHECK(shrunk.scenario.nodes == 4);
  for (const Step& step : shrunk.scenario.steps) CHECK(step.nodes == std::vector<NodeIndex>{3});
  CHECK(shrunk.scenario.chaos < 60s);
  CHECK(shrunk.scenario.back.empty());
  CHECK(shrunk.scenario.world.links.loss == 0);
  CHECK(shrunk.scenario.world.links.zones == 1);
  CHECK_FALSE(shrunk.exhausted);
}

TEST_CASE("shrinking ends when its attempts are used up") {
  const Scenario scenario = draw_scenario(3);
  ShrinkOptions options;
  options.attempts = 5;
  const Shrunk shrunk = shrink(scenario, 10s, [](const Scenario&) { return false; }, options);
  CHECK(shrunk.exhausted);
  CHECK(shrunk.attempts == 5);
  CHECK(shrunk.scenario.to_string() == scenario.to_string());
}

TEST_CASE("a real failure shrinks to a small file that fails in the same way") {
  SwarmOptions small;
  small.nodes_max = 20;
  Scenario scenario = draw_scenario(4, small);
  scenario.checker.packets_per_second_base = 15;  // which is too little for an event
  scenario.checker.packets_per_second_factor = 0;
  const Report report = run_in_sandbox(scenario, 60);
  REQUIRE(report.failure == "message-budget");
  ShrinkOptions options;
  options.seconds = 10;
  options.attempts = 60;
  const Shrunk shrunk = shrink(
      scenario, Duration(report.violated_ns),
      [&](const Scenario& candidate) {
        return run_in_sandbox(candidate, 60).failure == report.failure;
      },
      options);
  CHECK(shrunk.scenario.steps.size() < scenario.steps.size());
  const auto read = parse_scenario(write_scenario(shrunk.scenario), "shrunk");
  REQUIRE(read);
  CHECK(run_in_sandbox(read->scenario, 60).failure == "message-budget");
}

// --- many seeds --------------------------------------------------------------------------------

TEST_CASE("seeds run side by side and are reported in order") {
  SwarmRun run;
  run.first = 1;
  run.last = 20;
  run.jobs = 3;
  run.draw = [](uint64_t seed) {
    SwarmOptions small;
    small.nodes_max = 5;
    return draw_scenario(seed, small);
  };
  std::vector<Report> reports;
  run.report = [&](const Report& report) {
    reports.push_back(report);
    return true;
  };
  CHECK(run_swarm(run) == 20);
  REQUIRE(reports.size() == 20);
  for (size_t i = 0; i < reports.size(); ++i) {
    CHECK(reports[i].seed == i + 1);
    CHECK(reports[i].ok());
    CHECK(reports[i].trace_hash == run_scenario(run.draw(i + 1)).trace_hash);
  }
}

TEST_CASE("a seed that aborts is a failure and not the end") {
  SwarmRun run;
  run.first = 1;
  run.last = 6;
  run.jobs = 2;
  const pid_t parent = ::getpid();
  run.draw = [&](uint64_t seed) {
    const bool child = ::getpid() != parent;
    if (child && seed == 2) {
      std::fprintf(stderr, "somewhere.cc:1: broken invariant: x\n");
      std::signal(SIGABRT, SIG_DFL);  // Catch has a handler of its own
      std::abort();
    }
    SwarmOptions small;
    small.nodes_max = 3;
    return draw_scenario(seed, small);
  };
  std::vector<Report> reports;
  run.report = [&](const Report& report) {
    reports.push_back(report);
    return true;
  };
  run_swarm(run);
  REQUIRE(reports.size() == 6);
  CHECK(reports[1].failure == "crash");
  CHECK(reports[1].details.find("broken invariant: x") != std::string::npos);
  CHECK(reports[1].details.find("Abort") != std::string::npos);
  for (const size_t i : {0, 2, 3, 4, 5}) CHECK(reports[i].ok());
}

TEST_CASE("a seed that takes too long is given up") {
  SwarmRun run;
  run.first = 1;
  run.last = 2;
  run.timeout_seconds = 1;
  const pid_t parent = ::getpid();
  run.draw = [&](uint64_t seed) {
    if (::getpid() != parent && seed == 1) ::pause();
    SwarmOptions small;
    small.nodes_max = 3;
    return draw_scenario(seed, small);
  };
  std::vector<Report> reports;
  run.report = [&](const Report& report) {
    reports.push_back(report);
    return true;
  };
  run_swarm(run);
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].failure == "timeout");
  CHECK(reports[1].seed == 2);
}

}  // namespace
}  // namespace starling::simulation
