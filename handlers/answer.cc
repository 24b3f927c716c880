// SPDX-License-Identifier: Apache-2.0
#include "handlers/answer.h"

#include <utility>

#include "proto/support/assert.h"

namespace starling::handlers {

AnswerCollector::AnswerCollector(std::vector<std::string> responders)
    : responders_(std::move(responders)),
      settled_(responders_.size(), false),
      open_(responders_.size()) {}

std::optional<QueryOutcome> AnswerCollector::settle(size_t entry, QueryOutcome outcome) {
  STARLING_ASSERT(entry < settled_.size() && !settled_[entry]);
  settled_[entry] = true;
  --open_;
  outcome.last = open_ == 0;
  if (outcome.kind == QueryOutcomeKind::kNoAnswer) {
    if (!outcome.last) return std::nullopt;
    return outcome;
  }
  outcome.position = static_cast<unsigned>(entry);
  if (responders_.size() > 1) outcome.responder = std::move(responders_[entry]);
  return outcome;
}

}  // namespace starling::handlers
