// SPDX-License-Identifier: Apache-2.0
//
// Step: one line of a scenario's timeline, and what each kind of step means. A step that cannot be
// carried out (a crashed node cannot send, a node does not exist) is passed over, so a timeline
// stays valid when steps or nodes are taken from it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "test/simulation/types.h"

namespace starling::simulation {

enum class StepKind : uint8_t {
  // the network
  kLoss,
  kDuplication,
  kReordering,
  kSpikes,
  kLatency,
  kIngressLoss,
  kEgressLoss,
  kLinkLoss,
  kBandwidth,
  kMtu,
  kPartition,
  kPartitionZone,
  kPartitionZones,
  kHeal,
  kCut,
  kMend,
  kFlap,
  kClog,
  // processes and hosts
  kPause,
  kResume,
  kBlock,
  kUnblock,
  kSlow,
  kClockRate,
  kClockJump,
  kDiskFull,
  kDiskFree,
  kCrash,
  kHostDown,
  kRestart,
  kRestartMoved,
  kRestartFresh,
  kAddNode,
  kHostile,
  // commands
  kLeave,
  kTags,
  kEvent,
  kQuery,
};

struct Step {
  Duration at{};
  StepKind kind = StepKind::kHeal;
  std::vector<NodeIndex> nodes{};
  double amount = 0;
  /// How long it lasts; zero: until another step or the end of the chaos ends it.
  Duration length{};

  /// "at 12.500s pause 3 4 for 2.500s"
  [[nodiscard]] std::string to_string() const;
};

/// Which of a step's fields a kind uses, and for what.
struct StepInfo {
  enum class Nodes : uint8_t {
    kNone,
    kOptional,  ///< some, or none for all links
    kSome,      ///< one or more
    kFirst,     ///< the first one
    kPair,      ///< from nodes[0] to nodes[1]
  };
  enum class Length : uint8_t {
    kNone,      ///< happens at once
    kOptional,  ///< ends by itself after it; zero: does not
    kRequired,
  };
  StepKind kind;
  std::string_view name;  ///< in scenario files and timelines
  Nodes nodes;
  std::string_view amount;  ///< what it means and its unit; empty: not used
  double amount_min;
  double amount_max;
  Length length;
  std::string_view help;  ///< one line
};

/// All kinds, in the order of StepKind.
[[nodiscard]] std::span<const StepInfo> step_infos();
[[nodiscard]] const StepInfo& step_info(StepKind kind);
[[nodiscard]] std::string_view step_name(StepKind kind);
[[nodiscard]] std::optional<StepKind> step_kind(std::string_view name);

}  // namespace starling::simulation
