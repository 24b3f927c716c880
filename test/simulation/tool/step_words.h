// SPDX-License-Identifier: Apache-2.0
//
// What people need to know about each kind of step: its name in a scenario file, which fields it
// takes, what ends it, and a sentence that tells it. Pure functions over constant tables.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "test/simulation/scenario.h"

namespace starling::simulation {

/// What the value after a step's name means.
enum class StepValue : uint8_t {
  kNone,     ///< `heal:`
  kMembers,  ///< `crash: 3`
  kLink,     ///< `cut: [3, 7]`: from the first to the second
  kShare,    ///< `loss: 5%`
  kCount,    ///< `add-node: 30`
};

struct StepWords {
  StepKind kind;
  StepValue value;
  bool members;  ///< takes `members:` beside its value
  std::optional<StepKind>
      end;                  ///< what `for:` adds when the time is over; the same kind: amount back
  const char* explanation;  ///< one line
};

/// In the order of StepKind.
[[nodiscard]] const std::vector<StepWords>& step_words();
[[nodiscard]] const StepWords& step_words(StepKind kind);
[[nodiscard]] std::optional<StepKind> step_named(std::string_view name);
[[nodiscard]] std::vector<std::string> step_names();

/// "members 3 and 4 crash; their hosts stay up".
[[nodiscard]] std::string sentence(const Step& step);

/// A fault that lasts: from its step to what ends it.
struct Episode {
  StepKind kind;
  Duration begin{};
  Duration end{};
  std::vector<NodeIndex> nodes;  ///< at whom it is aimed; for cuts both ends; empty: everybody
  double amount = 0;
  /// "pause of 3 and 4", for a label.
  [[nodiscard]] std::string label() const;
};

/// All lasting faults of a scenario in order of their beginnings: those of the links, partitions,
/// pauses, and processes that are down until they start again.
[[nodiscard]] std::vector<Episode> episodes(const Scenario& scenario);

}  // namespace starling::simulation
