// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"coalesce", "", false,
     "of several events of this name in a short time, handlers may see only the last; "
     "-coalesce=false delivers each (default: true)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

int run(const Invocation& invocation, Context& context) {
  const auto& arguments = invocation.arguments;
  if (arguments.empty())
    return usage_error(invocation, context, "An event name must be specified.");
  if (arguments.size() > 2) {
    return usage_error(invocation, context,
                       "Too many command line arguments. Only a name and payload must be "
                       "specified.");
  }
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  control::Request request;
  control::EventRequest& event = *request.mutable_event();
  event.set_name(arguments[0]);
  if (arguments.size() == 2) event.set_payload(arguments[1]);
  event.set_coalesce(invocation.enabled("coalesce", true));
  const auto reply = ask(invocation, context, request, "Error sending event");
  if (!reply) return 1;
  if (*format == Format::kJson) {
    context.out << event_json(event, reply->event()) << "\n";
    return 0;
  }
  context.out << "Event '" << event.name()
              << "' dispatched! Coalescing enabled: " << (event.coalesce() ? "true" : "false")
              << "\n";
  return 0;
}

}  // namespace

const Command& event_command() {
  static const Command kCommand = {
      .name = "event",
      .arguments = "NAME [PAYLOAD]",
      .summary = "Sends a user event through the cluster",
      .description =
          "Dispatches a user event to every member of the cluster, where the handlers for it run "
          "with the payload on their standard input. A payload that begins with '-' goes behind "
          "--.",
      .example =
          "$ starling event deploy v1.2.3\n"
          "Event 'deploy' dispatched! Coalescing enabled: true",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
