// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/table.h"
#include "agent/config/text.h"

namespace starling::agent {
namespace {

constexpr std::uint64_t kMostEvents = 20'000;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"name", "REGEXP", false, "only events whose whole name matches"},
    {"limit", "N", false, "the last N events (default: 20)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

std::string size_text(std::uint64_t bytes) {
  if (bytes < 10'240) return std::to_string(bytes) + " B";
  return std::to_string(bytes / 1024) + " KiB";
}

void print(Context& context, const control::EventsReply& reply) {
  std::vector<std::vector<Cell>> rows;
  for (const control::HeldEvent& event : reply.events()) {
    const std::string reach = std::to_string(event.reach()) + "/" + std::to_string(reply.live());
    const bool everybody = event.reach() >= reply.live();
    rows.push_back({{local_time(event.sent_ms()), Color::kNone},
                    {event.origin(), Color::kNone},
                    {event.name(), Color::kNone},
                    {size_text(event.size()), Color::kNone},
                    {reach, everybody ? Color::kGreen : Color::kYellow},
                    {event.timing() == "live" ? "" : event.timing(), Color::kGrey}});
  }
  context.out << format_table(rows, uses_color(context));
}

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  const auto limit = config::parse_number(invocation.value("limit", "20"));
  if (!limit || *limit < 1 || *limit > kMostEvents) {
    return usage_error(invocation, context,
                       "-limit wants a number from 1 to " + std::to_string(kMostEvents) + ".");
  }
  control::Request request;
  request.mutable_events()->set_name(invocation.value("name"));
  request.mutable_events()->set_limit(static_cast<std::uint32_t>(*limit));
  const auto reply = ask(invocation, context, request, "Error listing events");
  if (!reply) return 1;
  if (*format == Format::kJson) {
    context.out << events_json(reply->events()) << "\n";
  } else {
    print(context, reply->events());
  }
  return 0;
}

}  // namespace

const Command& events_command() {
  static const Command kCommand = {
      .name = "events",
      .arguments = "",
      .summary = "Lists recent user events",
      .description =
          "Lists the user events that this agent keeps for others, the latest first: when it was "
          "sent, by whom, its name, the size of its payload, and how many of the live members are "
          "known to have it. That number may lag behind, since it is learned in passing; it is "
          "exact for an event that was sent with -confirm.",
      .example =
          "$ starling events -limit 2\n"
          "2026-01-02T10:00:07  web1  deploy  6 B      60/60\n"
          "2026-01-02T10:00:01  db1   config  200 KiB  60/60",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
