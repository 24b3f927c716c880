// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/command.h"

#include <algorithm>
#include <array>
#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/help.h"
#include "agent/cli/signing.h"

namespace starling::agent {

std::string Invocation::value(std::string_view flag, const std::string& fallback) const {
  const auto last = std::find_if(flags.rbegin(), flags.rend(),
                                 [&](const auto& each) { return each.name == flag; });
  return last == flags.rend() ? fallback : last->value;
}

std::vector<std::string> Invocation::values(std::string_view flag) const {
  std::vector<std::string> values;
  for (const FlagValue& each : flags) {
    if (each.name == flag) values.push_back(each.value);
  }
  return values;
}

bool Invocation::given(std::string_view flag) const {
  return std::any_of(flags.begin(), flags.end(),
                     [&](const FlagValue& each) { return each.name == flag; });
}

bool Invocation::enabled(std::string_view flag, bool fallback) const {
  return value(flag, fallback ? "true" : "false") == "true";
}

std::span<const FlagSpec> client_flags() {
  static constexpr auto kFlags = std::to_array<FlagSpec>({
      {"control", "PATH", false,
       "unix socket of the agent (default: $STARLING_CONTROL, or the agent's own default)"},
      {"rpc-addr", "ADDR", false,
       "ask over Serf's RPC instead, an agent of Serf or Starling (default: $SERF_RPC_ADDR)"},
      {"rpc-auth", "TOKEN", false, "token of that agent (default: $SERF_RPC_AUTH)"},
  });
  return kFlags;
}

std::vector<FlagSpec> flags_of(const Command& command) {
  std::vector<FlagSpec> flags(command.flags.begin(), command.flags.end());
  const auto add = [&flags](std::span<const FlagSpec> more) {
    flags.insert(flags.end(), more.begin(), more.end());
  };
  if (command.orders) add(signing_flags());
  if (command.client) add(client_flags());
  return flags;
}

std::vector<const Command*> all_commands() {
  return {&agent_command(),   &completion_command(),   &config_command(), &event_command(),
          &events_command(),  &force_leave_command(),  &info_command(),   &job_command(),
          &join_command(),    &keygen_command(),       &keys_command(),   &leave_command(),
          &members_command(), &monitor_command(),      &node_command(),   &operator_command(),
          &query_command(),   &reachability_command(), &rtt_command(),    &tags_command(),
          &version_command()};
}

int usage_error(const Invocation& invocation, Context& context, std::string_view message) {
  context.err << message << "\n\n"
              << usage_line(*invocation.command) << "\nSee: starling " << invocation.command->name
              << " --help\n";
  return 1;
}

}  // namespace starling::agent
