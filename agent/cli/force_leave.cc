// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/signing.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"prune", "", false, "forget the member at once, instead of listing it as left"},
});

int run(const Invocation& invocation, Context& context) {
  if (invocation.arguments.size() != 1) {
    return usage_error(invocation, context, "A node name must be specified to force leave.");
  }
  control::Request request;
  request.mutable_force_leave()->set_node(invocation.arguments[0]);
  request.mutable_force_leave()->set_prune(invocation.enabled("prune"));
  if (!sign_if_asked(invocation, context, request)) return 1;
  const auto reply =
      ask(invocation, context, request, "Error force leaving", std::chrono::seconds(60));
  return reply ? 0 : 1;
}

}  // namespace

const Command& force_leave_command() {
  static const Command kCommand = {
      .name = "force-leave",
      .arguments = "NAME",
      .summary = "Forces a member of the cluster to enter the \"left\" state",
      .description =
          "Declares that a failed member is gone for good: it becomes left, and nobody tries to "
          "reach it any more. A member that is in fact alive says so and stays. Prints nothing "
          "when all is well.",
      .example = "$ starling force-leave web3",
      .flags = kFlags,
      .run = run,
      .orders = true,
  };
  return kCommand;
}

}  // namespace starling::agent
