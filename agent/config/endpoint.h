// SPDX-License-Identifier: Apache-2.0
//
// Addresses as people write them: "host", "host:port", ":port", "1.2.3.4", "::1", "[::1]:7946".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "membership/address.h"
#include "proto/support/result.h"

namespace starling::agent::config {

/// A host (name or IP without brackets; may be empty, as in ":7946") and a port.
struct Endpoint {
  std::string host;
  uint16_t port = 0;

  bool operator==(const Endpoint&) const = default;
};

/// Splits `text`; `default_port` when it names none. Port 0..65535. Does not look names up.
Result<Endpoint> parse_endpoint(std::string_view text, uint16_t default_port);

/// The addresses of an endpoint, each with its port: the literal, or what getaddrinfo() finds (at
/// least one; blocking). An empty host is 0.0.0.0.
Result<std::vector<membership::Address>> resolve(const Endpoint& endpoint);

}  // namespace starling::agent::config
