// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/step_words.h"

#include <algorithm>

#include "proto/support/assert.h"
#include "test/simulation/tool/ordered.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

const std::vector<StepWords>& step_words() {
  using enum StepKind;
  using enum StepValue;
  static const std::vector<StepWords> words = {
      {kLoss, kShare, false, kLoss, "every link loses this share of all datagrams"},
      {kDuplication, kShare, false, kDuplication, "this share of all datagrams arrives twice"},
      {kReordering, kShare, false, kReordering,
       "this share of all datagrams is held up and overtaken"},
      {kIngressLoss, kShare, true, kIngressLoss, "members lose this share of what they receive"},
      {kEgressLoss, kShare, true, kEgressLoss, "members lose this share of what they send"},
      {kPartition, kMembers, false, kHeal,
       "these members and all others no longer reach each other"},
      {kHeal, kNone, false, std::nullopt, "ends the partition"},
      {kCut, kLink, false, kMend, "[A, B]: nothing gets from A to B any more; B to A stays"},
      {kMend, kNone, false, std::nullopt, "ends all cuts"},
      {kPause, kMembers, false, kResume, "processes freeze as under SIGSTOP"},
      {kResume, kMembers, false, std::nullopt, "paused processes go on"},
      {kCrash, kMembers, false, kRestart, "processes die; their hosts stay up and refuse packets"},
      {kHostDown, kMembers, false, kRestart, "hosts die with their processes: silence"},
      {kRestart, kMembers, false, std::nullopt, "ended processes start again with their state"},
      {kRestartMoved, kMembers, false, std::nullopt, "the same, at a new address"},
      {kRestartFresh, kMembers, false, std::nullopt,
       "they start as new members under the old names, without state"},
      {kAddNode, kCount, false, std::nullopt, "this many new members join"},
      {kLeave, kMembers, false, std::nullopt, "members leave and stop"},
      {kTags, kMembers, false, std::nullopt, "members change a tag"},
      {kEvent, kMembers, false, std::nullopt, "members send a user event each"},
      {kQuery, kMembers, false, std::nullopt, "members ask a query each"},
  };
  return words;
}

const StepWords& step_words(StepKind kind) {
  const auto& words = step_words();
  const auto found =
      std::find_if(words.begin(), words.end(), [&](const auto& word) { return word.kind == kind; });
  STARLING_ASSERT(found != words.end());
  return *found;
}

std::optional<StepKind> step_named(std::string_view name) {
  for (const StepWords& words : step_words()) {
    if (name == step_name(words.kind)) return words.kind;
  }
  return std::nullopt;
}

std::vector<std::string> step_names() {
  std::vector<std::string> names;
  for (const StepWords& words : step_words()) names.emplace_back(step_name(words.kind));
  return names;
}

std::string sentence(const Step& step) {
  const bool one = step.nodes.size() == 1;
  const std::string who = (one ? "member " : "members ") + show_nodes(step.nodes);
  const std::string share = show_share(step.amount);
  switch (step.kind) {
    case StepKind::kLoss:
      return step.amount > 0 ? "every link loses " + share + " of all datagrams"
                             : "links no longer lose datagrams";
    case StepKind::kDuplication:
      return step.amount > 0 ? share + " of all datagrams arrive twice"
                             : "datagrams no longer arrive twice";
    case StepKind::kReordering:
      return step.amount > 0 ? share + " of all datagrams are overtaken by later ones"
                             : "datagrams are no longer held up";
    case StepKind::kIngressLoss:
      return who + (one ? " loses " : " lose ") + share + " of what comes in";
    case StepKind::kEgressLoss:
      return who + (one ? " loses " : " lose ") + share + " of what goes out";
    case StepKind::kPartition:
      return who + (one ? " is" : " are") + " cut off from all others";
    case StepKind::kHeal:
      return "the partition heals";
    case StepKind::kCut:
      return "nothing gets from member " + std::to_string(step.nodes.at(0)) + " to member " +
             std::to_string(step.nodes.at(1)) + " any more";
    case StepKind::kMend:
      return "all cut links work again";
    case StepKind::kPause:
      return who + (one ? " freezes" : " freeze");
    case StepKind::kResume:
      return who + (one ? " goes on" : " go on");
    case StepKind::kCrash:
      return who + (one ? " crashes; its host stays up" : " crash; their hosts stay up");
    case StepKind::kHostDown:
      return who + (one ? " goes silent: its host is down" : " go silent: their hosts are down");
    case StepKind::kRestart:
      return who + (one ? " starts again" : " start again");
    case StepKind::kRestartMoved:
      return who + (one ? " starts again at a new address" : " start again at new addresses");
    case StepKind::kRestartFresh:
      return who + (one ? " starts afresh, as a new member under its old name"
                        : " start afresh, as new members under their old names");
    case StepKind::kAddNode:
      return "a new member joins";
    case StepKind::kLeave:
      return who + (one ? " leaves" : " leave");
    case StepKind::kTags:
      return who + (one ? " changes its tags" : " change their tags");
    case StepKind::kEvent:
      return who + (one ? " sends an event" : " send an event each");
    case StepKind::kQuery:
      return who + (one ? " asks a query" : " ask a query each");
  }
  return step.to_string();
}

std::string Episode::label() const {
  std::string text = step_name(kind);
  std::replace(text.begin(), text.end(), '-', ' ');
  if (amount > 0) text += ' ' + show_share(amount);
  if (!nodes.empty()) {
    const std::string who = show_nodes(nodes);
    text += ": " + (who.size() <= 14 ? who : std::to_string(nodes.size()) + " members");
  }
  return text;
}

namespace {

/// What ends an episode that `step` began: a later step of the kind that ends it, naming the same
/// members where it names any.
bool ends(const Step& begin, const Step& later, NodeIndex node) {
  const auto names = [&](const Step& step) {
    return std::find(step.nodes.begin(), step.nodes.end(), node) != step.nodes.end();
  };
  switch (begin.kind) {
    case StepKind::kPartition:
      return later.kind == StepKind::kHeal || later.kind == StepKind::kPartition;
    case StepKind::kCut:
      return later.kind == StepKind::kMend;
    case StepKind::kPause:
      return later.kind == StepKind::kResume && names(later);
    case StepKind::kCrash:
    case StepKind::kHostDown:
      return (later.kind == StepKind::kRestart || later.kind == StepKind::kRestartMoved ||
              later.kind == StepKind::kRestartFresh) &&
             names(later);
    case StepKind::kIngressLoss:
    case StepKind::kEgressLoss:
      return later.kind == begin.kind && names(later);
    default:
      return later.kind == begin.kind;
  }
}

bool lasts(const Step& step) {
  switch (step.kind) {
    case StepKind::kLoss:
    case StepKind::kDuplication:
    case StepKind::kReordering:
    case StepKind::kIngressLoss:
    case StepKind::kEgressLoss:
      return step.amount > 0;
    case StepKind::kPartition:
    case StepKind::kCut:
    case StepKind::kPause:
    case StepKind::kCrash:
    case StepKind::kHostDown:
      return true;
    default:
      return false;
  }
}

Duration end_of(const Scenario& scenario, const Step& step, NodeIndex node) {
  for (const Step& later : scenario.steps) {
    if (later.at > step.at && ends(step, later, node)) return std::min(later.at, scenario.chaos);
  }
  return scenario.chaos;
}

}  // namespace

std::vector<Episode> episodes(const Scenario& scenario) {
  std::vector<Episode> all;
  for (const Step& step : scenario.steps) {
    if (!lasts(step) || step.at > scenario.chaos) continue;
    const bool whole =
        step.nodes.empty() || step.kind == StepKind::kPartition || step.kind == StepKind::kCut;
    if (whole) {
      const NodeIndex first = step.nodes.empty() ? kNoNode : step.nodes.front();
      all.push_back({step.kind, step.at, end_of(scenario, step, first), step.nodes, step.amount});
      continue;
    }
    // Members that were hit together may recover apart: one episode for each end.
    const size_t from = all.size();
    for (const NodeIndex node : step.nodes) {
      const Duration end = end_of(scenario, step, node);
      const auto same = std::find_if(all.begin() + static_cast<std::ptrdiff_t>(from), all.end(),
                                     [&](const Episode& e) { return e.end == end; });
      if (same == all.end()) {
        all.push_back({step.kind, step.at, end, {node}, step.amount});
      } else {
        same->nodes.push_back(node);
      }
    }
  }
  sort_by(all, [](const Episode& episode) { return episode.begin; });
  return all;
}

}  // namespace starling::simulation
