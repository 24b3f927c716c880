// SPDX-License-Identifier: Apache-2.0
//
// Default places of the agent's state and control socket. The agent and the client subcommands both
// ask here, so that they agree without flags.
#pragma once

#include <cstddef>
#include <string>

#include "agent/config/environment.h"
#include "proto/support/result.h"

namespace starling::agent {

/// Bytes that a unix socket's path may have on Linux (sockaddr_un, without its terminator).
inline constexpr size_t kMaxSocketPath = 107;

/// /var/lib/starling for root; otherwise $XDG_STATE_HOME/starling or $HOME/.local/state/starling.
/// Empty when none of these is known (no HOME). Relative XDG paths are ignored, as XDG asks.
std::string default_data_dir(const Environment& environment);

/// $STARLING_CONTROL; otherwise /run/starling/control.sock for root,
/// $XDG_RUNTIME_DIR/starling/control.sock, or control.sock in default_data_dir(). Independent of
/// -data-dir, so that a client finds the agent without being told. May be empty, as above.
std::string default_control_path(const Environment& environment);

/// Refuses an empty path, a NUL byte, and more than kMaxSocketPath bytes, with the remedy.
Result<void> check_socket_path(const std::string& path);

}  // namespace starling::agent
