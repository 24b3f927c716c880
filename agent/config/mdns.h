// SPDX-License-Identifier: Apache-2.0
//
// The keys of discovery by mDNS: `discover`, and Serf's map `mdns`. Internal to agent/config.
#pragma once

#include "agent/config/keys.h"

namespace starling::agent::config {

/// 1 to 57 bytes: with "_serf_" before it, it is a label of DNS.
Result<void> set_discover(Draft& draft, const Value& value);
std::string show_discover(const Config& config);

/// A map of interface, disable_ipv4 and disable_ipv6; or one of their flags.
Result<void> set_mdns(Draft& draft, const Value& value);
std::string show_mdns(const Config& config);

/// Whether they go together; the interface for mDNS is `interface` unless it has one of its own.
Result<void> settle_mdns(Draft& draft, const Environment& environment);

}  // namespace starling::agent::config
