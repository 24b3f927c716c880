// SPDX-License-Identifier: Apache-2.0
//
// The steps of a scenario file, and whom they name.
#include <algorithm>
#include <numeric>

#include "test/simulation/tool/ordered.h"
#include "test/simulation/tool/scenario_reader.h"
#include "test/simulation/tool/step_words.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

/// Time after the last step, for files that do not say how long they take.
constexpr Duration kTail = 20s;

}  // namespace

// --- steps -------------------------------------------------------------------------------------

ScenarioReader::Plan ScenarioReader::plan(const YAML::Node& map) const {
  static const std::vector<std::string> kWords = {"at",  "every",   "until",
                                                  "for", "stagger", "members"};
  std::vector<std::string> known = kWords;
  for (const std::string& name : step_names()) known.push_back(name);
  if (!map.IsMap()) refuse(map, "a step is a map, such as {at: 10s, crash: 3}");
  check_keys(map, "a step", known);
  Plan plan;
  plan.where = map;
  bool found = false;
  for (const auto& entry : map) {
    const auto kind = step_kind(entry.first.Scalar());
    if (!kind) continue;
    if (found) {
      refuse(entry.first, "a second thing to do in one step; write '" + entry.first.Scalar() +
                              "' as a step of its own");
    }
    found = true;
    plan.kind = *kind;
    plan.value = entry.second;
  }
  if (!found) refuse(map, "a step without anything to do; add one of " + enumerate(step_names()));
  const StepInfo& info = step_info(plan.kind);
  const std::string name(info.name);
  if (!map["at"]) refuse(map, "a step without 'at:'; say when, such as at: 10s");
  plan.at = duration(map["at"], "at");
  if (map["every"]) plan.every = duration(map["every"], "every");
  if (plan.every && *plan.every < 1ms) refuse(map["every"], "every: use 1ms or more");
  if (map["until"]) plan.until = duration(map["until"], "until");
  if (plan.until && !plan.every) refuse(map["until"], "'until:' needs 'every:'");
  if (map["for"]) plan.length = duration(map["for"], "for");
  if (plan.length && info.length == StepInfo::Length::kNone) {
    refuse(map["for"], "'for:' does not go with '" + name + "', which happens at once");
  }
  if (!plan.length && info.length == StepInfo::Length::kRequired) {
    refuse(map, "'" + name + "' needs 'for:'; say how long it lasts, such as for: 10s");
  }
  if (map["stagger"]) plan.stagger = duration(map["stagger"], "stagger");
  if (map["members"] && !takes_members(plan.kind)) {
    refuse(map["members"], "'members:' does not go with '" + name + "'" +
                               (step_value(plan.kind) == StepValue::kMembers
                                    ? "; write " + name + ": and the members behind it"
                                    : std::string()));
  }
  if (!map["members"] && needs_members(plan.kind)) {
    refuse(map, "'" + name + "' needs 'members:'; say whom it hits, such as members: 1%");
  }
  if (map["members"]) plan.members = map["members"];
  return plan;
}

Duration ScenarioReader::last_moment(const Plan& plan) const {
  Duration last = plan.at;
  if (plan.every && plan.until) last = std::max(last, *plan.until);
  if (plan.length) last += *plan.length;
  if (plan.stagger) last += *plan.stagger * static_cast<int64_t>(scenario_.nodes);
  return last;
}

void ScenarioReader::steps(const YAML::Node& root) {
  std::vector<Plan> plans;
  const YAML::Node list = root["steps"];
  if (list && !list.IsNull()) {
    if (!list.IsSequence()) refuse(list, "steps must be a list: '- {at: 10s, crash: 3}'");
    for (const auto& entry : list) {
      plans.push_back(plan(entry));
      if (step_value(plans.back().kind) == StepValue::kCount) {
        added_ += plans.back().value.IsNull()
                      ? 1
                      : count(plans.back().value, "add-node", 1, kMaxScenarioMembers);
      }
    }
  }
  scenario_.chaos = kTail;
  if (root["length"]) {
    scenario_.chaos = duration(root["length"], "length");
  } else {
    for (const Plan& plan : plans) {
      if (plan.every && !plan.until) {
        refuse(plan.where, "'every:' without an end; add 'until:' here or 'length:' to the file");
      }
      scenario_.chaos = std::max(scenario_.chaos, last_moment(plan) + kTail);
    }
  }
  for (const Plan& plan : plans) expand(plan);
  sort_by(scenario_.steps, [](const Step& step) { return step.at; });
}

void ScenarioReader::expand(const Plan& plan) {
  if (plan.at > scenario_.chaos) {
    refuse(plan.where["at"], "at: " + write_duration(plan.at) + " is after the end (length: " +
                                 write_duration(scenario_.chaos) + ")");
  }
  if (!plan.every) return emit(plan, plan.at);
  const Duration until = std::min(plan.until.value_or(scenario_.chaos), scenario_.chaos);
  if (until < plan.at) refuse(plan.where["until"], "until: is before at:");
  for (Duration at = plan.at; at <= until; at += *plan.every) emit(plan, at);
}

double ScenarioReader::amount(const Plan& plan) const {
  const StepInfo& info = step_info(plan.kind);
  const std::string name(info.name);
  double amount = 0;
  switch (amount_form(plan.kind)) {
    case AmountForm::kShare:
      amount = share(plan.value, name);
      break;
    case AmountForm::kTime: {
      // Drawn ones may be finer than a nanosecond: only their unit is checked here.
      const std::string word = text(plan.value, "a time with its unit, such as 250ms");
      const auto exact = word.ends_with("ms") || !word.ends_with('s')
                             ? std::nullopt
                             : parse_number(std::string_view(word).substr(0, word.size() - 1));
      amount = exact ? *exact : seconds(duration(plan.value, name));
      break;
    }
    default: {
      const std::string word = text(plan.value, "a number");
      const auto number =
          amount_form(plan.kind) == AmountForm::kBytes ? parse_bytes(word) : parse_number(word);
      if (!number) {
        refuse(plan.value,
               name + ": '" + word + "' is not a number (" + std::string(info.amount) + ")");
      }
      amount = *number;
    }
  }
  if (amount < info.amount_min || amount > info.amount_max) {
    refuse(plan.value, name + ": use " + show_amount(plan.kind, info.amount_min) + " to " +
                           show_amount(plan.kind, info.amount_max));
  }
  const unsigned zones = scenario_.world.links.zones;
  if (plan.kind == StepKind::kPartitionZone && amount >= zones) {
    refuse(plan.value, name + ": the zones are 0 to " + std::to_string(zones - 1) +
                           "; raise 'zones:' under network for more");
  }
  return amount;
}

void ScenarioReader::emit_one(const Plan& plan, const Step& step) {
  if (scenario_.steps.size() >= kMaxScenarioSteps) {
    refuse(plan.where, "more than " + std::to_string(kMaxScenarioSteps) +
                           " steps, with their repetitions; repeat less often");
  }
  scenario_.steps.push_back(step);
}

void ScenarioReader::emit(const Plan& plan, Duration at) {
  const StepInfo& info = step_info(plan.kind);
  const std::string name(info.name);
  Step step{.at = at, .kind = plan.kind, .length = plan.length.value_or(Duration::zero())};
  YAML::Node whom;
  size_t times = 1;
  switch (step_value(plan.kind)) {
    case StepValue::kNone:
      if (!plan.value.IsNull()) refuse(plan.value, "'" + name + "' takes no value");
      break;
    case StepValue::kMembers:
      whom = plan.value;
      break;
    case StepValue::kAmount:
      step.amount = amount(plan);
      whom = plan.members;
      break;
    case StepValue::kCount:
      if (!plan.value.IsNull()) times = count(plan.value, name, 1, kMaxScenarioMembers);
      break;
  }
  if (!whom.IsNull()) step.nodes = members(whom);
  if (info.nodes == StepInfo::Nodes::kPair &&
      (step.nodes.size() != 2 || step.nodes[0] == step.nodes[1])) {
    refuse(whom, "'" + name + "' takes two members, such as [3, 7]: from 3 to 7");
  }
  const std::vector<NodeIndex> nodes = step.nodes;
  const bool one_each = !nodes.empty() && (plan.stagger || info.nodes == StepInfo::Nodes::kFirst);
  if (one_each) times = nodes.size();
  for (size_t i = 0; i < times; ++i) {
    if (one_each) step.nodes = {nodes[i]};
    if (plan.stagger) step.at = at + *plan.stagger * static_cast<int64_t>(i);
    if (step.at <= scenario_.chaos) emit_one(plan, step);
  }
}

// --- members -----------------------------------------------------------------------------------

std::vector<NodeIndex> ScenarioReader::all() const {
  std::vector<NodeIndex> nodes(scenario_.nodes);
  std::iota(nodes.begin(), nodes.end(), 0U);
  return nodes;
}

NodeIndex ScenarioReader::member(const YAML::Node& node, std::string_view word) const {
  const auto number = parse_count(word);
  if (!number) {
    refuse(node,
           "'" + std::string(word) +
               "' names no members; use a number, 10..19, 5%, random 3, zone 2, all, not 3, a "
               "group's name or a list of these");
  }
  const size_t limit = scenario_.nodes + added_;
  if (*number >= limit) {
    refuse(node, "member " + std::string(word) + " is not there; they are 0 to " +
                     std::to_string(limit - 1));
  }
  return static_cast<NodeIndex>(*number);
}

std::vector<NodeIndex> ScenarioReader::selection(const YAML::Node& node, const std::string& word) {
  if (word == "all") return all();
  if (const auto group = groups_.find(word); group != groups_.end()) return group->second;
  if (word.starts_with("not ")) {
    const std::vector<NodeIndex> without = selection(node, word.substr(4));
    std::vector<NodeIndex> rest;
    for (const NodeIndex one : all()) {
      if (std::find(without.begin(), without.end(), one) == without.end()) rest.push_back(one);
    }
    return rest;
  }
  if (word.ends_with('%')) {
    const double part = share(node, "members");
    const auto most = static_cast<size_t>(part * static_cast<double>(scenario_.nodes) + 0.5);
    std::vector<NodeIndex> nodes = drawn(std::max<size_t>(most, part > 0 ? 1 : 0));
    std::sort(nodes.begin(), nodes.end());
    return nodes;
  }
  if (word.starts_with("random ")) {
    const auto number = parse_count(std::string_view(word).substr(7));
    if (!number || *number < 1 || *number > scenario_.nodes) {
      refuse(node, "'" + word + "': use random 1 to random " + std::to_string(scenario_.nodes));
    }
    return drawn(*number);
  }
  if (word.starts_with("zone ")) {
    const unsigned zones = scenario_.world.links.zones;
    const auto zone = parse_count(std::string_view(word).substr(5));
    if (!zone || *zone >= zones) {
      refuse(node, "'" + word + "': use zone 0 to zone " + std::to_string(zones - 1) +
                       ", or raise 'zones:' under network");
    }
    std::vector<NodeIndex> nodes;
    for (const NodeIndex one : all()) {
      if (zone_of(one, zones, scenario_.world.seed) == *zone) nodes.push_back(one);
    }
    return nodes;
  }
  const size_t dots = word.find("..");
  if (dots == std::string::npos) return {member(node, word)};
  const NodeIndex first = member(node, std::string_view(word).substr(0, dots));
  const NodeIndex last = member(node, std::string_view(word).substr(dots + 2));
  if (last < first) refuse(node, "'" + word + "' is empty; write the smaller number first");
  std::vector<NodeIndex> nodes(last - first + 1);
  std::iota(nodes.begin(), nodes.end(), first);
  return nodes;
}

std::vector<NodeIndex> ScenarioReader::members(const YAML::Node& node) {
  if (node.IsScalar()) return selection(node, node.Scalar());
  if (!node.IsSequence() || node.size() == 0) {
    refuse(node,
           "here must be members: a number, 10..19, 5%, random 3, a group or a list of these");
  }
  std::vector<NodeIndex> nodes;
  for (const auto& entry : node) {
    for (const NodeIndex one : selection(entry, text(entry, "a member or a range of them"))) {
      if (std::find(nodes.begin(), nodes.end(), one) == nodes.end()) nodes.push_back(one);
    }
  }
  return nodes;
}

}  // namespace starling::simulation
