// SPDX-License-Identifier: Apache-2.0
#include "agent/config/rpc.h"

#include "agent/config/endpoint.h"
#include "agent/config/paths.h"
#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

constexpr std::string_view kOff = "none";
constexpr std::string_view kUnix = "unix:";

Result<void> settle_socket(Draft& draft) {
  std::string path = draft.rpc_addr.substr(kUnix.size());
  if (path.starts_with("//")) path.erase(0, 2);
  if (auto checked = check_socket_path(path); !checked) {
    return fail(checked.error().kind, draft.at("rpc_addr") + ": " + checked.error().message);
  }
  draft.config.rpc_socket = std::move(path);
  return {};
}

}  // namespace

Result<void> settle_rpc(Draft& draft, const Environment&) {
  Config& config = draft.config;
  config.rpc_required = !draft.rpc_addr.empty();
  if (draft.rpc_addr == kOff) return {};
  if (draft.rpc_addr.starts_with(kUnix)) return settle_socket(draft);
  const auto fail_at = [&](const Error& error) {
    return fail(error.kind, draft.at("rpc_addr") + ": " + error.message);
  };
  const std::string text = draft.rpc_addr.empty() ? "127.0.0.1" : draft.rpc_addr;
  const auto endpoint = parse_endpoint(text, kDefaultRpcPort);
  if (!endpoint) return fail_at(endpoint.error());
  const auto addresses = resolve(*endpoint);
  if (!addresses) return fail_at(addresses.error());
  config.rpc_addr = addresses->front();
  if (config.rpc_addr->is_loopback() || !config.rpc_auth.empty()) return {};
  return fail(ErrorKind::kInvalid,
              draft.at("rpc_addr") + ": " + config.rpc_addr->to_string() +
                  " is not a loopback address, and without a token whoever reaches it can command "
                  "this host: give one with rpc_auth, or choose a loopback address");
}

std::string show_rpc_addr(const Config& config) {
  if (config.rpc_addr) return json_string(config.rpc_addr->to_string());
  if (!config.rpc_socket.empty()) return json_string(std::string(kUnix) + config.rpc_socket);
  return json_string(kOff);
}

}  // namespace starling::agent::config
