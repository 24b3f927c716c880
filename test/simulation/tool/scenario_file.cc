// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/scenario_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <span>

#include "test/simulation/tool/fields.h"
#include "test/simulation/tool/ordered.h"
#include "test/simulation/tool/step_words.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

/// Time after the last step, for files that do not say how long they take.
constexpr Duration kTail = 20s;

/// Leaves the reader; never leaves this file.
struct Refused {
  std::string message;
};

const std::vector<std::string> kTopKeys = {"name",    "about", "members", "seed",   "length",
                                           "network", "hosts", "node",    "checks", "groups",
                                           "guards",  "steps", "back",    "expect"};

class Reader {
 public:
  Reader(std::string name, const ScenarioOverrides& overrides)
      : name_(std::move(name)), overrides_(overrides) {}

  ScenarioFile read(const YAML::Node& root);

 private:
  /// One entry of `steps:`, before repetitions are written out.
  struct Plan {
    YAML::Node where;
    StepKind kind{};
    YAML::Node value;
    YAML::Node members;
    Duration at{};
    std::optional<Duration> every;
    std::optional<Duration> until;
    std::optional<Duration> length;
    std::optional<Duration> stagger;
  };

  [[noreturn]] void refuse(const YAML::Node& node, const std::string& text) const {
    refuse(node.Mark(), text);
  }
  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& text) const {
    if (mark.is_null()) throw Refused{name_ + ": " + text};
    throw Refused{name_ + ':' + std::to_string(mark.line + 1) + ':' +
                  std::to_string(mark.column + 1) + ": " + text};
  }

  /// Refuses a map with other keys than `known`, or one twice.
  void check_keys(const YAML::Node& map, const std::string& what,
                  const std::vector<std::string>& known) const;
  [[nodiscard]] std::string text(const YAML::Node& node, const std::string& wanted) const;
  [[nodiscard]] Duration duration(const YAML::Node& node, const std::string& what) const;
  [[nodiscard]] uint64_t count(const YAML::Node& node, const std::string& what, uint64_t min,
                               uint64_t max) const;
  [[nodiscard]] double share(const YAML::Node& node, const std::string& what) const;
  template <typename T>
  bool set(std::span<const Field<T>> fields, const std::string& key, const YAML::Node& value,
           T& target) const;
  template <typename T>
  static void add_names(std::span<const Field<T>> fields, std::vector<std::string>& names);

  void basics(const YAML::Node& root);
  void network(const YAML::Node& map);
  void hosts(const YAML::Node& map);
  void node_options(const YAML::Node& map);
  void guards(const YAML::Node& map);
  void checks(const YAML::Node& map);
  void groups(const YAML::Node& map);
  void expect(const YAML::Node& map);
  void steps(const YAML::Node& root);
  [[nodiscard]] Plan plan(const YAML::Node& map) const;
  [[nodiscard]] Duration last_moment(const Plan& plan) const;
  void expand(const Plan& plan);
  void emit(const Plan& plan, Duration at);
  void emit_one(const Plan& plan, const Step& step);
  [[nodiscard]] double amount(const Plan& plan) const;

  /// Members that a selection names, in the order in which it names them.
  std::vector<NodeIndex> members(const YAML::Node& node);
  std::vector<NodeIndex> selection(const YAML::Node& node, const std::string& word);
  [[nodiscard]] std::vector<NodeIndex> all() const;
  std::vector<NodeIndex> drawn(size_t count) { return random_.sample(all(), count); }
  [[nodiscard]] NodeIndex member(const YAML::Node& node, std::string_view word) const;

  std::string name_;
  ScenarioOverrides overrides_;
  ScenarioFile file_;
  Scenario& scenario_ = file_.scenario;
  Random random_{0};
  std::map<std::string, std::vector<NodeIndex>> groups_;
  size_t added_ = 0;  ///< members that join later
};

// --- values ------------------------------------------------------------------------------------

void Reader::check_keys(const YAML::Node& map, const std::string& what,
                        const std::vector<std::string>& known) const {
  if (!map.IsMap()) refuse(map, what + " must hold 'key: value' lines");
  std::set<std::string> seen;
  for (const auto& entry : map) {
    if (!entry.first.IsScalar()) refuse(entry.first, "a key must be a plain name");
    const std::string key = entry.first.Scalar();
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      const std::string meant = did_you_mean(key, known);
      refuse(entry.first, "unknown key '" + key + "' in " + what +
                              (meant.empty() ? "; known are " + enumerate(known) : meant));
    }
    if (!seen.insert(key).second) {
      refuse(entry.first, "the key '" + key + "' is there twice; keep one of them");
    }
  }
}

std::string Reader::text(const YAML::Node& node, const std::string& wanted) const {
  if (!node.IsScalar()) refuse(node, "here must be " + wanted);
  return node.Scalar();
}

Duration Reader::duration(const YAML::Node& node, const std::string& what) const {
  const std::string wanted = "a time with its unit, such as 250ms or 20s";
  const std::string value = text(node, wanted);
  const auto duration = parse_duration(value);
  if (!duration) refuse(node, what + ": '" + value + "' is not " + wanted);
  return *duration;
}

uint64_t Reader::count(const YAML::Node& node, const std::string& what, uint64_t min,
                       uint64_t max) const {
  const std::string wanted =
      "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
  const std::string value = text(node, wanted);
  const auto number = parse_count(value);
  if (!number || *number < min || *number > max) {
    refuse(node, what + ": '" + value + "' is not " + wanted);
  }
  return *number;
}

double Reader::share(const YAML::Node& node, const std::string& what) const {
  const std::string wanted = "a share from 0% to 100%, such as 5%";
  const std::string value = text(node, wanted);
  const auto share = parse_share(value);
  if (!share) refuse(node, what + ": '" + value + "' is not " + wanted);
  return *share;
}

template <typename T>
bool Reader::set(std::span<const Field<T>> fields, const std::string& key, const YAML::Node& value,
                 T& target) const {
  for (const Field<T>& field : fields) {
    if (key != field.name) continue;
    const std::string word = text(value, "a single value");
    const std::string wanted = set_field(field, word, target);
    if (!wanted.empty()) refuse(value, key + ": '" + word + "' is not " + wanted);
    return true;
  }
  return false;
}

template <typename T>
void Reader::add_names(std::span<const Field<T>> fields, std::vector<std::string>& names) {
  for (const Field<T>& field : fields) names.emplace_back(field.name);
}

// --- sections ----------------------------------------------------------------------------------

ScenarioFile Reader::read(const YAML::Node& root) {
  if (!root.IsDefined() || root.IsNull()) throw Refused{name_ + ": the file is empty"};
  check_keys(root, "a scenario", kTopKeys);
  basics(root);
  if (root["network"]) network(root["network"]);
  if (root["hosts"]) hosts(root["hosts"]);
  if (root["node"]) node_options(root["node"]);
  if (root["guards"]) guards(root["guards"]);
  if (root["checks"]) checks(root["checks"]);
  if (root["groups"]) groups(root["groups"]);
  if (root["expect"]) expect(root["expect"]);
  steps(root);
  if (root["back"]) scenario_.back = members(root["back"]);
  if (file_.expect.agree_within) {
    scenario_.liveness_bound = std::max(scenario_.liveness_bound, *file_.expect.agree_within);
  }
  return std::move(file_);
}

void Reader::basics(const YAML::Node& root) {
  scenario_.name = root["name"] ? text(root["name"], "a name") : name_;
  if (root["about"]) file_.about = text(root["about"], "a line of text");
  if (!root["members"]) refuse(root, "no 'members:'; say how many there are, such as members: 50");
  scenario_.nodes = count(root["members"], "members", 2, kMaxScenarioMembers);
  if (overrides_.members) scenario_.nodes = *overrides_.members;
  if (root["seed"]) scenario_.world.seed = count(root["seed"], "seed", 0, 999'999'999'999'999'999);
  if (overrides_.seed) scenario_.world.seed = *overrides_.seed;
  random_ = Random(mix64(scenario_.world.seed ^ 0x7363656e6172696f));
}

void Reader::network(const YAML::Node& map) {
  std::vector<std::string> known = {"profile"};
  add_names(link_fields(), known);
  check_keys(map, "network", known);
  if (const YAML::Node profile = map["profile"]) {
    const std::string name = text(profile, "lan or wan");
    if (name != "lan" && name != "wan") {
      refuse(profile, "profile: '" + name + "' is neither lan nor wan");
    }
    if (name == "wan") scenario_.world.links = LinkModel::wan();
  }
  for (const auto& entry : map) {
    set(link_fields(), entry.first.Scalar(), entry.second, scenario_.world.links);
  }
  const LinkModel& links = scenario_.world.links;
  if (links.zones < 1 || links.zones > 1000) refuse(map["zones"], "zones: use 1 to 1000");
  if (links.zone_latency_max < links.zone_latency_min) {
    refuse(map, "zone-latency-max is less than zone-latency-min");
  }
  if (links.bandwidth < 1) refuse(map["bandwidth"], "bandwidth: must not be 0");
}

void Reader::hosts(const YAML::Node& map) {
  std::vector<std::string> known;
  add_names(host_fields(), known);
  check_keys(map, "hosts", known);
  for (const auto& entry : map) {
    set(host_fields(), entry.first.Scalar(), entry.second, scenario_.world);
  }
  if (scenario_.world.handler_time_max < scenario_.world.handler_time_min) {
    refuse(map, "handler-time-max is less than handler-time-min");
  }
  if (scenario_.world.sweep_interval <= Duration::zero()) {
    refuse(map["sweep-interval"], "sweep-interval: must be more than 0");
  }
}

void Reader::node_options(const YAML::Node& map) {
  std::vector<std::string> known = {"profile"};
  add_names(node_fields(), known);
  check_keys(map, "node", known);
  if (const YAML::Node profile = map["profile"]) {
    const auto options =
        membership::Options::profile(text(profile, "lan, wan, local or forgiving"));
    if (!options) refuse(profile, options.error().message);
    scenario_.world.node = *options;
  }
  for (const auto& entry : map) {
    set(node_fields(), entry.first.Scalar(), entry.second, scenario_.world.node);
  }
  if (const auto valid = scenario_.world.node.validate(); !valid) {
    refuse(map, valid.error().message);
  }
}

void Reader::guards(const YAML::Node& map) {
  std::vector<std::string> known;
  add_names(guard_fields(), known);
  check_keys(map, "guards", known);
  for (const auto& entry : map) {
    set(guard_fields(), entry.first.Scalar(), entry.second, scenario_.world.node.guards);
  }
}

void Reader::checks(const YAML::Node& map) {
  std::vector<std::string> known;
  add_names(check_fields(), known);
  add_names(bound_fields(), known);
  check_keys(map, "checks", known);
  for (const auto& entry : map) {
    const std::string key = entry.first.Scalar();
    if (!set(check_fields(), key, entry.second, scenario_.checker)) {
      set(bound_fields(), key, entry.second, scenario_);
    }
  }
}

void Reader::groups(const YAML::Node& map) {
  if (!map.IsMap()) refuse(map, "groups must hold 'name: members' lines, such as faulty: 5%");
  for (const auto& entry : map) {
    const std::string name = text(entry.first, "a name");
    const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || c == '-';
    });
    if (!plain || name == "all" || name == "others") {
      refuse(entry.first, "a group's name is of small letters and dashes, and not all or others");
    }
    auto chosen = members(entry.second);
    if (!groups_.emplace(name, std::move(chosen)).second) {
      refuse(entry.first, "the group '" + name + "' is there twice; keep one of them");
    }
  }
}

void Reader::expect(const YAML::Node& map) {
  Expectations& expect = file_.expect;
  const std::map<std::string, std::optional<Duration>*> times = {
      {"boot-within", &expect.boot_within},
      {"first-detection-within", &expect.first_detection_within},
      {"detected-within", &expect.detected_within},
      {"agree-within", &expect.agree_within},
      {"event-within", &expect.event_within}};
  const std::map<std::string, std::optional<size_t>*> counts = {
      {"false-failures", &expect.false_failures},
      {"disturbed-failures", &expect.disturbed_failures},
      {"cut-off-failures", &expect.cut_off_failures},
      {"packets-per-second", &expect.packets_per_second}};
  std::vector<std::string> known;
  for (const auto& [key, value] : times) known.push_back(key);
  for (const auto& [key, value] : counts) known.push_back(key);
  check_keys(map, "expect", known);
  for (const auto& entry : map) {
    const std::string key = entry.first.Scalar();
    if (const auto time = times.find(key); time != times.end()) {
      *time->second = duration(entry.second, key);
    } else {
      *counts.at(key) = count(entry.second, key, 0, 1'000'000'000);
    }
  }
}

// --- steps -------------------------------------------------------------------------------------

Reader::Plan Reader::plan(const YAML::Node& map) const {
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

Duration Reader::last_moment(const Plan& plan) const {
  Duration last = plan.at;
  if (plan.every && plan.until) last = std::max(last, *plan.until);
  if (plan.length) last += *plan.length;
  if (plan.stagger) last += *plan.stagger * static_cast<int64_t>(scenario_.nodes);
  return last;
}

void Reader::steps(const YAML::Node& root) {
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

void Reader::expand(const Plan& plan) {
  if (plan.at > scenario_.chaos) {
    refuse(plan.where["at"], "at: " + write_duration(plan.at) + " is after the end (length: " +
                                 write_duration(scenario_.chaos) + ")");
  }
  if (!plan.every) return emit(plan, plan.at);
  const Duration until = std::min(plan.until.value_or(scenario_.chaos), scenario_.chaos);
  if (until < plan.at) refuse(plan.where["until"], "until: is before at:");
  for (Duration at = plan.at; at <= until; at += *plan.every) emit(plan, at);
}

double Reader::amount(const Plan& plan) const {
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

void Reader::emit_one(const Plan& plan, const Step& step) {
  if (scenario_.steps.size() >= kMaxScenarioSteps) {
    refuse(plan.where, "more than " + std::to_string(kMaxScenarioSteps) +
                           " steps, with their repetitions; repeat less often");
  }
  scenario_.steps.push_back(step);
}

void Reader::emit(const Plan& plan, Duration at) {
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

std::vector<NodeIndex> Reader::all() const {
  std::vector<NodeIndex> nodes(scenario_.nodes);
  std::iota(nodes.begin(), nodes.end(), 0U);
  return nodes;
}

NodeIndex Reader::member(const YAML::Node& node, std::string_view word) const {
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

std::vector<NodeIndex> Reader::selection(const YAML::Node& node, const std::string& word) {
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

std::vector<NodeIndex> Reader::members(const YAML::Node& node) {
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

// --- writing -----------------------------------------------------------------------------------

/// The fields that differ from `normal`, under `heading`.
template <typename T>
void write_section(std::string& out, const char* heading, std::span<const Field<T>> fields,
                   const T& value, const T& normal) {
  std::string lines;
  for (const Field<T>& field : fields) {
    const std::string written = write_field(field, value);
    if (written != write_field(field, normal)) {
      lines += std::string("  ") + field.name + ": " + written + '\n';
    }
  }
  if (lines.empty()) return;
  if (heading != nullptr) out += std::string(heading) + ":\n";
  out += lines;
}

std::string write_step(const Step& step) {
  std::string line =
      "  - {at: " + write_duration(step.at) + ", " + std::string(step_name(step.kind)) + ':';
  const StepValue value = step_value(step.kind);
  if (value == StepValue::kMembers) line += ' ' + write_nodes(step.nodes);
  if (value == StepValue::kAmount) line += ' ' + write_amount(step.kind, step.amount);
  if (takes_members(step.kind) && !step.nodes.empty()) {
    line += ", members: " + write_nodes(step.nodes);
  }
  if (step.length > Duration::zero()) line += ", for: " + write_duration(step.length);
  return line + "}\n";
}

}  // namespace

Result<ScenarioFile> parse_scenario(std::string_view text, const std::string& name,
                                    const ScenarioOverrides& overrides) {
  if (text.size() > kMaxScenarioBytes) {
    return fail(ErrorKind::kTooLarge, name + ": larger than " + std::to_string(kMaxScenarioBytes) +
                                          " bytes; this cannot be a scenario");
  }
  try {
    return Reader(name, overrides).read(YAML::Load(std::string(text)));
  } catch (const Refused& refused) {
    return fail(ErrorKind::kInvalid, refused.message);
  } catch (const YAML::Exception& exception) {
    const YAML::Mark& mark = exception.mark;
    const std::string place = mark.is_null() ? name
                                             : name + ':' + std::to_string(mark.line + 1) + ':' +
                                                   std::to_string(mark.column + 1);
    return fail(ErrorKind::kInvalid, place + ": not valid YAML: " + exception.msg);
  }
}

Result<ScenarioFile> read_scenario(const std::string& path, const ScenarioOverrides& overrides) {
  if (path == "-") {
    const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
    return parse_scenario(text, "standard input", overrides);
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text;
  if (stream) text.assign(std::istreambuf_iterator<char>(stream), {});
  if (!stream) {
    return fail(ErrorKind::kNotFound,
                path + ": cannot be read; the shipped scenarios are in examples/simulation/");
  }
  return parse_scenario(text, path, overrides);
}

std::string write_scenario(const Scenario& scenario, std::string_view about) {
  std::string out;
  while (!about.empty()) {
    const size_t end = std::min(about.find('\n'), about.size());
    out += "# " + std::string(about.substr(0, end)) + '\n';
    about.remove_prefix(std::min(end + 1, about.size()));
  }
  out += "name: " + scenario.name + '\n';
  out += "members: " + std::to_string(scenario.nodes) + '\n';
  out += "seed: " + std::to_string(scenario.world.seed) + '\n';
  out += "length: " + write_duration(scenario.chaos) + '\n';
  const Scenario normal;
  write_section(out, "network", link_fields(), scenario.world.links, normal.world.links);
  write_section(out, "hosts", host_fields(), scenario.world, normal.world);
  write_section(out, "node", node_fields(), scenario.world.node, normal.world.node);
  write_section(out, "guards", guard_fields(), scenario.world.node.guards,
                normal.world.node.guards);
  std::string checks;
  write_section(checks, nullptr, check_fields(), scenario.checker, normal.checker);
  write_section(checks, nullptr, bound_fields(), scenario, normal);
  if (!checks.empty()) out += "checks:\n" + checks;
  std::string steps;
  for (const Step& step : scenario.steps) {
    // The swarm draws ends that the end of the chaos comes before.
    if (step.at <= scenario.chaos) steps += write_step(step);
  }
  if (!steps.empty()) out += "steps:\n" + steps;
  if (!scenario.back.empty()) out += "back: " + write_nodes(scenario.back) + '\n';
  return out;
}

}  // namespace starling::simulation
