// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/scenario_file.h"

#include "test/catch.h"
#include "test/simulation/swarm.h"

namespace starling::simulation {
namespace {

Scenario good(const std::string& text, const ScenarioOverrides& overrides = {}) {
  const auto file = parse_scenario(text, "test.yaml", overrides);
  INFO((file ? std::string() : file.error().message));
  REQUIRE(file);
  return file->scenario;
}

std::string error_of(const std::string& text) {
  const auto file = parse_scenario(text, "test.yaml");
  return file ? "no error" : file.error().message;
}

std::vector<NodeIndex> crashed(const std::string& members,
                               const ScenarioOverrides& overrides = {}) {
  return good("{members: 50, steps: [{at: 1s, crash: " + members + "}]}", overrides)
      .steps.at(0)
      .nodes;
}

TEST_CASE("a scenario file says everything about a run") {
  const auto file = parse_scenario(R"(
name: All of it
about: One line.
members: 40
seed: 7
length: 90s
network:
  profile: wan
  zones: 3
  loss: 1%
  jitter-shape: lognormal
hosts: {refusals: false, clock-skew-ppm: 500}
node: {profile: wan, suspicion-min: 6s, indirect-probes: 3}
checks: {tolerated-pause: 3s, liveness-bound: 200s}
groups: {slow: 10..12}
steps:
  - {at: 20s, egress-loss: 80%, members: slow, for: 5s}
  - {at: 10s, crash: [3, 5]}
  - at: 30s
    heal:
back: 3
expect: {detected-within: 8s, false-failures: 0}
)",
                                   "test.yaml");
  REQUIRE(file);
  const Scenario& scenario = file->scenario;
  CHECK(scenario.name == "All of it");
  CHECK(file->about == "One line.");
  CHECK(scenario.nodes == 40);
  CHECK(scenario.world.seed == 7);
  CHECK(scenario.chaos == 90s);
  CHECK(scenario.world.links.zones == 3);
  CHECK(scenario.world.links.loss == 0.01);
  CHECK(scenario.world.links.latency_min == LinkModel::wan().latency_min);
  CHECK(scenario.world.links.jitter_shape == JitterShape::kLognormal);
  CHECK_FALSE(scenario.world.refusals);
  CHECK(scenario.world.clock_skew_ppm == 500);
  CHECK(scenario.world.node.suspicion_min == 6s);
  CHECK(scenario.world.node.indirect_probes == 3);
  CHECK(scenario.world.node.probe_interval == membership::Options::wan().probe_interval);
  CHECK(scenario.checker.tolerated_pause == 3s);
  CHECK(scenario.liveness_bound == 200s);
  REQUIRE(scenario.steps.size() == 3);
  CHECK(scenario.steps[0].kind == StepKind::kCrash);
  CHECK(scenario.steps[0].nodes == std::vector<NodeIndex>{3, 5});
  CHECK(scenario.steps[1].kind == StepKind::kEgressLoss);
  CHECK(scenario.steps[1].nodes == std::vector<NodeIndex>{10, 11, 12});
  CHECK(scenario.steps[1].amount == 0.8);
  CHECK(scenario.steps[1].length == 5s);
  CHECK(scenario.steps[2].kind == StepKind::kHeal);
  CHECK(scenario.back == std::vector<NodeIndex>{3});
  CHECK(file->expect.detected_within == Duration(8s));
  CHECK(file->expect.false_failures == size_t{0});
}

TEST_CASE("members are named in many ways") {
  CHECK(crashed("3") == std::vector<NodeIndex>{3});
  CHECK(crashed("10..12") == std::vector<NodeIndex>{10, 11, 12});
  CHECK(crashed("[1, 4..5, 4]") == std::vector<NodeIndex>{1, 4, 5});
  CHECK(crashed("all").size() == 50);
  CHECK(crashed("not 7").size() == 49);
  CHECK(crashed("10%").size() == 5);
  CHECK(crashed("1%").size() == 1);
  CHECK(crashed("random 3").size() == 3);
}

TEST_CASE("drawn members depend on the seed alone") {
  const ScenarioOverrides seven{.seed = 7, .members = std::nullopt};
  const ScenarioOverrides eight{.seed = 8, .members = std::nullopt};
  CHECK(crashed("random 5", seven) == crashed("random 5", seven));
  CHECK(crashed("random 5", seven) != crashed("random 5", eight));
}

TEST_CASE("the members of all zones together are all") {
  size_t count = 0;
  for (const char* zone : {"zone 0", "zone 1", "zone 2"}) {
    count +=
        good("{members: 50, network: {zones: 3}, steps: [{at: 1s, crash: " + std::string(zone) +
             "}]}")
            .steps.at(0)
            .nodes.size();
  }
  CHECK(count == 50);
}

TEST_CASE("a step is repeated and staggered") {
  const Scenario every =
      good("{members: 9, length: 60s, steps: [{at: 10s, every: 20s, pause: 2, for: 5s}]}");
  REQUIRE(every.steps.size() == 3);
  CHECK(every.steps[2].at == 50s);
  CHECK(every.steps[2].length == 5s);
  const Scenario until =
      good("{members: 9, steps: [{at: 1s, every: 1s, until: 3s, event: random 1}]}");
  CHECK(until.steps.size() == 3);
  CHECK(until.chaos == 23s);
  const Scenario rolling =
      good("{members: 9, steps: [{at: 5s, crash: 0..3, stagger: 2s, for: 1s}]}");
  REQUIRE(rolling.steps.size() == 4);
  CHECK(rolling.steps[3].at == 11s);
  CHECK(rolling.steps[3].nodes == std::vector<NodeIndex>{3});
  const Scenario joined = good("{members: 9, steps: [{at: 5s, add-node: 4, stagger: 1s}]}");
  CHECK(joined.steps.size() == 4);
  CHECK(good("{members: 9, steps: [{at: 5s, event: [1, 2]}]}").steps.size() == 2);
}

TEST_CASE("the command line wins over the file") {
  const Scenario scenario = good("{members: 9, seed: 3}", {.seed = 12, .members = 200});
  CHECK(scenario.world.seed == 12);
  CHECK(scenario.nodes == 200);
}

TEST_CASE("what is wrong in a scenario file is said with its place and its remedy") {
  const std::pair<const char*, const char*> cases[] = {
      {"", "test.yaml: the file is empty"},
      {"- 1\n", "test.yaml:1:1: a scenario must hold 'key: value' lines"},
      {"members: [\n", "test.yaml:2:1: not valid YAML: end of sequence flow not found"},
      {"memberz: 50\n",
       "test.yaml:1:1: unknown key 'memberz' in a scenario; did you mean "
       "'members'?"},
      {"name: x\n", "test.yaml:1:1: no 'members:'; say how many there are, such as members: 50"},
      {"members: 1\n", "test.yaml:1:10: members: '1' is not a whole number from 2 to 20000"},
      {"members: 5\nmembers: 6\n",
       "test.yaml:2:1: the key 'members' is there twice; keep one of them"},
      {"members: 5\nlength: 20\n",
       "test.yaml:2:9: length: '20' is not a time with its unit, such "
       "as 250ms or 20s"},
      {"members: 5\nnetwork: {loss: 5}\n",
       "test.yaml:2:17: loss: '5' is not a share from 0 % to 100 %, such as 1%"},
      {"members: 5\nnetwork: {profile: moon}\n",
       "test.yaml:2:20: profile: 'moon' is neither lan nor wan"},
      {"members: 5\nnode: {suspicion-mim: 3s}\n",
       "test.yaml:2:8: unknown key 'suspicion-mim' in "
       "node; did you mean 'suspicion-min'?"},
      {"members: 5\nsteps: [{at: 1s, crush: 3}]\n",
       "test.yaml:2:18: unknown key 'crush' in a step; did you mean 'crash'?"},
      {"members: 5\nsteps: [{at: 1s, crash: 5}]\n",
       "test.yaml:2:25: member 5 is not there; they are 0 to 4"},
      {"members: 5\nsteps: [{at: 1s, crash: bob}]\n",
       "test.yaml:2:25: 'bob' names no members; use a number, 10..19, 5%, random 3, zone 2, all, "
       "not 3, a group's name or a list of these"},
      {"members: 5\nsteps: [{at: 1s, crash: 4..2}]\n",
       "test.yaml:2:25: '4..2' is empty; write the smaller number first"},
      {"members: 5\nsteps: [{at: 1s, crash: random 9}]\n",
       "test.yaml:2:25: 'random 9': use random 1 to random 5"},
      {"members: 5\nsteps: [{at: 1s, crash: zone 1}]\n",
       "test.yaml:2:25: 'zone 1': use zone 0 to zone 0, or raise 'zones:' under network"},
      {"members: 5\nsteps: [{crash: 3}]\n",
       "test.yaml:2:9: a step without 'at:'; say when, such as at: 10s"},
      {"members: 5\nsteps: [{at: 1s, crash: 3, pause: 4}]\n",
       "test.yaml:2:28: a second thing to do in one step; write 'pause' as a step of its own"},
      {"members: 5\nsteps: [{at: 1s, egress-loss: 80%}]\n",
       "test.yaml:2:9: 'egress-loss' needs 'members:'; say whom it hits, such as members: 1%"},
      {"members: 5\nsteps: [{at: 1s, crash: 3, members: 4}]\n",
       "test.yaml:2:37: 'members:' does not go with 'crash'; write crash: and the members behind "
       "it"},
      {"members: 5\nsteps: [{at: 1s, leave: 3, for: 4s}]\n",
       "test.yaml:2:33: 'for:' does not go with 'leave', which happens at once"},
      {"members: 5\nsteps: [{at: 1s, clog: 3}]\n",
       "test.yaml:2:9: 'clog' needs 'for:'; say how long it lasts, such as for: 10s"},
      {"members: 5\nsteps: [{at: 1s, cut: 3}]\n",
       "test.yaml:2:23: 'cut' takes two members, such as [3, 7]: from 3 to 7"},
      {"members: 5\nsteps: [{at: 1s, slow: 90s, members: 2}]\n",
       "test.yaml:2:24: slow: use 0 s to 60.0 s"},
      {"members: 5\nlength: 10s\nsteps: [{at: 11s, crash: 3}]\n",
       "test.yaml:3:14: at: 11s is after the end (length: 10s)"},
      {"members: 5\nsteps: [{at: 1s, every: 1s, event: 3}]\n",
       "test.yaml:2:9: 'every:' without an end; add 'until:' here or 'length:' to the file"},
      {"members: 5\nexpect: {detected: 8s}\n",
       "test.yaml:2:10: unknown key 'detected' in expect; known are agree-within, boot-within, "
       "detected-within, event-within, first-detection-within, cut-off-failures, "
       "disturbed-failures, false-failures and packets-per-second"},
  };
  for (const auto& [text, message] : cases) {
    INFO(text);
    CHECK(error_of(text) == message);
  }
}

TEST_CASE("a file that is not there is an error that says where some are") {
  const auto file = read_scenario("/nonexistent/x.yaml");
  REQUIRE_FALSE(file);
  CHECK(file.error().message ==
        "/nonexistent/x.yaml: cannot be read; the shipped scenarios are in examples/simulation/");
}

TEST_CASE("a drawn scenario is written and read back as it was") {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Scenario drawn = draw_scenario(seed);
    const std::string text = write_scenario(drawn, "drawn");
    const Scenario read = good(text);
    std::erase_if(drawn.steps, [&](const Step& step) { return step.at > drawn.chaos; });
    INFO(text);
    REQUIRE(write_scenario(read, "drawn") == text);
    REQUIRE(read.steps.size() == drawn.steps.size());
    for (size_t i = 0; i < read.steps.size(); ++i) {
      REQUIRE(read.steps[i].at == drawn.steps[i].at);
      REQUIRE(read.steps[i].kind == drawn.steps[i].kind);
      const StepInfo& info = step_info(read.steps[i].kind);
      if (info.nodes != StepInfo::Nodes::kNone) {
        REQUIRE(read.steps[i].nodes == drawn.steps[i].nodes);
      }
      if (!info.amount.empty()) REQUIRE(read.steps[i].amount == drawn.steps[i].amount);
      REQUIRE(read.steps[i].length == drawn.steps[i].length);
    }
  }
}

TEST_CASE("a drawn scenario runs the same from its file") {
  SwarmOptions small;
  small.nodes_max = 12;
  for (uint64_t seed = 1; seed <= 15; ++seed) {
    const Scenario drawn = draw_scenario(seed, small);
    const Scenario read = good(write_scenario(drawn));
    INFO(seed);
    CHECK(run_scenario(read).trace_hash == run_scenario(drawn).trace_hash);
  }
}

}  // namespace
}  // namespace starling::simulation
