// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/terminal.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"replay", "", false, "deliver past user events to this host's handlers (default: false)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

// The agent tries the addresses one after the other, and a dead host takes it a while.
constexpr auto kBaseTimeout = std::chrono::seconds(30);
constexpr auto kTimeoutPerAddress = std::chrono::seconds(35);

void print_failures(Context& context, const control::JoinReply& join) {
  for (const control::KeyValue& each : join.failures()) {
    context.err << "\t* Failed to join " << one_line(each.key()) << ": " << one_line(each.value())
                << "\n";
  }
}

int run(const Invocation& invocation, Context& context) {
  if (invocation.arguments.empty()) {
    return usage_error(invocation, context, "At least one address to join must be specified.");
  }
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  control::Request request;
  for (const std::string& address : invocation.arguments) {
    request.mutable_join()->add_addresses(address);
  }
  request.mutable_join()->set_replay(invocation.enabled("replay"));
  auto client = connect(invocation, context);
  if (!client) return 1;
  client->set_timeout(kBaseTimeout + kTimeoutPerAddress * invocation.arguments.size());
  const auto reply = client->call(request);
  if (!reply) {
    report(context, reply.error());
    return 1;
  }
  const control::JoinReply& join = reply->join();
  std::string error = reply->error();
  if (error.empty() && join.contacted() == 0) error = "no address could be reached";
  if (*format == Format::kJson) context.out << join_json(join, error) << "\n";
  if (!error.empty()) {
    context.err << "Error joining the cluster: " << error << "\n";
    print_failures(context, join);
    return 1;
  }
  if (*format == Format::kText) {
    context.out << "Successfully joined cluster by contacting " << join.contacted() << " nodes.\n";
  }
  print_failures(context, join);
  return 0;
}

}  // namespace

const Command& join_command() {
  static const Command kCommand = {
      .name = "join",
      .arguments = "ADDRESS...",
      .summary = "Tells the agent to join a cluster",
      .description =
          "Makes the agent a member of the cluster that at least one of the addresses belongs to. "
          "An address is host, host:port or [v6]:port; the default port is 7946. It is an error "
          "when none can be reached; those that cannot are named on standard error.",
      .example =
          "$ starling join 10.0.0.1 10.0.0.2:7946\n"
          "Successfully joined cluster by contacting 2 nodes.",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
