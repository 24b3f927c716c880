// SPDX-License-Identifier: Apache-2.0
//
// Steps for people, beside what step.h knows of them: how their values are written, a sentence that
// tells each, and how long the faults last that they begin. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "test/simulation/scenario.h"

namespace starling::simulation {

/// What the number of a step is, as people write it.
enum class AmountForm : uint8_t { kNone, kShare, kTime, kBytes, kNumber, kFactor };
[[nodiscard]] AmountForm amount_form(StepKind kind);

/// What the value after a step's name means in a scenario file.
enum class StepValue : uint8_t {
  kNone,     ///< `heal:`
  kMembers,  ///< `crash: 3`
  kAmount,   ///< `loss: 5%`
  kCount,    ///< `add-node: 30`
};
[[nodiscard]] StepValue step_value(StepKind kind);
/// The step takes, or needs, `members:` beside its value.
[[nodiscard]] bool takes_members(StepKind kind);
[[nodiscard]] bool needs_members(StepKind kind);

[[nodiscard]] std::vector<std::string> step_names();
/// "crash: MEMBERS", "egress-loss: SHARE, members: MEMBERS, for: TIME".
[[nodiscard]] std::string step_form(const StepInfo& info);

/// The amount as scenario files hold it, exactly; and as people like it.
[[nodiscard]] std::string write_amount(StepKind kind, double amount);
[[nodiscard]] std::string show_amount(StepKind kind, double amount);

/// "members 3 and 4 crash; their hosts stay up".
[[nodiscard]] std::string sentence(const Step& step);

/// A fault that lasts: from its step to what ends it.
struct Episode {
  StepKind kind;
  Duration begin{};
  Duration end{};
  std::vector<NodeIndex> nodes;  ///< at whom it is aimed; for links both ends; empty: everybody
  double amount = 0;
  /// "pause of 3 and 4", for a label.
  [[nodiscard]] std::string label() const;
};

/// Members that it is aimed at may be cut off from others, which then are right to call them
/// failed.
[[nodiscard]] bool separates(StepKind kind);

/// All lasting faults of a scenario in order of their beginnings: those of the links, partitions,
/// pauses, and processes that are down until they start again.
[[nodiscard]] std::vector<Episode> episodes(const Scenario& scenario);

}  // namespace starling::simulation
