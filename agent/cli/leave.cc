// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"

namespace starling::agent {
namespace {

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  control::Request request;
  request.mutable_leave();
  if (!ask(invocation, context, request, "Error leaving", std::chrono::seconds(60))) return 1;
  context.out << "Graceful leave complete\n";
  return 0;
}

}  // namespace

const Command& leave_command() {
  static const Command kCommand = {
      .name = "leave",
      .arguments = "",
      .summary = "Gracefully leaves the cluster and shuts the agent down",
      .description =
          "Tells the cluster that this member leaves on purpose, then ends the agent. "
          "The others list it as left, not as failed.",
      .example =
          "$ starling leave\n"
          "Graceful leave complete",
      .flags = {},
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
