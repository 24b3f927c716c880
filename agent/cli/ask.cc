// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/ask.h"

#include <ostream>
#include <utility>

#include "agent/config/config.h"
#include "agent/config/endpoint.h"
#include "agent/config/paths.h"

namespace starling::agent {

namespace {

constexpr std::string_view kUnix = "unix:";

/// Where Serf's RPC is wanted; none: the control socket.
std::optional<std::string> rpc_wanted(const Invocation& invocation, const Context& context) {
  const auto& variable = context.environment.variable;
  const std::string from_environment = variable ? variable("SERF_RPC_ADDR").value_or("") : "";
  if (invocation.given("control")) return std::nullopt;
  if (invocation.given("rpc-addr")) return invocation.value("rpc-addr");
  if (invocation.given("rpc-auth")) return from_environment;
  if (variable && !variable("STARLING_CONTROL").value_or("").empty()) return std::nullopt;
  if (!from_environment.empty() || context.as_serf) return from_environment;
  return std::nullopt;
}

Result<Client> connect_rpc(const Invocation& invocation, const Context& context,
                           const std::string& where) {
  Client::SerfAddress address;
  const auto& variable = context.environment.variable;
  address.token = invocation.given("rpc-auth") || !variable
                      ? invocation.value("rpc-auth")
                      : variable("SERF_RPC_AUTH").value_or("");
  if (where.starts_with(kUnix)) {
    address.path = where.substr(kUnix.size());
    if (address.path.starts_with("//")) address.path.erase(0, 2);
    return Client::connect(address);
  }
  const auto endpoint = config::parse_endpoint(where, kDefaultRpcPort);
  if (!endpoint) return fail(endpoint.error().kind, "-rpc-addr: " + endpoint.error().message);
  address.host = endpoint->host.empty() ? "127.0.0.1" : endpoint->host;
  address.port = endpoint->port;
  return Client::connect(address);
}

}  // namespace

std::optional<Format> format_of(const Invocation& invocation, Context& context) {
  const std::string format = invocation.value("format", "text");
  if (format == "text") return Format::kText;
  if (format == "json") return Format::kJson;
  usage_error(invocation, context,
              "Invalid output format \"" + format + "\": -format is text or json");
  return std::nullopt;
}

bool asks_serf_rpc(const Invocation& invocation, const Context& context) {
  return rpc_wanted(invocation, context).has_value();
}

std::optional<Client> connect(const Invocation& invocation, Context& context) {
  if (const auto where = rpc_wanted(invocation, context)) {
    auto client = connect_rpc(invocation, context, where->empty() ? ":7373" : *where);
    if (client) return *std::move(client);
    report(context, client.error());
    return std::nullopt;
  }
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
