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
  /// Evenly on a log scale.
  double scale(double min, double max) { return min * std::pow(max / min, random_.unit()); }
  Step& add(StepKind kind, std::vector<NodeIndex> nodes = {}, double amount = 0,
            Duration length = {}) {
    scenario_.steps.push_back({.at = moment(),
                               .kind = kind,
                               .nodes = std::move(nodes),
                               .amount = amount,
                               .length = length});
    return scenario_.steps.back();
  }
  /// Some pair of members.
  std::vector<NodeIndex> pair() {
    const NodeIndex from = any();
    return {from, static_cast<NodeIndex>((from + 1 + random_.below(scenario_.nodes - 1)) %
                                         scenario_.nodes)};
  }

  void size();
  void conditions();
  void links();
  void wires();
  void routes();
  void partitions();
  void stalls();
  void hosts();
  void crashes();
  void commands();
  void hostile();

  SwarmOptions options_;
  Random random_;
  Scenario scenario_;
};

void Draw::size() {
  const double kind = random_.unit();
  const auto low = static_cast<double>(options_.nodes_min);
  const auto high = static_cast<double>(options_.nodes_max);
  double nodes = 0;
  if (kind < 0.6) {
    nodes = scale(low, std::max(low, std::min(12.0, high)) + 1);
  } else if (kind < 0.95) {
    nodes = scale(std::max(low, 12.0), 41);
  } else {
    nodes = scale(std::max(low, 40.0), std::max(high, 40.0) + 1);
  }
  scenario_.nodes = std::min(options_.nodes_max, static_cast<size_t>(nodes));
  scenario_.chaos = options_.chaos_min + between(0s, options_.chaos_max - options_.chaos_min) *
                                             static_cast<int64_t>(1 + random_.below(4)) / 4;
}

/// What holds for the whole run.
void Draw::conditions() {
  LinkModel& model = scenario_.world.links;
  if (random_.chance(0.15)) model = LinkModel::wan();
  if (random_.chance(0.15)) model.zones = 2 + static_cast<unsigned>(random_.below(3));
  constexpr JitterShape kShapes[] = {JitterShape::kConstant, JitterShape::kUniform,
                                     JitterShape::kLognormal};
  if (random_.chance(0.4)) model.jitter_shape = kShapes[random_.below(std::size(kShapes))];
  if (random_.chance(0.1)) model.jitter *= 10;
  scenario_.world.refusals = random_.chance(0.7);
  scenario_.world.clock_skew_ppm = random_.chance(0.1) ? 20'000 : 200;
}

void Draw::links() {
  const auto lasts = [this] { return random_.chance(0.5) ? between(1s, 40s) : Duration::zero(); };
  if (random_.chance(0.5)) {
    add(StepKind::kLoss, {}, random_.unit() * (random_.chance(0.2) ? 0.4 : 0.2), lasts());
  }
  if (random_.chance(0.3)) add(StepKind::kDuplication, {}, random_.unit() * 0.2, lasts());
  if (random_.chance(0.3)) add(StepKind::kReordering, {}, random_.unit() * 0.3, lasts());
  if (random_.chance(0.15)) add(StepKind::kSpikes, {}, random_.unit() * 0.2, lasts());
  if (random_.chance(0.1)) add(StepKind::kLatency, {}, scale(0.002, 0.5), lasts());
}

/// Trouble at the wires of some hosts.
void Draw::wires() {
  const auto lasts = [this] { return between(1s, 30s); };
  if (random_.chance(0.3)) {
    add(random_.chance(0.5) ? StepKind::kIngressLoss : StepKind::kEgressLoss, some(0.1),
        0.3 + random_.unit() * 0.7, lasts());
  }
  if (random_.chance(0.15)) add(StepKind::kLatency, some(0.2), scale(0.005, 1), lasts());
  if (random_.chance(0.1)) add(StepKind::kBandwidth, some(0.2), scale(2e3, 1e6), lasts());
  if (random_.chance(0.1)) add(StepKind::kMtu, some(0.2), scale(200, 1400), lasts());
  if (random_.chance(0.15)) add(StepKind::kFlap, some(0.15), scale(0.1, 20), lasts());
  if (random_.chance(0.15)) add(StepKind::kClog, some(0.1), 0, between(2s, 30s));
}

/// Trouble on single links.
void Draw::routes() {
  const StepKind kind = random_.chance(0.7) ? StepKind::kCut : StepKind::kLinkLoss;
  if (!random_.chance(0.35)) return;
  for (size_t i = 0; i < 1 + scenario_.nodes / 10; ++i) {
    add(kind, pair(), kind == StepKind::kLinkLoss ? 0.2 + 0.8 * random_.unit() : 0,
        random_.chance(0.5) ? between(1s, 40s) : Duration::zero());
  }
  if (random_.chance(0.3)) add(StepKind::kMend);
}

void Draw::partitions() {
  if (!random_.chance(0.4)) return;
  for (size_t i = 1 + random_.below(3); i > 0; --i) {
    const Duration length = between(500ms, 40s);
    const unsigned zones = scenario_.world.links.zones;
    if (zones > 1 && random_.chance(0.6)) {
      const bool all = random_.chance(0.3);
      add(all ? StepKind::kPartitionZones : StepKind::kPartitionZone, {},
          all ? 0 : static_cast<double>(random_.below(zones)), length);
    } else {
      add(StepKind::kPartition, some(random_.chance(0.5) ? 0.5 : 0.1), 0, length);
    }
  }
}

void Draw::stalls() {
  for (const StepKind kind : {StepKind::kPause, StepKind::kBlock}) {
    if (!random_.chance(0.35)) continue;
    for (size_t i = 1 + random_.below(4); i > 0; --i) {
      add(kind, some(0.2), 0, random_.chance(0.7) ? between(10ms, 2400ms) : between(2500ms, 30s));
    }
  }
}

void Draw::hosts() {
  if (random_.chance(0.2)) add(StepKind::kSlow, some(0.2), scale(1e-4, 0.3), between(1s, 30s));
  if (random_.chance(0.15)) {
    const double range = random_.chance(0.8) ? 1.05 : 1.5;
    add(StepKind::kClockRate, some(0.3), scale(1 / range, range),
        random_.chance(0.5) ? between(1s, 30s) : Duration::zero());
  }
  if (random_.chance(0.15)) add(StepKind::kClockJump, some(0.2), scale(0.01, 100));
  if (random_.chance(0.2)) add(StepKind::kDiskFull, some(0.3), 0, between(5s, 60s));
}

void Draw::crashes() {
  if (!random_.chance(0.6)) return;
  for (size_t i = 1 + random_.below(4); i > 0; --i) {
    const std::vector<NodeIndex> nodes = some(0.15);
    const StepKind kind = random_.chance(0.5) ? StepKind::kCrash : StepKind::kHostDown;
    const Duration down = between(10ms, 30s);
    const double fate = random_.unit();
    const Duration at = add(kind, nodes, 0, fate < 0.4 ? down : Duration::zero()).at;
    if (fate >= 0.4 && fate < 0.5) add(StepKind::kRestartMoved, nodes).at = at + down;
    if (fate >= 0.5 && fate < 0.65) add(StepKind::kRestartFresh, nodes).at = at + down;
    if (fate >= 0.65 && fate < 0.8) {
      scenario_.back.insert(scenario_.back.end(), nodes.begin(), nodes.end());
    }
  }
}

void Draw::commands() {
  for (size_t i = random_.below(30); i > 0; --i) add(StepKind::kEvent, {any()});
  for (size_t i = random_.below(6); i > 0; --i) add(StepKind::kQuery, {any()});
  for (size_t i = random_.below(6); i > 0; --i) add(StepKind::kTags, {any()});
  if (random_.chance(0.3)) add(StepKind::kLeave, some(0.1));
  if (random_.chance(0.3)) {
    for (size_t i = 1 + random_.below(3); i > 0; --i) add(StepKind::kAddNode);
  }
}

/// From a source of its own, last of all.
void Draw::hostile() {
  random_ = Random(mix64(scenario_.world.seed ^ 0x6c696172));
  for (size_t i = 1 + random_.below(3); i > 0; --i) {
    add(StepKind::kHostile, some(0.1), 0, between(1s, 30s));
  }
}

Scenario Draw::run() {
  size();
  conditions();
  links();
  wires();
  routes();
  partitions();
  stalls();
  hosts();
  crashes();
  commands();
  if (options_.hostile) hostile();
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
