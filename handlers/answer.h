// SPDX-License-Identifier: Apache-2.0
//
// The one answer of this host to a query that several handlers may have matched. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace starling::handlers {

enum class QueryOutcomeKind : uint8_t {
  kResponse,  ///< `payload` is the answer, never empty
  kNoAnswer,  ///< no handler, or none that printed anything
  kFailed,    ///< `error` says how: "exit status 3: what it printed"
  kTooLarge,  ///< `error` names the size and the limit
  kBusy,      ///< not run: `error` names the full queue or the wait
};

struct QueryOutcome {
  QueryOutcomeKind kind = QueryOutcomeKind::kNoAnswer;
  std::string payload;
  std::string error;
};

/// Collects what each matching handler made of a query. The first handler, in the order of the
/// configuration, that has an answer gives it, however fast the others were: the same query gives
/// the same answer. Failures count only if none has an answer; the first one is told.
class AnswerCollector {
 public:
  /// `entries`: how many handler entries matched.
  explicit AnswerCollector(size_t entries) : outcomes_(entries) {}

  /// `entry` ended so. Each entry once.
  void settle(size_t entry, QueryOutcome outcome);
  [[nodiscard]] bool settled(size_t entry) const { return outcomes_[entry].has_value(); }

  /// The outcome, taken out, once no unfinished entry could change it; none: wait.
  [[nodiscard]] std::optional<QueryOutcome> decide();

 private:
  std::vector<std::optional<QueryOutcome>> outcomes_;
};

}  // namespace starling::handlers
