// SPDX-License-Identifier: Apache-2.0
#include "handlers/answer.h"

#include <utility>

#include "proto/support/assert.h"

namespace starling::handlers {

void AnswerCollector::settle(size_t entry, QueryOutcome outcome) {
  STARLING_ASSERT(entry < outcomes_.size() && !outcomes_[entry]);
  outcomes_[entry] = std::move(outcome);
}

std::optional<QueryOutcome> AnswerCollector::decide() {
  std::optional<QueryOutcome>* failure = nullptr;
  for (std::optional<QueryOutcome>& outcome : outcomes_) {
    if (!outcome) return std::nullopt;
    if (outcome->kind == QueryOutcomeKind::kResponse) return std::move(outcome);
    if (failure == nullptr && outcome->kind != QueryOutcomeKind::kNoAnswer) failure = &outcome;
  }
  return failure == nullptr ? QueryOutcome{} : std::move(**failure);
}

}  // namespace starling::handlers
