// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/terminal.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

void sort_sections(control::InfoReply& info) {
  auto& sections = *info.mutable_sections();
  std::sort(sections.begin(), sections.end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  for (control::InfoSection& section : sections) {
    std::sort(section.mutable_values()->begin(), section.mutable_values()->end(),
              [](const auto& a, const auto& b) { return a.key() < b.key(); });
  }
}

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  control::Request request;
  request.mutable_info();
  auto reply = ask(invocation, context, request, "Error querying agent");
  if (!reply) return 1;
  control::InfoReply& info = *reply->mutable_info();
  sort_sections(info);
  if (*format == Format::kJson) {
    context.out << info_json(info) << "\n";
    return 0;
  }
  for (const control::InfoSection& section : info.sections()) {
    context.out << one_line(section.name()) << ":\n";
    for (const control::KeyValue& each : section.values()) {
      context.out << "\t" << one_line(each.key()) << " = " << one_line(each.value()) << "\n";
    }
  }
  return 0;
}

}  // namespace

const Command& info_command() {
  static const Command kCommand = {
      .name = "info",
      .arguments = "",
      .summary = "Shows facts about the agent, for operators",
      .description = "Prints the agent's name, handlers, runtime, counters and tags.",
      .example =
          "$ starling info\n"
          "agent:\n"
          "\tname = web1\n"
          "event_handlers:\n"
          "\tuser:deploy = /usr/local/bin/deploy.sh\n"
          "...",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
