// SPDX-License-Identifier: Apache-2.0
//
// Recorder: an observer that keeps what a summary and a picture of one run need: who noticed which
// failure when, whom who took for failed wrongly, how events and queries spread, what went over the
// wire in each second. Memory grows with members times failures and events: for scenarios that
// people look at, not for the swarm.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "test/simulation/observer.h"
#include "test/simulation/scenario.h"
#include "test/simulation/tool/step_words.h"

namespace starling::simulation {

/// A process that ended without leaving, and who noticed.
struct Failure {
  NodeIndex node = kNoNode;
  TimePoint at;
  StopKind kind = StopKind::kCrash;
  TimePoint ended = kNever;             ///< when a process ran there again
  std::vector<NodeIndex> watchers;      ///< ran then, undisturbed and not cut off from it
  std::map<NodeIndex, TimePoint> seen;  ///< first notice at each process
  /// From the end of the process: until the first, half and all of the watchers that still run
  /// knew. None while that has not happened.
  std::optional<Duration> first;
  std::optional<Duration> median;
  std::optional<Duration> all;
  size_t missing = 0;  ///< watchers that never knew
};

/// Why a running member may have been taken for failed.
enum class Cause : uint8_t {
  kHealthy,    ///< for no reason: no fault was aimed at it
  kDisturbed,  ///< a fault was aimed at it, at that time or within the last minute
  kCutOff,     ///< a partition or a cut was between the two
};

struct FalseFailure {
  TimePoint at;
  NodeIndex observer = kNoNode;
  NodeIndex subject = kNoNode;
  Cause cause = Cause::kHealthy;
};

/// A change of what `observer` shows about `subject`.
struct Shown {
  TimePoint at;
  NodeIndex observer = kNoNode;
  NodeIndex subject = kNoNode;
  bool failed = false;
};

/// How one event or query spread: for events arrivals at handlers, for queries complete answers.
struct Spread {
  std::string name;
  TimePoint at;
  NodeIndex origin = kNoNode;
  size_t expected = 0;             ///< members that were up
  std::vector<Duration> arrivals;  ///< ascending
  std::optional<Duration> ended;   ///< of a query
  /// When `share` (0..1] of the expected had it.
  [[nodiscard]] std::optional<Duration> reached(double share) const;
};

/// What all processes sent in one second of virtual time.
struct Traffic {
  uint64_t datagrams = 0;
  uint64_t bytes = 0;  ///< streams too
  size_t members = 0;  ///< that ran at its beginning
  uint64_t worst = 0;  ///< datagrams of the busiest process
  NodeIndex worst_node = kNoNode;
};

struct Record {
  TimePoint begin = kNever;  ///< from which steps are counted
  TimePoint healing = kNever;
  TimePoint agreed = kNever;
  TimePoint end = kNever;
  size_t members = 0;  ///< at the end
  std::vector<Episode> episodes;
  std::vector<Failure> failures;
  std::vector<FalseFailure> false_failures;
  std::vector<Shown> shown;
  std::vector<Spread> events;
  std::vector<Spread> queries;
  std::vector<Traffic> traffic;  ///< by second since kStart

  [[nodiscard]] size_t count(Cause cause) const;
  /// Time of the timeline; negative in the boot.
  [[nodiscard]] Duration offset(TimePoint at) const { return at - begin; }
  /// Second of `traffic` with the busiest process after the boot; none before it.
  [[nodiscard]] std::optional<size_t> worst_second() const;
};

class Recorder : public Observer {
 public:
  /// The world must outlive it.
  Recorder(World& world, const Scenario& scenario);

  void phase(Phase phase);
  /// When the run has ended; call once. The world may be gone.
  [[nodiscard]] Record take();

  // Observer
  void process_started(NodeIndex node, bool with_state) override;
  void process_stopping(NodeIndex node, StopKind kind) override;
  void event_accepted(NodeIndex node, const membership::MessageId& id, std::string_view name,
                      std::string_view payload) override;
  void query_started(NodeIndex node, const membership::QueryHandle& query) override;
  void action(NodeIndex node, const membership::Action& action) override;
  void sweep(NodeIndex node) override;

 private:
  struct Flying {
    Spread spread;
    std::vector<bool> expected;  ///< by node
    std::vector<bool> arrived;
    std::map<std::string, bool> answered;  ///< by name
  };
  void member_event(NodeIndex node, const membership::MemberEvent& event);
  void noticed(NodeIndex observer, NodeIndex subject);
  void show(NodeIndex observer, NodeIndex subject, bool failed);
  [[nodiscard]] Cause cause(NodeIndex observer, NodeIndex subject) const;
  /// It lasts, or has ended lately.
  [[nodiscard]] bool active(const Episode& episode) const;
  [[nodiscard]] bool apart(const Episode& episode, NodeIndex a, NodeIndex b) const;
  [[nodiscard]] bool aimed_at(const Episode& episode, NodeIndex node) const;
  void sent(NodeIndex node, size_t bytes, bool datagram);
  [[nodiscard]] std::vector<NodeIndex> watchers(NodeIndex subject) const;
  void finish(Failure& failure) const;
  void start_spread(Flying& flying, NodeIndex node, const std::string& name);

  World& world_;
  Record record_;
  std::unordered_map<membership::NodeId, NodeIndex> members_;
  std::vector<std::optional<size_t>> open_;      ///< by node: its failure that lasts
  std::map<NodeIndex, TimePoint> stopped_;       ///< for finish(): who no longer ran at the end
  std::vector<std::vector<bool>> shows_failed_;  ///< by observer, by subject
  std::map<membership::MessageId, Flying> events_;
  std::map<membership::MessageId, Flying> queries_;
  std::vector<uint32_t> this_second_;  ///< datagrams by node
  size_t second_ = 0;
};

}  // namespace starling::simulation
