// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/step_words.h"

#include <algorithm>
#include <cmath>

#include "test/simulation/tool/ordered.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

AmountForm amount_form(StepKind kind) {
  switch (kind) {
    case StepKind::kLoss:
    case StepKind::kDuplication:
    case StepKind::kReordering:
    case StepKind::kSpikes:
    case StepKind::kIngressLoss:
    case StepKind::kEgressLoss:
    case StepKind::kLinkLoss:
      return AmountForm::kShare;
    case StepKind::kLatency:
    case StepKind::kFlap:
    case StepKind::kSlow:
    case StepKind::kClockJump:
      return AmountForm::kTime;
    case StepKind::kBandwidth:
    case StepKind::kMtu:
      return AmountForm::kBytes;
    case StepKind::kPartitionZone:
      return AmountForm::kNumber;
    case StepKind::kClockRate:
      return AmountForm::kFactor;
    default:
      return AmountForm::kNone;
  }
}

StepValue step_value(StepKind kind) {
  if (kind == StepKind::kAddNode) return StepValue::kCount;
  if (amount_form(kind) != AmountForm::kNone) return StepValue::kAmount;
  return step_info(kind).nodes == StepInfo::Nodes::kNone ? StepValue::kNone : StepValue::kMembers;
}

bool takes_members(StepKind kind) {
  return step_value(kind) == StepValue::kAmount && step_info(kind).nodes != StepInfo::Nodes::kNone;
}

bool needs_members(StepKind kind) {
  return takes_members(kind) && step_info(kind).nodes != StepInfo::Nodes::kOptional;
}

std::vector<std::string> step_names() {
  std::vector<std::string> names;
  for (const StepInfo& info : step_infos()) names.emplace_back(info.name);
  return names;
}

std::string step_form(const StepInfo& info) {
  std::string form = std::string(info.name) + ':';
  switch (step_value(info.kind)) {
    case StepValue::kNone:
      break;
    case StepValue::kMembers:
      form += info.nodes == StepInfo::Nodes::kPair ? " [A, B]" : " MEMBERS";
      break;
    case StepValue::kCount:
      form += " COUNT";
      break;
    case StepValue::kAmount:
      switch (amount_form(info.kind)) {
        case AmountForm::kShare:
          form += " SHARE";
          break;
        case AmountForm::kTime:
          form += " TIME";
          break;
        case AmountForm::kBytes:
          form += " BYTES";
          break;
        default:
          form += " NUMBER";
      }
  }
  if (takes_members(info.kind)) {
    const std::string whom = info.nodes == StepInfo::Nodes::kPair ? "[A, B]" : "MEMBERS";
    form += needs_members(info.kind) ? ", members: " + whom : " [, members: " + whom + "]";
  }
  if (info.length == StepInfo::Length::kOptional) {
    form += step_value(info.kind) == StepValue::kNone ? " [for: TIME]" : " [, for: TIME]";
  }
  if (info.length == StepInfo::Length::kRequired) form += ", for: TIME";
  return form;
}

std::string write_amount(StepKind kind, double amount) {
  switch (amount_form(kind)) {
    case AmountForm::kShare:
      return write_share(amount);
    case AmountForm::kTime: {
      const std::string text = write_duration(Duration(std::llround(amount * 1e9)));
      // Drawn amounts may be finer than a nanosecond.
      const auto back = parse_duration(text);
      return back && seconds(*back) == amount ? text : write_number(amount) + 's';
    }
    default:
      return write_number(amount);
  }
}

std::string show_amount(StepKind kind, double amount) {
  switch (amount_form(kind)) {
    case AmountForm::kShare:
      return show_share(amount);
    case AmountForm::kTime:
      return show_duration(Duration(std::llround(amount * 1e9)));
    case AmountForm::kBytes:
      return show_bytes(amount);
    default:
      return format("%.6g", amount);
  }
}

namespace {

/// The one or the other form of a verb.
std::string does(const Step& step, const char* one, const char* many) {
  return (step.nodes.size() == 1 ? "member " : "members ") + show_nodes(step.nodes) + ' ' +
         (step.nodes.size() == 1 ? one : many);
}

/// "member 3 to member 7".
std::string route(const Step& step) {
  if (step.nodes.size() < 2) return "nowhere";
  return "member " + std::to_string(step.nodes[0]) + " to member " + std::to_string(step.nodes[1]);
}

std::string network_sentence(const Step& step) {
  const std::string amount = show_amount(step.kind, step.amount);
  const bool on = step.amount > 0;
  switch (step.kind) {
    case StepKind::kLoss:
      return on ? "every link loses " + amount + " of all datagrams"
                : "links no longer lose datagrams";
    case StepKind::kDuplication:
      return on ? amount + " of all datagrams arrive twice" : "datagrams no longer arrive twice";
    case StepKind::kReordering:
      return on ? amount + " of all datagrams are overtaken by later ones"
                : "datagrams are no longer held up";
    case StepKind::kSpikes:
      return on ? amount + " of all packets take 300 ms more" : "latency has no spikes any more";
    case StepKind::kLatency:
      return step.nodes.empty()
                 ? "all packets take " + amount + " more"
                 : "packets from and to " + show_nodes(step.nodes) + " take " + amount + " more";
    case StepKind::kIngressLoss:
      return does(step, "loses ", "lose ") + amount + " of what comes in";
    case StepKind::kEgressLoss:
      return does(step, "loses ", "lose ") + amount + " of what goes out";
    case StepKind::kLinkLoss:
      return amount + " of all datagrams from " + route(step) + " are lost";
    case StepKind::kBandwidth:
      return does(step, "sends", "send") +
             (on ? " at most " + amount + " a second" : " as fast as ever again");
    case StepKind::kMtu:
      return "datagrams of more than " + amount + " from or to " + show_nodes(step.nodes) +
             (on ? " vanish" : " pass again");
    case StepKind::kPartition:
      return does(step, "is", "are") + " cut off from all others";
    case StepKind::kPartitionZone:
      return "zone " + amount + " is cut off from all others";
    case StepKind::kPartitionZones:
      return "all zones are cut off from each other";
    case StepKind::kHeal:
      return "the partition heals";
    case StepKind::kCut:
      return "nothing gets from " + route(step) + " any more";
    case StepKind::kMend:
      return "all single links work again";
    case StepKind::kFlap:
      return on ? "the links of " + show_nodes(step.nodes) + " go down and up, once in " + amount
                : "the links of " + show_nodes(step.nodes) + " stay up again";
    case StepKind::kClog:
      return "the links of " + show_nodes(step.nodes) + " stop and come back, one by one";
    default:
      return step.to_string();
  }
}

std::string process_sentence(const Step& step) {
  const std::string amount = show_amount(step.kind, step.amount);
  switch (step.kind) {
    case StepKind::kPause:
      return does(step, "freezes", "freeze");
    case StepKind::kResume:
      return does(step, "goes on", "go on");
    case StepKind::kBlock:
      return does(step, "blocks", "block") + " at every send and receive";
    case StepKind::kUnblock:
      return does(step, "no longer blocks", "no longer block");
    case StepKind::kSlow:
      return step.amount > 0 ? does(step, "takes ", "take ") + amount + " for each input"
                             : does(step, "is", "are") + " as fast as ever again";
    case StepKind::kClockRate:
      return "the clock of " + show_nodes(step.nodes) + " runs " + amount + " times as fast";
    case StepKind::kClockJump:
      return "the clock of " + show_nodes(step.nodes) + " jumps forward by " + amount;
    case StepKind::kDiskFull:
      return "the disk of " + show_nodes(step.nodes) + " is full";
    case StepKind::kDiskFree:
      return "the disk of " + show_nodes(step.nodes) + " has room again";
    case StepKind::kCrash:
      return does(step, "crashes; its host stays up", "crash; their hosts stay up");
    case StepKind::kHostDown:
      return does(step, "goes silent: its host is down", "go silent: their hosts are down");
    case StepKind::kRestart:
      return does(step, "starts again", "start again");
    case StepKind::kRestartMoved:
      return does(step, "starts again at a new address", "start again at new addresses");
    case StepKind::kRestartFresh:
      return does(step, "starts afresh, as a new member under its old name",
                  "start afresh, as new members under their old names");
    case StepKind::kAddNode:
      return "a new member joins";
    case StepKind::kHostile:
      return does(step, "tells lies about all others", "tell lies about all others");
    case StepKind::kLeave:
      return does(step, "leaves", "leave");
    case StepKind::kTags:
      return does(step, "changes its tags", "change their tags");
    case StepKind::kEvent:
      return does(step, "sends an event", "send an event each");
    case StepKind::kQuery:
      return does(step, "asks a query", "ask a query each");
    default:
      return network_sentence(step);
  }
}

}  // namespace

std::string sentence(const Step& step) {
  std::string text = process_sentence(step);
  if (step.length > Duration::zero()) text += ", for " + show_duration(step.length);
  return text;
}

std::string Episode::label() const {
  std::string text(step_name(kind));
  std::replace(text.begin(), text.end(), '-', ' ');
  if (amount > 0) text += ' ' + show_amount(kind, amount);
  if (!nodes.empty() && kind != StepKind::kPartitionZone) {
    const std::string who = show_nodes(nodes);
    text += ": " + (who.size() <= 14 ? who : std::to_string(nodes.size()) + " members");
  }
  return text;
}

namespace {

bool names(const Step& step, NodeIndex node) {
  return std::find(step.nodes.begin(), step.nodes.end(), node) != step.nodes.end();
}

bool partitions(StepKind kind) {
  return kind == StepKind::kPartition || kind == StepKind::kPartitionZone ||
         kind == StepKind::kPartitionZones;
}

/// `later` ends, for `node`, what `begin` began.
bool ends(const Step& begin, const Step& later, NodeIndex node) {
  switch (begin.kind) {
    case StepKind::kPartition:
    case StepKind::kPartitionZone:
    case StepKind::kPartitionZones:
      return later.kind == StepKind::kHeal || partitions(later.kind);
    case StepKind::kCut:
    case StepKind::kLinkLoss:
      return later.kind == StepKind::kMend;
    case StepKind::kPause:
      return later.kind == StepKind::kResume && names(later, node);
    case StepKind::kBlock:
      return later.kind == StepKind::kUnblock && names(later, node);
    case StepKind::kDiskFull:
      return later.kind == StepKind::kDiskFree && names(later, node);
    case StepKind::kCrash:
    case StepKind::kHostDown:
      return (later.kind == StepKind::kRestart || later.kind == StepKind::kRestartMoved ||
              later.kind == StepKind::kRestartFresh) &&
             names(later, node);
    default:
      return later.kind == begin.kind && (node == kNoNode || names(later, node));
  }
}

bool begins_episode(const Step& step) {
  if (step_info(step.kind).length == StepInfo::Length::kNone) return false;
  if (step.kind == StepKind::kClockRate) return step.amount != 1;
  if (step.kind == StepKind::kPartitionZone) return true;
  return amount_form(step.kind) == AmountForm::kNone || step.amount > 0;
}

Duration end_of(const Scenario& scenario, const Step& step, NodeIndex node) {
  Duration end = scenario.chaos;
  if (step.length > Duration::zero()) end = std::min(end, step.at + step.length);
  for (const Step& later : scenario.steps) {
    if (later.at > step.at && ends(step, later, node)) return std::min(later.at, end);
  }
  return end;
}

std::vector<NodeIndex> members_of_zone(const Scenario& scenario, const Step& step) {
  std::vector<NodeIndex> nodes;
  const WorldOptions& world = scenario.world;
  for (NodeIndex node = 0; node < scenario.nodes; ++node) {
    if (zone_of(node, world.links.zones, world.seed) == static_cast<unsigned>(step.amount)) {
      nodes.push_back(node);
    }
  }
  return nodes;
}

}  // namespace

bool separates(StepKind kind) {
  return partitions(kind) || kind == StepKind::kCut || kind == StepKind::kLinkLoss ||
         kind == StepKind::kFlap || kind == StepKind::kClog;
}

std::vector<Episode> episodes(const Scenario& scenario) {
  std::vector<Episode> all;
  for (const Step& step : scenario.steps) {
    if (!begins_episode(step) || step.at > scenario.chaos) continue;
    if (step.nodes.empty() || separates(step.kind)) {
      const NodeIndex first = step.nodes.empty() ? kNoNode : step.nodes.front();
      all.push_back({step.kind, step.at, end_of(scenario, step, first), step.nodes, step.amount});
      if (step.kind == StepKind::kPartitionZone) {
        all.back().nodes = members_of_zone(scenario, step);
      }
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
