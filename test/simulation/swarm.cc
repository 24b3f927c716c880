// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/swarm.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

namespace starling::simulation {

namespace {

class Draw {
 public:
  Draw(uint64_t seed, const SwarmOptions& options)
      : options_(options), random_(mix64(seed ^ 0x737761726d)) {
    scenario_.name = "swarm";
    scenario_.world.seed = seed;
  }

  Scenario run();

 private:
  Duration between(Duration min, Duration max) {
    return min + Duration(static_cast<int64_t>(random_.unit() *
                                               static_cast<double>((max - min).count())));
  }
  Duration moment() { return between(0s, scenario_.chaos); }
  NodeIndex any() { return static_cast<NodeIndex>(random_.below(scenario_.nodes)); }
  /// 1 .. at most this share of all.
  std::vector<NodeIndex> some(double share) {
    std::vector<NodeIndex> all(scenario_.nodes);
    std::iota(all.begin(), all.end(), 0U);
    const auto most = static_cast<size_t>(share * static_cast<double>(scenario_.nodes));
    return random_.sample(all, 1 + random_.below(std::max<size_t>(most, 1)));
  }
  void add(Duration at, StepKind kind, std::vector<NodeIndex> nodes = {}, double amount = 0) {
    scenario_.steps.push_back(
        {.at = at, .kind = kind, .nodes = std::move(nodes), .amount = amount});
  }
  /// Something that starts and, `length` later at most, ends.
  void episode(StepKind begin, StepKind end, const std::vector<NodeIndex>& nodes, double amount,
               Duration length) {
    const Duration at = moment();
    add(at, begin, nodes, amount);
    add(at + length, end, nodes);
  }

  void links();
  void partitions();
  void pauses();
  void crashes();
  void commands();

  SwarmOptions options_;
  Random random_;
  Scenario scenario_;
};

void Draw::links() {
  LinkModel& model = scenario_.world.links;
  if (random_.chance(0.15)) model = LinkModel::wan();
  if (random_.chance(0.5)) {
    add(moment(), StepKind::kLoss, {}, random_.unit() * (random_.chance(0.2) ? 0.4 : 0.2));
  }
  if (random_.chance(0.4)) add(moment(), StepKind::kDuplication, {}, random_.unit() * 0.2);
  if (random_.chance(0.4)) add(moment(), StepKind::kReordering, {}, random_.unit() * 0.3);
  if (random_.chance(0.3)) {
    const StepKind kind = random_.chance(0.5) ? StepKind::kIngressLoss : StepKind::kEgressLoss;
    episode(kind, kind, some(0.1), 0.3 + random_.unit() * 0.7, between(1s, 30s));
  }
  if (random_.chance(0.3)) {
    for (size_t i = 0; i < 1 + scenario_.nodes / 10; ++i) {
      const NodeIndex from = any();
      const NodeIndex to = any();
      if (from != to) add(moment(), StepKind::kCut, {from, to});
    }
    if (random_.chance(0.5)) add(moment(), StepKind::kMend);
  }
}

void Draw::partitions() {
  if (!random_.chance(0.4)) return;
  for (size_t i = 1 + random_.below(3); i > 0; --i) {
    episode(StepKind::kPartition, StepKind::kHeal, some(random_.chance(0.5) ? 0.5 : 0.1), 0,
            between(500ms, 40s));
  }
}

void Draw::pauses() {
  if (!random_.chance(0.4)) return;
  for (size_t i = 1 + random_.below(4); i > 0; --i) {
    episode(StepKind::kPause, StepKind::kResume, some(0.2), 0,
            random_.chance(0.7) ? between(10ms, 2400ms) : between(2500ms, 30s));
  }
}

void Draw::crashes() {
  if (!random_.chance(0.6)) return;
  for (size_t i = 1 + random_.below(4); i > 0; --i) {
    const std::vector<NodeIndex> nodes = some(0.15);
    const Duration at = moment();
    add(at, random_.chance(0.5) ? StepKind::kCrash : StepKind::kHostDown, nodes);
    const double fate = random_.unit();
    if (fate < 0.4) {
      add(at + between(10ms, 30s), StepKind::kRestart, nodes);
    } else if (fate < 0.5) {
      add(at + between(10ms, 30s), StepKind::kRestartMoved, nodes);
    } else if (fate < 0.65) {
      add(at + between(10ms, 30s), StepKind::kRestartFresh, nodes);
    } else if (fate < 0.8) {
      scenario_.back.insert(scenario_.back.end(), nodes.begin(), nodes.end());
    }
  }
}

void Draw::commands() {
  for (size_t i = random_.below(30); i > 0; --i) add(moment(), StepKind::kEvent, {any()});
  for (size_t i = random_.below(6); i > 0; --i) add(moment(), StepKind::kQuery, {any()});
  for (size_t i = random_.below(6); i > 0; --i) add(moment(), StepKind::kTags, {any()});
  if (random_.chance(0.3)) add(moment(), StepKind::kLeave, some(0.1));
  if (random_.chance(0.3)) {
    for (size_t i = 1 + random_.below(3); i > 0; --i) add(moment(), StepKind::kAddNode);
  }
}

Scenario Draw::run() {
  // Small clusters have more odd cases and cost less: sizes are drawn evenly on a log scale.
  const double low = std::log(static_cast<double>(options_.nodes_min));
  const double high = std::log(static_cast<double>(options_.nodes_max) + 1);
  scenario_.nodes = std::min(options_.nodes_max,
                             static_cast<size_t>(std::exp(low + random_.unit() * (high - low))));
  scenario_.chaos = between(options_.chaos_min, options_.chaos_max);
  scenario_.world.refusals = random_.chance(0.7);
  scenario_.world.clock_skew_ppm = random_.chance(0.1) ? 20'000 : 200;
  links();
  partitions();
  pauses();
  crashes();
  commands();
  std::sort(scenario_.steps.begin(), scenario_.steps.end(), [](const Step& a, const Step& b) {
    return std::tie(a.at, a.kind, a.nodes) < std::tie(b.at, b.kind, b.nodes);
  });
  return std::move(scenario_);
}

}  // namespace

Scenario draw_scenario(uint64_t seed, const SwarmOptions& options) {
  return Draw(seed, options).run();
}

}  // namespace starling::simulation
