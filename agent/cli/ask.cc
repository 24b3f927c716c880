// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/ask.h"

#include <ostream>
#include <utility>

#include "agent/config/paths.h"

namespace starling::agent {

std::optional<Format> format_of(const Invocation& invocation, Context& context) {
  const std::string format = invocation.value("format", "text");
  if (format == "text") return Format::kText;
  if (format == "json") return Format::kJson;
  usage_error(invocation, context,
              "Invalid output format \"" + format + "\": -format is text or json");
  return std::nullopt;
}

std::optional<Client> connect(const Invocation& invocation, Context& context) {
  const std::string path = invocation.given("control") ? invocation.value("control")
                                                       : default_control_path(context.environment);
  if (auto possible = check_socket_path(path); !possible) {
    report(context, possible.error());
    return std::nullopt;
  }
  auto client = Client::connect(path);
  if (client) return *std::move(client);
  report(context, client.error());
  return std::nullopt;
}

std::optional<control::Reply> ask(const Invocation& invocation, Context& context,
                                  control::Request request, std::string_view failure,
                                  Client::Timeout timeout) {
  auto client = connect(invocation, context);
  if (!client) return std::nullopt;
  client->set_timeout(timeout);
  auto reply = client->call(std::move(request));
  if (!reply) {
    report(context, reply.error());
    return std::nullopt;
  }
  if (!reply->error().empty()) {
    context.err << failure << ": " << reply->error() << "\n";
    return std::nullopt;
  }
  return *std::move(reply);
}

void report(Context& context, const Error& error) {
  context.err << "starling: " << error.message << "\n";
}

bool takes_no_arguments(const Invocation& invocation, Context& context) {
  if (invocation.arguments.empty()) return true;
  usage_error(invocation, context,
              std::string(invocation.command->name) + " takes no arguments, but was given '" +
                  invocation.arguments[0] + "'");
  return false;
}

}  // namespace starling::agent
