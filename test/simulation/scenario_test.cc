// SPDX-License-Identifier: Apache-2.0
//
// Scenarios as data: names, what each kind of step uses, and that each can be played.
#include "test/simulation/scenario.h"

#include "test/catch.h"

namespace starling::simulation {
namespace {

TEST_CASE("every kind of step has a name of its own") {
  size_t number = 0;
  for (const StepInfo& info : step_infos()) {
    CHECK(static_cast<size_t>(info.kind) == number++);
    CHECK(step_kind(info.name) == info.kind);
    CHECK(step_name(info.kind) == info.name);
  }
  CHECK_FALSE(step_kind("earthquake"));
}

/// A step that has an effect, in a cluster of twelve.
Step example(const StepInfo& info) {
  Step step{.at = 1s, .kind = info.kind};
  if (info.nodes == StepInfo::Nodes::kSome) step.nodes = {1, 2};
  if (info.nodes == StepInfo::Nodes::kFirst) step.nodes = {1};
  if (info.nodes == StepInfo::Nodes::kPair) step.nodes = {1, 2};
  if (!info.amount.empty()) step.amount = info.amount_max <= 1 ? 0.3 : 1;
  if (info.kind == StepKind::kMtu) step.amount = 600;
  if (info.kind == StepKind::kBandwidth) step.amount = 20'000;
  if (info.kind == StepKind::kSlow || info.kind == StepKind::kLatency) step.amount = 0.05;
  if (info.length != StepInfo::Length::kNone) step.length = 5s;
  return step;
}

Scenario small() {
  Scenario scenario;
  scenario.name = "small";
  scenario.nodes = 12;
  scenario.chaos = 10s;
  scenario.world.links = LinkModel::wan();
  scenario.world.links.zones = 2;
  return scenario;
}

TEST_CASE("every kind of step can be played alone") {
  for (const StepInfo& info : step_infos()) {
    Scenario scenario = small();
    scenario.steps = {example(info)};
    scenario.back = {1, 2};
    const ScenarioResult result = run_scenario(scenario);
    INFO(scenario.to_string() << result.report());
    CHECK(result.ok());
  }
}

TEST_CASE("steps about members that do not exist are passed over") {
  Scenario scenario = small();
  for (const StepInfo& info : step_infos()) {
    Step step = example(info);
    for (NodeIndex& node : step.nodes) node += 100;
    scenario.steps.push_back(step);
  }
  std::erase_if(scenario.steps, [](const Step& step) {
    return step.nodes.empty() || step.kind == StepKind::kPartition;
  });
  const ScenarioResult result = run_scenario(scenario);
  INFO(result.report());
  CHECK(result.ok());
}

TEST_CASE("a step that lasts for a time ends by itself") {
  Scenario scenario = small();
  scenario.steps = {{.at = 1s, .kind = StepKind::kPause, .nodes = {3}, .length = 1s},
                    {.at = 1s, .kind = StepKind::kLoss, .amount = 0.1, .length = 1s},
                    {.at = 1s, .kind = StepKind::kCrash, .nodes = {4}, .length = 1s}};
  run_scenario(scenario, {}, [](Phase phase, const World& world) {
    if (phase != Phase::kHealing) return;
    CHECK(world.usable(3));
    CHECK(world.running(4));
    CHECK(world.host(4).epoch == 2);
    CHECK(world.network().model().loss == 0);
  });
}

// Swarm seed 69340: each came back at an address that nobody was there to be told.
TEST_CASE("members that moved while none of the others was up are introduced again") {
  Scenario scenario = small();
  scenario.nodes = 2;
  scenario.chaos = 5s;
  scenario.steps = {{.at = 1s, .kind = StepKind::kHostDown, .nodes = {1}},
                    {.at = 2s, .kind = StepKind::kCrash, .nodes = {0}},
                    {.at = 3s, .kind = StepKind::kRestartMoved, .nodes = {0}},
                    {.at = 4s, .kind = StepKind::kRestartMoved, .nodes = {1}}};
  const ScenarioResult result = run_scenario(scenario);
  INFO(result.report());
  CHECK(result.ok());
}

TEST_CASE("a step is written in one line") {
  const Step step{
      .at = 1500ms, .kind = StepKind::kSlow, .nodes = {3, 4}, .amount = 0.05, .length = 2s};
  CHECK(step.to_string() == "at    1.500s slow 3 4 (0.05) for 2.000s");
}

}  // namespace
}  // namespace starling::simulation
