// SPDX-License-Identifier: Apache-2.0
//
// The answers of this host to a query that several handlers may have matched. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace starling::handlers {

enum class QueryOutcomeKind : uint8_t {
  kResponse,   ///< `payload` is the answer, never empty
  kNoAnswer,   ///< no handler printed anything, or none has more to say
  kNoHandler,  ///< no handler matches
  kFailed,     ///< `error` says how ("exit status 3"), `payload` is the end of what it printed
  kTooLarge,   ///< `error` names the size and the limit
  kBusy,       ///< not run: `error` names the full queue or the wait
  kRefused,    ///< not run: `error` says why not for who asks
};

struct QueryOutcome {
  QueryOutcomeKind kind = QueryOutcomeKind::kNoAnswer;
  std::string payload;
  std::string error;
  /// Which handler, as in JobName; empty when only one matched.
  std::string responder = {};
  unsigned position = 0;                ///< of the handler among those that matched
  std::optional<int> exit_status = {};  ///< of kFailed, when the handler ended with one
  bool last = true;                     ///< this host has nothing more to say
};

/// Turns what each matching handler made of a query into what the asker is told, as it comes: each
/// handler that has an answer, or failed, speaks for itself; those that print nothing are not
/// mentioned, unless nobody else ends the answer.
class AnswerCollector {
 public:
  /// One for each handler entry that matched: its name.
  explicit AnswerCollector(std::vector<std::string> responders);

  /// `entry` ended so; each entry once. What the asker is to be told now, if anything.
  [[nodiscard]] std::optional<QueryOutcome> settle(size_t entry, QueryOutcome outcome);
  [[nodiscard]] bool settled(size_t entry) const { return settled_[entry]; }
  /// All have ended: the asker has been told the last.
  [[nodiscard]] bool complete() const { return open_ == 0; }

 private:
  std::vector<std::string> responders_;
  std::vector<bool> settled_;
  size_t open_;
};

}  // namespace starling::handlers
