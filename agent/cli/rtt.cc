// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
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

/// The agent's own name; empty, with the error reported, when it does not tell.
std::string own_name(Client& client, Context& context) {
  control::Request request;
  request.mutable_info();
  const auto reply = client.call(std::move(request));
  if (!reply) {
    report(context, reply.error());
    return {};
  }
  for (const control::InfoSection& section : reply->info().sections()) {
    if (section.name() != "agent") continue;
    for (const control::KeyValue& pair : section.values()) {
      if (pair.key() == "name") return pair.value();
    }
  }
  context.err << "Unable to look up agent's node name: " << reply->error() << "\n";
  return {};
}

std::optional<control::CoordinateReply> coordinate_of(Client& client, Context& context,
                                                      const std::string& node) {
  control::Request request;
  request.mutable_coordinate()->set_node(node);
  auto reply = client.call(std::move(request));
  if (!reply) {
    report(context, reply.error());
    return std::nullopt;
  }
  if (!reply->error().empty()) {
    context.err << "Error getting coordinates: " << reply->error() << "\n";
    return std::nullopt;
  }
  if (reply->coordinate().known()) return std::move(*reply->mutable_coordinate());
  context.err << "Could not find a coordinate for node \"" << one_line(node) << "\"\n";
  return std::nullopt;
}

/// Seconds. Dabek et al., "Vivaldi: A Decentralized Network Coordinate System" (2004), 2.4 and 5.4;
/// the adjustments only count while they leave a distance.
double distance(const control::CoordinateReply& a, const control::CoordinateReply& b) {
  double squares = 0;
  for (int i = 0; i < std::min(a.vector_size(), b.vector_size()); ++i) {
    squares += (a.vector(i) - b.vector(i)) * (a.vector(i) - b.vector(i));
  }
  const double raw = std::sqrt(squares) + a.height() + b.height();
  const double adjusted = raw + a.adjustment() + b.adjustment();
  return adjusted > 0 ? adjusted : raw;
}

int run(const Invocation& invocation, Context& context) {
  const auto& nodes = invocation.arguments;
  if (nodes.empty() || nodes.size() > 2) {
    return usage_error(invocation, context, "One or two node names must be specified");
  }
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  auto client = connect(invocation, context);
  if (!client) return 1;
  const std::string other = nodes.size() == 2 ? nodes[1] : own_name(*client, context);
  if (other.empty()) return 1;
  const auto a = coordinate_of(*client, context, nodes[0]);
  if (!a) return 1;
  const auto b = coordinate_of(*client, context, other);
  if (!b) return 1;
  const double rtt_ms = distance(*a, *b) * 1000;
  if (*format == Format::kJson) {
    context.out << rtt_json(nodes[0], other, rtt_ms) << "\n";
    return 0;
  }
  std::array<char, 64> text = {};
  std::snprintf(text.data(), text.size(), "%.3f ms", rtt_ms);
  context.out << "Estimated " << one_line(nodes[0]) << " <-> " << one_line(other)
              << " rtt: " << text.data() << "\n";
  return 0;
}

}  // namespace

const Command& rtt_command() {
  static const Command kCommand = {
      .name = "rtt",
      .arguments = "NODE1 [NODE2]",
      .summary = "Estimates the round trip time between two members",
      .description =
          "Estimates how long a packet takes from one member to another and back, from the "
          "coordinates that the agent has of both. NODE2 is the agent's own member if it is not "
          "given.",
      .example =
          "$ starling rtt web1 web2\n"
          "Estimated web1 <-> web2 rtt: 0.358 ms",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
