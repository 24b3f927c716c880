// SPDX-License-Identifier: Apache-2.0
//
// What the client subcommands share: reaching the agent, and saying why it did not work. Each
// function reports a failure on stderr itself; the caller returns exit status 1.
#pragma once

#include <optional>
#include <string_view>

#include "agent/cli/command.h"
#include "agent/control/client.h"

namespace starling::agent {

enum class Format { kText, kJson };

/// The value of -format; none, with the error reported, when it is neither.
std::optional<Format> format_of(const Invocation& invocation, Context& context);

/// The agent that is named by the first of: -control, -rpc-addr (or -rpc-auth), $STARLING_CONTROL,
/// $SERF_RPC_ADDR; otherwise the default control socket, or as `serf` 127.0.0.1:7373.
std::optional<Client> connect(const Invocation& invocation, Context& context);

/// Whether that is Serf's RPC, which has no room for some things.
bool asks_serf_rpc(const Invocation& invocation, const Context& context);

/// Connects and asks for one reply. A reply with an error is reported as "FAILURE: error", with
/// Serf's words for `failure`.
std::optional<control::Reply> ask(const Invocation& invocation, Context& context,
                                  control::Request request, std::string_view failure,
                                  Client::Timeout timeout = Client::kDefaultTimeout);

/// "starling: MESSAGE", on one line.
void report(Context& context, const Error& error);

/// "starling: no arguments are ..." for a command that takes none; true when all is well.
bool takes_no_arguments(const Invocation& invocation, Context& context);

}  // namespace starling::agent
