// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/ask.h"
#include "agent/cli/commands.h"

namespace starling::agent {
namespace {

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  return context.run_agent(invocation.flags);
}

}  // namespace

const Command& agent_command() {
  static const Command kCommand = {
      .name = "agent",
      .arguments = "",
      .summary = "Runs a Starling agent",
      .description =
          "Starts the agent and runs until it is told to leave or to stop. The agent is this "
          "host's "
          "member of the cluster; the other commands talk to it.\n\n"
          "An event handler is a command that runs on events. `-event-handler=event.sh` runs it "
          "on all events, `-event-handler=member-join=join.sh` on one type, "
          "`-event-handler=user:deploy=deploy.sh` on the user event deploy, and "
          "`-event-handler=query:uptime=uptime` answers the query uptime with its output.\n\n"
          "SIGINT leaves the cluster and ends the agent, SIGTERM ends it, SIGHUP reads the "
          "configuration files again.",
      .example =
          "$ starling agent -node=web1 -bind=127.0.0.1:7946 -tag role=web \\\n"
          "    -event-handler=user:deploy=/usr/local/bin/deploy.sh -join=127.0.0.2:7946",
      .flags = agent_flags(),
      .client = false,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
