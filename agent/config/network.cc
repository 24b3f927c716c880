// SPDX-License-Identifier: Apache-2.0
#include "agent/config/network.h"

#include <algorithm>

#include "agent/config/endpoint.h"
#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

using membership::Address;

std::vector<InterfaceAddress> interfaces_of(const Environment& environment) {
  if (!environment.interfaces) return {};
  return environment.interfaces();
}

bool is_link_local(const Address& address) {
  const auto& ip = address.ip();
  if (address.is_v4()) return ip[12] == 169 && ip[13] == 254;
  return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

/// RFC 1918, RFC 6598 (as Serf's library counts it) and IPv6's unique local addresses.
bool is_private(const Address& address) {
  const auto& ip = address.ip();
  if (!address.is_v4()) return (ip[0] & 0xfe) == 0xfc;
  return ip[12] == 10 || (ip[12] == 172 && (ip[13] & 0xf0) == 16) ||
         (ip[12] == 192 && ip[13] == 168) || (ip[12] == 100 && (ip[13] & 0xc0) == 64);
}

Result<Address> settle_address(const Draft& draft, std::string_view key, const std::string& text,
                               uint16_t default_port) {
  const auto endpoint = parse_endpoint(text, default_port);
  if (!endpoint)
    return fail(endpoint.error().kind, draft.at(key) + ": " + endpoint.error().message);
  auto addresses = resolve(*endpoint);
  if (!addresses)
    return fail(addresses.error().kind, draft.at(key) + ": " + addresses.error().message);
  return addresses->front();
}

/// With an interface: the bind address is one of its own, or is taken from it.
Result<void> settle_interface(Draft& draft, const Environment& environment) {
  Config& config = draft.config;
  if (config.interface.empty()) return {};
  const Address bind = config.bind;
  std::vector<Address> addresses;
  for (const InterfaceAddress& each : interfaces_of(environment)) {
    if (each.interface == config.interface) addresses.push_back(each.address);
  }
  if (addresses.empty()) {
    return fail(ErrorKind::kNotFound, draft.at("interface") + ": " + quoted(config.interface) +
                                          " is no interface with an address that is up");
  }
  if (!bind.is_unspecified()) {
    const bool has = std::any_of(addresses.begin(), addresses.end(),
                                 [&](const Address& each) { return each.ip() == bind.ip(); });
    if (has) return {};
    return fail(ErrorKind::kInvalid, draft.at("interface") + ": " + quoted(config.interface) +
                                         " does not have the bind address " + bind.ip_string());
  }
  const bool want_v4 = bind.is_v4();
  for (const bool same_family : {true, false}) {
    for (const Address& each : addresses) {
      if (is_link_local(each) || (same_family && each.is_v4() != want_v4)) continue;
      config.bind = Address(each.ip(), bind.port());
      return {};
    }
  }
  return fail(ErrorKind::kNotFound, draft.at("interface") + ": " + quoted(config.interface) +
                                        " has link-local addresses only");
}

Result<void> check_exposure(const Draft& draft) {
  const Config& config = draft.config;
  if (!config.keys.empty() || config.insecure) return {};
  const bool bind_is_open = !config.bind.is_loopback();
  if (!bind_is_open && (!config.advertise || config.advertise->is_loopback())) return {};
  const char* open = bind_is_open ? "bind" : "advertise";
  if (bind_is_open && draft.bind.empty()) open = "interface";
  const Address& address = bind_is_open ? config.bind : *config.advertise;
  return fail(ErrorKind::kInvalid,
              draft.at(open) + ": " + address.to_string() +
                  " is not a loopback address, and without a cluster key whoever reaches it can "
                  "join and command this host. Make a key with 'starling keygen' and give every "
                  "member the same with encrypt_key (-encrypt), or accept it with insecure: true "
                  "(-insecure)");
}

}  // namespace

Result<void> settle_network(Draft& draft, const Environment& environment) {
  Config& config = draft.config;
  std::string bind = draft.bind;
  if (bind.empty()) {
    const bool closed = config.keys.empty() && !config.insecure && config.interface.empty();
    bind = closed ? "127.0.0.1" : "0.0.0.0";
    if (closed && draft.advertise.empty()) {
      config.warnings.push_back(
          {"",
           "no cluster key: listening on loopback only. For other hosts, make a key with "
           "'starling keygen' and give it with encrypt_key (-encrypt)"});
    }
  }
  auto bound = settle_address(draft, "bind", bind, kDefaultBindPort);
  if (!bound) return tl::unexpected(bound.error());
  config.bind = *bound;
  if (auto settled = settle_interface(draft, environment); !settled) return settled;
  if (!draft.advertise.empty()) {
    auto advertise = settle_address(draft, "advertise", draft.advertise, config.bind.port());
    if (!advertise) return tl::unexpected(advertise.error());
    if (advertise->is_unspecified()) {
      return fail(ErrorKind::kInvalid, draft.at("advertise") + ": " + advertise->to_string() +
                                           " is no address that others can reach");
    }
    config.advertise = *advertise;
  }
  return check_exposure(draft);
}

}  // namespace starling::agent::config

namespace starling::agent {

Result<membership::Address> advertise_address(const Config& from, uint16_t bound_port,
                                              const Environment& environment) {
  if (from.advertise) {
    const uint16_t port = from.advertise->port();
    return membership::Address(from.advertise->ip(), port == 0 ? bound_port : port);
  }
  if (!from.bind.is_unspecified()) return membership::Address(from.bind.ip(), bound_port);
  // 0.0.0.0 hears IPv4 only; :: may hear both, and IPv4 is what most members can reach.
  using membership::Address;
  const auto interfaces = config::interfaces_of(environment);
  for (const bool want_private : {true, false}) {
    for (const bool want_v4 : {true, false}) {
      if (!want_v4 && from.bind.is_v4()) continue;
      for (const InterfaceAddress& each : interfaces) {
        const Address& address = each.address;
        if (address.is_v4() != want_v4 || address.is_loopback() || config::is_link_local(address))
          continue;
        if (want_private && !config::is_private(address)) continue;
        return Address(address.ip(), bound_port);
      }
    }
  }
  return fail(ErrorKind::kNotFound, "bound to " + from.bind.ip_string() +
                                        ", but this host has no address that others could reach: "
                                        "name one with advertise (-advertise)");
}

}  // namespace starling::agent
