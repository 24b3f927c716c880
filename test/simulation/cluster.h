// SPDX-License-Identifier: Apache-2.0
//
// For scripted scenarios: a booted cluster with its checker, and watches for single questions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "test/catch.h"
#include "test/simulation/checker.h"
#include "test/simulation/world.h"

namespace starling::simulation {

/// Notes when which process says what about whom.
class MemberWatch : public Observer {
 public:
  explicit MemberWatch(World& world) : world_(world) { world_.add_observer(this); }
  [[nodiscard]] unsigned interests() const override { return 0; }

  void action(NodeIndex node, const membership::Action& action) override {
    const auto* event = std::get_if<membership::MemberEvent>(&action);
    if (event != nullptr) notices_.push_back({world_.now(), node, *event});
  }
  void clear() { notices_.clear(); }

  struct Notice {
    TimePoint at;
    NodeIndex node;
    membership::MemberEvent event;
  };
  [[nodiscard]] const std::vector<Notice>& notices() const { return notices_; }
  /// How many processes had a notice of this kind about `id`.
  [[nodiscard]] size_t count(membership::MemberChange change, const membership::NodeId& id) const {
    return times(change, id).size();
  }
  /// First notice at each process, by process.
  [[nodiscard]] std::map<NodeIndex, TimePoint> times(membership::MemberChange change,
                                                     const membership::NodeId& id) const {
    std::map<NodeIndex, TimePoint> first;
    for (const Notice& notice : notices_) {
      if (notice.event.change == change && notice.event.member.id == id) {
        first.emplace(notice.node, notice.at);
      }
    }
    return first;
  }
  [[nodiscard]] size_t count(membership::MemberChange change) const {
    size_t n = 0;
    for (const Notice& notice : notices_) n += notice.event.change == change ? 1 : 0;
    return n;
  }

 private:
  World& world_;
  std::vector<Notice> notices_;
};

/// Notes what arrives at the handlers.
class EventWatch : public Observer {
 public:
  explicit EventWatch(World& world) : world_(world) { world_.add_observer(this); }
  [[nodiscard]] unsigned interests() const override { return 0; }
  void action(NodeIndex node, const membership::Action& action) override {
    const auto* event = std::get_if<membership::UserEventArrived>(&action);
    if (event == nullptr) return;
    ++handled[event->name][node];
    ++by_timing[event->timing][node];
  }
  std::map<std::string, std::map<NodeIndex, unsigned>> handled;  ///< by name, by node
  std::map<membership::EventTiming, std::map<NodeIndex, unsigned>> by_timing;

 private:
  World& world_;
};

class Cluster {
 public:
  explicit Cluster(const WorldOptions& options = {}, const CheckerOptions& checker = {})
      : world(options), checker(world, checker), members(world), events(world) {}

  /// `count` members that joined through the first and agree.
  void boot(size_t count) {
    while (world.size() < count) {
      const NodeIndex node = world.add_node();
      if (node > 0) {
        const auto when = Duration(static_cast<int64_t>(world.random().below(1'000'000'000)));
        world.at(world.now() + when, [this, node] { world.join(node, {0}); });
      }
    }
    world.run_for(1s);
    boot_time = checker.require_convergence(30s);
    require_clean();
    world.run_for(11s);  // after this nobody counts as new
    members.clear();
  }

  /// Fails the test with everything that the checker found.
  void require_clean() const {
    INFO(checker.report());
    REQUIRE(checker.violations().empty());
  }
  /// All agree within `bound`, and whatever must hold then does.
  Duration settle(Duration bound) {
    const Duration took = checker.require_convergence(bound);
    checker.check_quiescence();
    require_clean();
    return took;
  }
  /// How `observer` shows the member called `name`; none when it does not know it.
  [[nodiscard]] std::optional<membership::Status> shown(NodeIndex observer,
                                                        const std::string& name) const {
    const auto member = world.node(observer).member(name);
    if (!member) return std::nullopt;
    return member->status;
  }
  [[nodiscard]] bool shown_by_all(const std::string& name, membership::Status status) const {
    for (const NodeIndex node : world.usable_nodes()) {
      if (shown(node, name) != status) return false;
    }
    return true;
  }
  [[nodiscard]] const membership::NodeId& id(NodeIndex node) const { return world.host(node).id; }

  World world;
  Checker checker;
  MemberWatch members;
  EventWatch events;
  Duration boot_time{};
};

inline WorldOptions seeded(uint64_t seed) {
  WorldOptions options;
  options.seed = seed;
  return options;
}

/// Value at a share (0..1) of sorted numbers.
inline double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values.at(
      std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size()))));
}

}  // namespace starling::simulation
