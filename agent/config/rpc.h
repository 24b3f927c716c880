// SPDX-License-Identifier: Apache-2.0
//
// Settles rpc_addr, where Serf's clients are answered, and the rule that off loopback they need a
// token. Internal to agent/config.
#pragma once

#include "agent/config/keys.h"

namespace starling::agent::config {

/// Sets config.rpc_addr or config.rpc_socket, or neither for "none". May resolve names.
Result<void> settle_rpc(Draft& draft, const Environment& environment);

/// rpc_addr as it is written.
std::string show_rpc_addr(const Config& config);

}  // namespace starling::agent::config
