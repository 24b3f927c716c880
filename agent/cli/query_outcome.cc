// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/query_outcome.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace starling::agent {

namespace {

constexpr auto kReasons = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"unheard", "nothing heard by the deadline"},
    {"unfinished", "has the query, no answer by the deadline"},
    {"failed", "failed"},
    {"left", "left"},
    {"unknown", "no such member"},
});

std::string_view reason_of(control::QueryAnswer::Kind kind) {
  switch (kind) {
    case control::QueryAnswer::TOO_LARGE:
      return "too-large";
    case control::QueryAnswer::BUSY:
      return "busy";
    case control::QueryAnswer::REFUSED:
      return "refused";
    default:
      return "failed";
  }
}

}  // namespace

void QueryOutcome::add(const control::QueryAnswer& answer) {
  if (answer.last()) finished.insert(answer.from());
  switch (answer.kind()) {
    case control::QueryAnswer::ACK:
      acks.push_back(answer.from());
      return;
    case control::QueryAnswer::RESPONSE:
      responses[answer.from()].push_back({answer.responder(), answer.position(), answer.payload()});
      ++response_count;
      return;
    case control::QueryAnswer::NO_ANSWER:
      no_answer.insert(answer.from());
      return;
    case control::QueryAnswer::NO_HANDLER:
      no_handler.insert(answer.from());
      return;
    default:
      failures.push_back({answer.from(), answer.responder(), std::string(reason_of(answer.kind())),
                          answer.error(), answer.payload(), std::nullopt});
      if (answer.has_exit_status()) failures.back().exit_status = answer.exit_status();
  }
}

void QueryOutcome::end(const control::QueryDone& done) {
  timed_out = done.timed_out();
  limited = done.limited();
  for (const control::SilentMember& member : done.silent()) {
    silent.emplace_back(member.name(), member.why());
  }
  lost.assign(done.lost().begin(), done.lost().end());
  for (auto& [node, several] : responses) {
    std::ranges::sort(several, {}, &Response::position);
    no_answer.erase(node);  // that was said by its other handlers
  }
  for (const Failure& failure : failures) no_answer.erase(failure.node);
}

std::vector<std::pair<std::string, std::vector<std::string>>> QueryOutcome::missing() const {
  std::vector<std::pair<std::string, std::vector<std::string>>> list;
  const auto add = [&list](std::string_view why, std::vector<std::string> nodes) {
    if (!nodes.empty()) list.emplace_back(why, std::move(nodes));
  };
  add("no handler for it", {no_handler.begin(), no_handler.end()});
  add("its handler printed nothing", {no_answer.begin(), no_answer.end()});
  for (const auto& [word, text] : kReasons) {
    std::vector<std::string> nodes;
    for (const auto& [node, why] : silent) {
      if (why == word) nodes.push_back(node);
    }
    add(text, std::move(nodes));
  }
  add("answers were lost, because this command reads too slowly", lost);
  return list;
}

std::string failure_text(const QueryOutcome::Failure& failure) {
  std::string text = failure.error;
  if (text.empty() && failure.reason == "too-large") text = "its answer is too large";
  if (text.empty() && failure.reason == "busy") text = "it is busy; ask again later";
  if (text.empty() && failure.reason == "refused") text = "refused by policy";
  if (text.empty()) text = "its handler failed";
  if (!failure.output.empty()) text += ": " + failure.output;
  return text;
}

}  // namespace starling::agent
