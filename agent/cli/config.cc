// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/config/convert.h"

namespace starling::agent {
namespace {

int check(const Invocation& invocation, Context& context) {
  std::vector<FlagValue> flags = invocation.flags;
  for (std::size_t i = 1; i < invocation.arguments.size(); ++i) {
    const std::string& path = invocation.arguments[i];
    std::error_code ignored;
    const bool folder = std::filesystem::is_directory(path, ignored);
    flags.push_back({folder ? "config-dir" : "config-file", path});
  }
  return context.check_agent(flags);
}

int convert(const Invocation& invocation, Context& context) {
  if (invocation.arguments.size() != 2 || !invocation.flags.empty()) {
    return usage_error(invocation, context, "convert takes one file and no flags");
  }
  const auto converted = convert_config(invocation.arguments[1]);
  if (!converted) {
    report(context, converted.error());
    return 1;
  }
  context.out << *converted;
  return 0;
}

int run(const Invocation& invocation, Context& context) {
  const std::string action = invocation.arguments.empty() ? "" : invocation.arguments[0];
  if (action == "check") return check(invocation, context);
  if (action == "convert") return convert(invocation, context);
  return usage_error(invocation, context, "Say what to do: check or convert");
}

}  // namespace

const Command& config_command() {
  static const Command kCommand = {
      .name = "config",
      .arguments = "check [FILE|FOLDER...] | convert FILE",
      .summary = "Checks a configuration, or converts one of Serf",
      .description =
          "`check` reads files, folders and the agent's flags as `starling agent` would, and "
          "prints "
          "the configuration that comes out of them, without starting anything. Warnings are on "
          "standard error; the first mistake is named with its place, and the exit status is 1.\n\n"
          "`convert` prints a file of Serf (JSON) as YAML, with comments, and says of what it "
          "could not take over why.",
      .example =
          "$ starling config check /etc/starling/agent.yaml -tag role=web\n"
          "node_name: \"web1\"\n"
          "...\n"
          "$ starling config convert /etc/serf/serf.json > /etc/starling/agent.yaml",
      .flags = agent_flags(),
      .client = false,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
