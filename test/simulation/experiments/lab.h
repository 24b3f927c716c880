// SPDX-License-Identifier: Apache-2.0
//
// What the experiments share: clusters of either protocol that have long been up, a note of every
// failure that is told, traffic, and runs side by side on several threads.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "test/simulation/experiments/experiments.h"
#include "test/simulation/models/memberlist.h"
#include "test/simulation/world.h"

namespace starling::simulation {

/// A row of a table: a protocol and how it is set.
struct Contender {
  std::string name;
  /// The memberlist model; none: Starling.
  std::optional<MemberlistOptions> memberlist;
  membership::Options starling = membership::Options::lan();
};

/// Serf's defaults.
Contender serf();
/// Starling's defaults.
Contender starling();
/// SWIM, with each part of Lifeguard, with all of it, and Serf as it is shipped.
std::vector<Contender> lifeguard_rows();
/// Starling, with one guard less, without all of them, and its forgiving profile.
std::vector<Contender> starling_rows();
/// Those that `rows` lists, with commas: by name, or else by a part of it. Empty: all.
std::vector<Contender> chosen(std::vector<Contender> contenders, const std::string& rows);

/// Notes every member that somebody declares failed or takes back.
class FailureLog : public Observer {
 public:
  struct Failure {
    TimePoint at;
    NodeIndex by = kNoNode;
    NodeIndex about = kNoNode;
    membership::FailureEvidence evidence;
  };
  explicit FailureLog(World& world) : world_(world) { world.add_observer(this); }
  void action(NodeIndex node, const membership::Action& action) override;
  [[nodiscard]] const std::vector<Failure>& failures() const { return failures_; }
  [[nodiscard]] size_t rejoins() const { return rejoins_; }
  void clear();

 private:
  World& world_;
  std::vector<Failure> failures_;
  size_t rejoins_ = 0;
};

/// One line about a failure of a healthy member, on stdout. `disturbed`: it is told by a member
/// that is in trouble itself.
void print_failure(const FailureLog::Failure& failure, uint64_t seed, TimePoint begin,
                   bool disturbed);

/// What all processes sent, in bytes of payload (no headers below UDP and TCP, nothing sealed).
struct Traffic {
  double datagrams = 0;
  double datagram_bytes = 0;
  double stream_messages = 0;
  double stream_bytes = 0;
  [[nodiscard]] double messages() const { return datagrams + stream_messages; }
  [[nodiscard]] double bytes() const { return datagram_bytes + stream_bytes; }
  Traffic operator-(const Traffic& other) const;
};

/// A cluster under one contender.
class Lab {
 public:
  /// `members` processes. `known`: of the memberlist model, they know each other from the start.
  Lab(const Contender& contender, uint64_t seed, size_t members, bool known = true,
      const std::function<void(WorldOptions&)>& change = {});

  /// Has the members join through the first (those that do not know each other yet) and lets the
  /// cluster come to rest. False when they do not agree within two minutes.
  bool settle();
  /// Every running process holds as many for alive as run.
  [[nodiscard]] bool agreed() const;
  [[nodiscard]] Traffic traffic() const;
  /// Suspicions that were begun so far; of the memberlist model.
  [[nodiscard]] uint64_t suspicions() const;
  [[nodiscard]] size_t members() const { return members_; }
  /// From here on chance is drawn by `seed`, but for what the members themselves draw.
  void diverge(uint64_t seed);
  /// A random time below `bound`.
  Duration random_time(Duration bound);
  /// `count` of the members, never the seed of the joins.
  std::vector<NodeIndex> draw(size_t count);

  World world;
  FailureLog log;

 private:
  bool modelled_;
  size_t members_;
  Random random_;
};

/// Calls `run(0)` .. `run(count - 1)` on `jobs` threads, each once, in any order; says on stderr
/// how far it has come.
void run_all(const std::string& what, size_t count, unsigned jobs,
             const std::function<void(size_t)>& run);

}  // namespace starling::simulation
