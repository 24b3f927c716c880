// SPDX-License-Identifier: Apache-2.0
//
// The inside of scenario_file.h: what turns the YAML tree into a scenario, section by section. Used
// by scenario_file.cc and scenario_steps.cc only.
#pragma once

#include <yaml-cpp/yaml.h>

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "test/simulation/tool/fields.h"
#include "test/simulation/tool/scenario_file.h"

namespace starling::simulation {

/// Leaves the reader as an exception; never leaves scenario_file.cc.
struct ScenarioRefused {
  std::string message;
};

class ScenarioReader {
 public:
  ScenarioReader(std::string name, const ScenarioOverrides& overrides)
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
    if (mark.is_null()) throw ScenarioRefused{name_ + ": " + text};
    throw ScenarioRefused{name_ + ':' + std::to_string(mark.line + 1) + ':' +
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

}  // namespace starling::simulation
