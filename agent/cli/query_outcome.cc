// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/query_outcome.h"

namespace starling::agent {

void QueryOutcome::add(const control::QueryAnswer& answer) {
  switch (answer.kind()) {
    case control::QueryAnswer::ACK:
      acks.push_back(answer.from());
      return;
    case control::QueryAnswer::RESPONSE:
      responses[answer.from()] = answer.payload();
      break;
    case control::QueryAnswer::NO_ANSWER:
      break;
    default:
      failures[answer.from()] = failure_text(answer);
      break;
  }
  finished.insert(answer.from());
}

std::string failure_text(const control::QueryAnswer& answer) {
  if (!answer.error().empty()) return answer.error();
  switch (answer.kind()) {
    case control::QueryAnswer::TOO_LARGE:
      return "its answer is too large";
    case control::QueryAnswer::BUSY:
      return "it is busy; ask again later";
    default:
      return "its handler failed";
  }
}

}  // namespace starling::agent
