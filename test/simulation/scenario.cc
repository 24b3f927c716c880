// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/scenario.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace starling::simulation {

const char* step_name(StepKind kind) {
  switch (kind) {
    case StepKind::kLoss:
      return "loss";
    case StepKind::kDuplication:
      return "duplication";
    case StepKind::kReordering:
      return "reordering";
    case StepKind::kIngressLoss:
      return "ingress-loss";
    case StepKind::kEgressLoss:
      return "egress-loss";
    case StepKind::kPartition:
      return "partition";
    case StepKind::kHeal:
      return "heal";
    case StepKind::kCut:
      return "cut";
    case StepKind::kMend:
      return "mend";
    case StepKind::kPause:
      return "pause";
    case StepKind::kResume:
      return "resume";
    case StepKind::kCrash:
      return "crash";
    case StepKind::kHostDown:
      return "host-down";
    case StepKind::kRestart:
      return "restart";
    case StepKind::kRestartMoved:
      return "restart-moved";
    case StepKind::kRestartFresh:
      return "restart-fresh";
    case StepKind::kAddNode:
      return "add-node";
    case StepKind::kLeave:
      return "leave";
    case StepKind::kTags:
      return "tags";
    case StepKind::kEvent:
      return "event";
    case StepKind::kQuery:
      return "query";
  }
  return "?";
}

std::string Step::to_string() const {
  char text[64];
  std::snprintf(text, sizeof text, "at %8.3fs %s", seconds(at), step_name(kind));
  std::string line = text;
  for (const NodeIndex node : nodes) line += ' ' + std::to_string(node);
  if (amount > 0) {
    std::snprintf(text, sizeof text, " %.3f", amount);
    line += text;
  }
  return line;
}

std::string Scenario::to_string() const {
  std::string text = name + ": seed " + std::to_string(world.seed) + ", " + std::to_string(nodes) +
                     " nodes, " + std::to_string(world.links.zones) + " zone(s), loss " +
                     std::to_string(world.links.loss) + '\n';
  for (const Step& step : steps) text += "  " + step.to_string() + '\n';
  text += "  chaos ends at " + std::to_string(seconds(chaos)) + "s; back:";
  for (const NodeIndex node : back) text += ' ' + std::to_string(node);
  return text + '\n';
}

std::string ScenarioResult::report() const {
  std::string text;
  for (const Violation& violation : violations) text += violation.to_string() + '\n';
  return text;
}

namespace {

/// Times within which the calm cluster at the end must have spread one event and one query.
constexpr Duration kCalmEventBound = 2s;
constexpr Duration kBootSpread = 2s;
constexpr size_t kSeeds = 3;

membership::QueryOptions query(std::string name, std::string payload) {
  membership::QueryOptions options;
  options.name = std::move(name);
  options.payload = std::move(payload);
  return options;
}

class Player {
 public:
  Player(const Scenario& scenario, const Prepare& prepare, const Progress& progress)
      : scenario_(scenario),
        progress_(progress),
        world_(scenario.world),
        checker_(world_, scenario.checker) {
    if (prepare) prepare(world_);
  }

  ScenarioResult run() {
    const auto begin = std::chrono::steady_clock::now();
    boot();
    if (checker_.violations().empty()) {
      reached(Phase::kTimeline);
      play();
      reached(Phase::kHealing);
      recover();
      reached(Phase::kAgreed);
      finale();
    }
    result_.violations = checker_.violations();
    result_.trace_hash = world_.trace_hash();
    result_.virtual_time = world_.now() - kStart;
    result_.statistics = world_.statistics();
    result_.events = checker_.events().size();
    result_.queries = checker_.queries().size();
    result_.false_failures = checker_.false_failures();
    result_.packets_per_second_max = checker_.packets_per_second_max();
    result_.wall_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::move(result_);
  }

 private:
  void reached(Phase phase) const {
    if (progress_) progress_(phase, world_);
  }
  void boot();
  void play();
  void recover();
  void finale();
  void carry_out(const Step& step);
  void process_step(const Step& step, NodeIndex node);
  void link_step(const Step& step);
  /// Some members that are part of the cluster.
  std::vector<NodeIndex> seeds() const;
  bool ended(NodeIndex node) const { return !world_.running(node) && !world_.host(node).left; }

  const Scenario& scenario_;
  const Progress& progress_;
  World world_;
  Checker checker_;
  ScenarioResult result_;
  unsigned counter_ = 0;
};

/// The first node alone, the others join through it at random moments.
void Player::boot() {
  for (size_t i = 0; i < scenario_.nodes; ++i) {
    const auto when = Duration(
        static_cast<int64_t>(world_.random().unit() * static_cast<double>(kBootSpread.count())));
    const NodeIndex node = world_.add_node();
    if (node > 0) world_.at(world_.now() + when, [this, node] { world_.join(node, {0}); });
  }
  world_.run_for(kBootSpread);
  result_.boot = checker_.require_convergence(scenario_.boot_bound);
  world_.run_for(scenario_.checker.join_settling);
}

std::vector<NodeIndex> Player::seeds() const {
  std::vector<NodeIndex> nodes;
  for (const NodeIndex node : world_.usable_nodes()) {
    if (world_.host(node).joined != kNever && nodes.size() < kSeeds) nodes.push_back(node);
  }
  return nodes;
}

void Player::play() {
  const TimePoint begin = world_.now();
  for (const Step& step : scenario_.steps) {
    if (step.at <= scenario_.chaos) world_.at(begin + step.at, [this, &step] { carry_out(step); });
  }
  world_.run_until(begin + scenario_.chaos);
}

void Player::carry_out(const Step& step) {
  switch (step.kind) {
    case StepKind::kLoss:
    case StepKind::kDuplication:
    case StepKind::kReordering:
    case StepKind::kIngressLoss:
    case StepKind::kEgressLoss:
    case StepKind::kCut:
    case StepKind::kMend:
      link_step(step);
      break;
    case StepKind::kPartition:
      world_.partition({step.nodes});
      break;
    case StepKind::kHeal:
      world_.heal();
      break;
    case StepKind::kAddNode: {
      const NodeIndex node = world_.add_node();
      world_.join(node, seeds());
      break;
    }
    default:
      for (const NodeIndex node : step.nodes) process_step(step, node);
  }
}

void Player::link_step(const Step& step) {
  world_.change_links([&](Network& network) {
    switch (step.kind) {
      case StepKind::kLoss:
        network.model().loss = step.amount;
        break;
      case StepKind::kDuplication:
        network.model().duplication = step.amount;
        break;
      case StepKind::kReordering:
        network.model().reordering = step.amount;
        break;
      case StepKind::kCut:
        network.cut(step.nodes.at(0), step.nodes.at(1));
        break;
      case StepKind::kMend:
        network.mend_all();
        break;
      default:
        for (const NodeIndex node : step.nodes) {
          if (step.kind == StepKind::kIngressLoss) network.set_ingress_loss(node, step.amount);
          if (step.kind == StepKind::kEgressLoss) network.set_egress_loss(node, step.amount);
        }
    }
  });
}

void Player::process_step(const Step& step, NodeIndex node) {
  const std::string number = std::to_string(++counter_);
  switch (step.kind) {
    case StepKind::kPause:
      world_.pause(node);
      break;
    case StepKind::kResume:
      world_.resume(node);
      break;
    case StepKind::kCrash:
      world_.crash(node);
      break;
    case StepKind::kHostDown:
      world_.crash(node, StopKind::kHostDown);
      break;
    case StepKind::kRestart:
      if (ended(node)) world_.restart(node);
      break;
    case StepKind::kRestartMoved:
      if (ended(node)) world_.restart_moved(node);
      break;
    case StepKind::kRestartFresh:
      if (ended(node)) world_.restart_fresh(node, seeds());
      break;
    default:
      if (!world_.usable(node)) break;
      if (step.kind == StepKind::kLeave) world_.leave(node);
      if (step.kind == StepKind::kTags) {
        (void)world_.set_tags(node, {{"role", "r" + number}, {"node", world_.host(node).name}});
      }
      if (step.kind == StepKind::kEvent) {
        (void)world_.send_event(node, "event-" + number, "payload of " + number);
      }
      if (step.kind == StepKind::kQuery) {
        (void)world_.send_query(node, query("query-" + number, number));
      }
  }
}

void Player::recover() {
  world_.heal();
  world_.change_links([&](Network& network) {
    network.mend_all();
    network.model() = scenario_.world.links;
    for (NodeIndex node = 0; node < world_.size(); ++node) {
      network.set_ingress_loss(node, 0);
      network.set_egress_loss(node, 0);
    }
  });
  for (NodeIndex node = 0; node < world_.size(); ++node) world_.resume(node);
  for (const NodeIndex node : scenario_.back) {
    if (ended(node)) world_.restart(node);
  }
  // Whose seeds have all gone for good needs new ones.
  for (const NodeIndex node : world_.usable_nodes()) {
    if (world_.host(node).joined == kNever) world_.join(node, seeds());
  }
  result_.recovery = checker_.require_convergence(scenario_.liveness_bound);
}

/// The calm cluster must still do its work: one event, one query.
void Player::finale() {
  if (!checker_.violations().empty()) return;
  const std::vector<NodeIndex> usable = world_.usable_nodes();
  if (!usable.empty()) {
    world_.run_for(scenario_.checker.join_settling);
    const NodeIndex sender = usable[world_.random().below(usable.size())];
    const NodeIndex asker = usable[world_.random().below(usable.size())];
    const bool lossless = scenario_.world.links.loss == 0;
    const auto event = world_.send_event(sender, "finale", "the last event");
    const auto asked = world_.send_query(asker, query("finale", "the last query"));
    world_.run_for(kCalmEventBound);
    if (event) {
      checker_.require(checker_.event_spread(*event).has_value(), "event-in-time", sender,
                       "the last event is not everywhere within 2 s");
    }
    if (asked) {
      world_.run_for(asked->timeout);
      const std::string shortcoming = checker_.query_shortcoming(asked->id);
      checker_.require(!lossless || shortcoming.empty(), "query-complete", asker, shortcoming);
    }
    checker_.require_convergence(scenario_.boot_bound);
  }
  checker_.check_quiescence();
}

}  // namespace

ScenarioResult run_scenario(const Scenario& scenario, const Prepare& prepare,
                            const Progress& progress) {
  return Player(scenario, prepare, progress).run();
}

}  // namespace starling::simulation
