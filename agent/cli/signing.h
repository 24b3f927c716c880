// SPDX-License-Identifier: Apache-2.0
//
// -sign: puts an operator's signature into a request before it goes to the agent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "agent/cli/command.h"
#include "agent/trust/key.h"
#include "proto/control.pb.h"

namespace starling::agent {

/// The flags of commands whose requests can be signed.
std::span<const FlagSpec> signing_flags();

/// Signs the request with the key that -sign or $STARLING_OPERATOR_KEY names, if any does. False,
/// with the error reported: it cannot be signed, and must not go out.
bool sign_if_asked(const Invocation& invocation, Context& context, control::Request& request);

/// The key that -sign or $STARLING_OPERATOR_KEY names, for what is nothing without a signature;
/// none, with the error reported.
std::optional<SigningKey> signing_key(const Invocation& invocation, Context& context);

}  // namespace starling::agent
