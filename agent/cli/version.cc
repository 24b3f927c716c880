// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"

namespace starling::agent {
namespace {

// Of Serf, whose commands and handler contract these are.
constexpr int kProtocol = 5;
constexpr int kProtocolMin = 2;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  if (*format == Format::kJson) {
    context.out << version_json(STARLING_VERSION, kProtocol, kProtocolMin) << "\n";
    return 0;
  }
  context.out << "Starling v" << STARLING_VERSION << "\nAgent Protocol: " << kProtocol
              << " (Understands back to: " << kProtocolMin << ")\n";
  return 0;
}

}  // namespace

const Command& version_command() {
  static const Command kCommand = {
      .name = "version",
      .arguments = "",
      .summary = "Prints the version",
      .description =
          "Prints the version of this program. -v and --version do the same, with any "
          "command. Needs no agent.",
      .example =
          "$ starling version\n"
          "Starling v" STARLING_VERSION
          "\n"
          "Agent Protocol: 5 (Understands back to: 2)",
      .flags = kFlags,
      .client = false,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
