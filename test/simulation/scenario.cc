// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/scenario.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <unordered_map>

#include "test/simulation/hostile.h"

namespace starling::simulation {

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
constexpr Duration kBetweenLies = 100ms;
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
    result_.packets_per_change_max = checker_.packets_per_change_max();
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
  void reunite();
  void finale();
  void begin_step(const Step& step);
  void end_step(const Step& step);
  void link_step(const Step& step, double amount, bool on);
  void process_step(const Step& step, NodeIndex node);
  void command_step(StepKind kind, NodeIndex node);
  void lie(NodeIndex node, TimePoint until);
  void end_process_step(StepKind kind, NodeIndex node);
  /// The step's nodes, as far as there are any.
  std::vector<NodeIndex> existing(const Step& step) const;
  /// Some members that are part of the cluster.
  std::vector<NodeIndex> seeds() const;
  bool ended(NodeIndex node) const { return !world_.running(node) && !world_.host(node).left; }

  const Scenario& scenario_;
  const Progress& progress_;
  World world_;
  Checker checker_;
  ScenarioResult result_;
  unsigned counter_ = 0;
  // Of their own, so that the world draws the same without them.
  membership::Random lies_{mix64(scenario_.world.seed ^ 0x6c696573)};
  bool healing_ = false;
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
    if (step.at <= scenario_.chaos) world_.at(begin + step.at, [this, &step] { begin_step(step); });
    const Duration end = step.at + step.length;
    if (step.length > Duration::zero() && end <= scenario_.chaos) {
      world_.at(begin + end, [this, &step] { end_step(step); });
    }
  }
  world_.run_until(begin + scenario_.chaos);
}

void Player::begin_step(const Step& step) {
  switch (step.kind) {
    case StepKind::kPartition:
      world_.partition({existing(step)});
      break;
    case StepKind::kPartitionZone:
      world_.partition_zone(static_cast<unsigned>(step.amount));
      break;
    case StepKind::kPartitionZones:
      world_.partition_zones();
      break;
    case StepKind::kHeal:
      world_.heal();
      break;
    case StepKind::kAddNode:
      world_.join(world_.add_node(), seeds());
      break;
    default:
      if (step.kind < StepKind::kPartition || step.kind == StepKind::kCut ||
          step.kind == StepKind::kMend) {
        link_step(step, step.amount, true);
      } else {
        for (const NodeIndex node : existing(step)) process_step(step, node);
      }
  }
}

void Player::end_step(const Step& step) {
  const LinkModel& usual = scenario_.world.links;
  switch (step.kind) {
    case StepKind::kLoss:
      link_step(step, usual.loss, false);
      break;
    case StepKind::kDuplication:
      link_step(step, usual.duplication, false);
      break;
    case StepKind::kReordering:
      link_step(step, usual.reordering, false);
      break;
    case StepKind::kSpikes:
      link_step(step, usual.spikes, false);
      break;
    case StepKind::kPartition:
    case StepKind::kPartitionZone:
    case StepKind::kPartitionZones:
      world_.heal();
      break;
    default:
      if (step.kind < StepKind::kPartition || step.kind == StepKind::kCut) {
        link_step(step, 0, false);
      } else {
        for (const NodeIndex node : existing(step)) end_process_step(step.kind, node);
      }
  }
}

/// Sets what all links, or those of some hosts, do: to `amount`, or for a cut, `on` or off.
void Player::link_step(const Step& step, double amount, bool on) {
  const auto all = [&](const auto& change) {
    world_.change_links([&](Network& network) { change(network.model()); });
  };
  const auto each = [&](const auto& change) {
    for (const NodeIndex node : existing(step)) {
      world_.change_links([&](Network& network) { change(network, node); }, node);
    }
  };
  const auto pair = [&](const auto& change) {
    const std::vector<NodeIndex> nodes = existing(step);
    if (nodes.size() < 2 || nodes[0] == nodes[1]) return;
    world_.change_links([&](Network& network) { change(network, nodes[0], nodes[1]); });
  };
  const auto latency = Duration(static_cast<int64_t>(amount * 1e9));
  switch (step.kind) {
    case StepKind::kLoss:
      return all([&](LinkModel& model) { model.loss = amount; });
    case StepKind::kDuplication:
      return all([&](LinkModel& model) { model.duplication = amount; });
    case StepKind::kReordering:
      return all([&](LinkModel& model) { model.reordering = amount; });
    case StepKind::kSpikes:
      return all([&](LinkModel& model) { model.spikes = amount; });
    case StepKind::kLatency:
      if (step.nodes.empty()) return all([&](LinkModel& model) { model.extra_latency = latency; });
      return each([&](Network& n, NodeIndex node) { n.set_extra_latency(node, latency); });
    case StepKind::kIngressLoss:
      return each([&](Network& n, NodeIndex node) { n.set_ingress_loss(node, amount); });
    case StepKind::kEgressLoss:
      return each([&](Network& n, NodeIndex node) { n.set_egress_loss(node, amount); });
    case StepKind::kBandwidth:
      return each([&](Network& n, NodeIndex node) { n.set_bandwidth(node, amount); });
    case StepKind::kMtu:
      return each(
          [&](Network& n, NodeIndex node) { n.set_mtu(node, static_cast<size_t>(amount)); });
    case StepKind::kLinkLoss:
      return pair([&](Network& n, NodeIndex a, NodeIndex b) { n.set_link_loss(a, b, amount); });
    case StepKind::kCut:
      return pair([&](Network& n, NodeIndex a, NodeIndex b) { on ? n.cut(a, b) : n.mend(a, b); });
    case StepKind::kMend:
      return world_.change_links([](Network& network) { network.mend_all(); });
    default:
      break;
  }
}

std::vector<NodeIndex> Player::existing(const Step& step) const {
  std::vector<NodeIndex> nodes = step.nodes;
  std::erase_if(nodes, [&](NodeIndex node) { return node >= world_.size(); });
  if (step_info(step.kind).nodes == StepInfo::Nodes::kFirst && nodes.size() > 1) nodes.resize(1);
  return nodes;
}

void Player::process_step(const Step& step, NodeIndex node) {
  const auto time = Duration(static_cast<int64_t>(step.amount * 1e9));
  switch (step.kind) {
    case StepKind::kFlap:
      return world_.flap(node, time);
    case StepKind::kClog:
      return world_.clog(node, step.length);
    case StepKind::kPause:
      return world_.pause(node);
    case StepKind::kResume:
      return world_.resume(node);
    case StepKind::kBlock:
      return world_.block(node);
    case StepKind::kUnblock:
      return world_.unblock(node);
    case StepKind::kSlow:
      return world_.slow_down(node, time);
    case StepKind::kClockRate:
      return world_.set_clock_skew(node, static_cast<int64_t>((step.amount - 1) * 1e6));
    case StepKind::kClockJump:
      return world_.jump_clock(node, time);
    case StepKind::kDiskFull:
      return world_.fill_disk(node);
    case StepKind::kDiskFree:
      return world_.free_disk(node);
    case StepKind::kCrash:
      return world_.crash(node);
    case StepKind::kHostDown:
      return world_.crash(node, StopKind::kHostDown);
    case StepKind::kHostile:
      return lie(node, world_.now() + step.length);
    case StepKind::kRestart:
      if (ended(node)) world_.restart(node);
      return;
    case StepKind::kRestartMoved:
      if (ended(node)) world_.restart_moved(node);
      return;
    case StepKind::kRestartFresh:
      if (ended(node)) world_.restart_fresh(node, seeds());
      return;
    default:
      if (world_.usable(node)) command_step(step.kind, node);
  }
}

void Player::lie(NodeIndex node, TimePoint until) {
  if (world_.now() >= until || healing_) return;
  tell_lies(world_, node, lies_of_a_member(), lies_);
  world_.at(world_.now() + kBetweenLies, [this, node, until] { lie(node, until); });
}

void Player::command_step(StepKind kind, NodeIndex node) {
  const std::string number = std::to_string(++counter_);
  if (kind == StepKind::kLeave) world_.leave(node);
  if (kind == StepKind::kTags) {
    (void)world_.set_tags(node, {{"role", "r" + number}, {"node", world_.host(node).name}});
  }
  if (kind == StepKind::kEvent) {
    (void)world_.send_event(node, "event-" + number, "payload of " + number);
  }
  if (kind == StepKind::kQuery) (void)world_.send_query(node, query("query-" + number, number));
}

void Player::end_process_step(StepKind kind, NodeIndex node) {
  switch (kind) {
    case StepKind::kFlap:
      return world_.flap(node, {});
    case StepKind::kPause:
      return world_.resume(node);
    case StepKind::kBlock:
      return world_.unblock(node);
    case StepKind::kSlow:
      return world_.slow_down(node, {});
    case StepKind::kClockRate:
      return world_.set_clock_skew(node, 0);
    case StepKind::kDiskFull:
      return world_.free_disk(node);
    case StepKind::kCrash:
    case StepKind::kHostDown:
      if (ended(node)) world_.restart(node);
      return;
    default:
      return;
  }
}

void Player::recover() {
  healing_ = true;
  world_.end_faults();
  for (const NodeIndex node : scenario_.back) {
    if (ended(node)) world_.restart(node);
  }
  // Whose seeds have all gone for good needs new ones.
  for (const NodeIndex node : world_.usable_nodes()) {
    if (world_.host(node).joined == kNever) world_.join(node, seeds());
  }
  reunite();
  result_.recovery = checker_.require_convergence(scenario_.liveness_bound);
}

/// Members of which none knows any of the others, alive or dead, where it is now, never find each
/// other: an operator must introduce them.
void Player::reunite() {
  const std::vector<NodeIndex> nodes = world_.usable_nodes();
  std::unordered_map<membership::NodeId, NodeIndex> owners;
  std::vector<NodeIndex> root(world_.size());
  std::iota(root.begin(), root.end(), 0U);
  const auto find = [&root](NodeIndex node) {
    while (root[node] != node) node = root[node] = root[root[node]];
    return node;
  };
  for (const NodeIndex node : nodes) owners[world_.host(node).id] = node;
  for (const NodeIndex node : nodes) {
    const auto knows = [&](NodeIndex other, const membership::Address& address) {
      if (address == world_.host(other).address) root[find(other)] = find(node);
    };
    for (const membership::Member& member : world_.node(node).members()) {
      const auto other = owners.find(member.id);
      if (other == owners.end() || member.status == membership::Status::kLeft) continue;
      knows(other->second, member.address);
    }
    world_.host(node).disk.visit_members([&](const WrittenMembers::KnownMember& member) {
      const auto other = owners.find(member.id);
      if (other != owners.end()) knows(other->second, member.address);
    });
  }
  for (const NodeIndex node : nodes) {
    if (find(node) == find(nodes.front())) continue;
    world_.join(node, {nodes.front()});
    root[find(node)] = find(nodes.front());
  }
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
