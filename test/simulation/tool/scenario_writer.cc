// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <span>

#include "test/simulation/tool/fields.h"
#include "test/simulation/tool/scenario_file.h"
#include "test/simulation/tool/step_words.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

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
