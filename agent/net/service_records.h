// SPDX-License-Identifier: Apache-2.0
//
// DNS service records (SRV, RFC 2782): from "_starling._tcp.example.com" to the hosts and ports
// that offer it. Blocking; any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/net/resolve.h"
#include "membership/address.h"
#include "proto/support/result.h"

namespace starling::agent {

/// Hosts of one service that are looked at; the others are left out.
inline constexpr size_t kMaxServiceHosts = 16;

/// Whether a host is the name of a service: "_service._tcp.domain" or "_service._udp.domain".
[[nodiscard]] bool is_service(std::string_view host);

/// Asks the servers of /etc/resolv.conf, or `server` (IPv4) instead, for a few seconds at most. The
/// hosts of the lowest priority value first, of equal ones the heavier first; at least one.
/// kNotFound, kUnavailable.
[[nodiscard]] Result<std::vector<Target>> look_up_service(
    const std::string& name, const std::optional<membership::Address>& server);

}  // namespace starling::agent
