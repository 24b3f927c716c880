// SPDX-License-Identifier: Apache-2.0
//
// From what a user writes to addresses: "host", "host:port", "name/host:port", "[v6]:port", "v6",
// and
// "_service._tcp.domain" for the hosts and ports that DNS names for it (SRV).
// Event-loop thread only; names are looked up on Asio's own resolver thread, services on another.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/net/transport.h"
#include "membership/address.h"
#include "proto/support/result.h"

namespace starling::agent {

/// Where to find another agent, as written.
struct Target {
  std::string name;  ///< of the member, from "name/..."; a hint, may be empty
  std::string host;  ///< a DNS name or an IP address without brackets
  uint16_t port = 0;

  bool operator==(const Target&) const = default;
};

/// kInvalid says what is wrong with which text.
Result<Target> parse_target(std::string_view text, uint16_t default_port = kDefaultPort);

/// Looks names up. Destroying it drops pending look-ups: their callbacks do not run.
class Resolver {
 public:
  /// Called from the loop, never inside resolve(). All addresses of the name, at least one, or an
  /// error that names it: kInvalid, kNotFound, kUnavailable, kTimeout.
  using Callback = std::function<void(Result<std::vector<membership::Address>>)>;

  /// `server`: asked for services instead of those in /etc/resolv.conf.
  explicit Resolver(asio::io_context& io, std::optional<membership::Address> server = {});
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void resolve(std::string_view text, Callback callback,
               std::chrono::milliseconds timeout = std::chrono::seconds(10));

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

/// What to tell others when bound to `bind`: `bind` itself, or for an unspecified address (0.0.0.0,
/// ::) the first private IPv4 address of this host's interfaces that are up, else the first global
/// IPv6 address (for `::` only). kNotFound when there is none, with the remedy.
Result<membership::Address> advertise_address(const membership::Address& bind);

}  // namespace starling::agent
