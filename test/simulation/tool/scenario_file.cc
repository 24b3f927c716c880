// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/scenario_file.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>

#include "test/simulation/tool/scenario_reader.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

const std::vector<std::string> kTopKeys = {"name",    "about", "members", "seed",   "length",
                                           "network", "hosts", "node",    "checks", "groups",
                                           "guards",  "steps", "back",    "expect"};

}  // namespace

// --- values ------------------------------------------------------------------------------------

void ScenarioReader::check_keys(const YAML::Node& map, const std::string& what,
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

std::string ScenarioReader::text(const YAML::Node& node, const std::string& wanted) const {
  if (!node.IsScalar()) refuse(node, "here must be " + wanted);
  return node.Scalar();
}

Duration ScenarioReader::duration(const YAML::Node& node, const std::string& what) const {
  const std::string wanted = "a time with its unit, such as 250ms or 20s";
  const std::string value = text(node, wanted);
  const auto duration = parse_duration(value);
  if (!duration) refuse(node, what + ": '" + value + "' is not " + wanted);
  return *duration;
}

uint64_t ScenarioReader::count(const YAML::Node& node, const std::string& what, uint64_t min,
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

double ScenarioReader::share(const YAML::Node& node, const std::string& what) const {
  const std::string wanted = "a share from 0% to 100%, such as 5%";
  const std::string value = text(node, wanted);
  const auto share = parse_share(value);
  if (!share) refuse(node, what + ": '" + value + "' is not " + wanted);
  return *share;
}

template <typename T>
bool ScenarioReader::set(std::span<const Field<T>> fields, const std::string& key,
                         const YAML::Node& value, T& target) const {
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
void ScenarioReader::add_names(std::span<const Field<T>> fields, std::vector<std::string>& names) {
  for (const Field<T>& field : fields) names.emplace_back(field.name);
}

// --- sections ----------------------------------------------------------------------------------

ScenarioFile ScenarioReader::read(const YAML::Node& root) {
  if (!root.IsDefined() || root.IsNull()) throw ScenarioRefused{name_ + ": the file is empty"};
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

void ScenarioReader::basics(const YAML::Node& root) {
  scenario_.name = root["name"] ? text(root["name"], "a name") : name_;
  if (root["about"]) file_.about = text(root["about"], "a line of text");
  if (!root["members"]) refuse(root, "no 'members:'; say how many there are, such as members: 50");
  scenario_.nodes = count(root["members"], "members", 2, kMaxScenarioMembers);
  if (overrides_.members) scenario_.nodes = *overrides_.members;
  if (root["seed"]) scenario_.world.seed = count(root["seed"], "seed", 0, 999'999'999'999'999'999);
  if (overrides_.seed) scenario_.world.seed = *overrides_.seed;
  random_ = Random(mix64(scenario_.world.seed ^ 0x7363656e6172696f));
}

void ScenarioReader::network(const YAML::Node& map) {
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

void ScenarioReader::hosts(const YAML::Node& map) {
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

void ScenarioReader::node_options(const YAML::Node& map) {
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

void ScenarioReader::guards(const YAML::Node& map) {
  std::vector<std::string> known;
  add_names(guard_fields(), known);
  check_keys(map, "guards", known);
  for (const auto& entry : map) {
    set(guard_fields(), entry.first.Scalar(), entry.second, scenario_.world.node.guards);
  }
}

void ScenarioReader::checks(const YAML::Node& map) {
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

void ScenarioReader::groups(const YAML::Node& map) {
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

void ScenarioReader::expect(const YAML::Node& map) {
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

Result<ScenarioFile> parse_scenario(std::string_view text, const std::string& name,
                                    const ScenarioOverrides& overrides) {
  if (text.size() > kMaxScenarioBytes) {
    return fail(ErrorKind::kTooLarge, name + ": larger than " + std::to_string(kMaxScenarioBytes) +
                                          " bytes; this cannot be a scenario");
  }
  try {
    return ScenarioReader(name, overrides).read(YAML::Load(std::string(text)));
  } catch (const ScenarioRefused& refused) {
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

}  // namespace starling::simulation
