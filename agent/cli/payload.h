// SPDX-License-Identifier: Apache-2.0
//
// The payload of an event: an argument, standard input or a file.
#pragma once

#include <optional>
#include <string>

#include "agent/cli/command.h"

namespace starling::agent {

/// No event may be larger, whatever the agent is configured to take.
inline constexpr std::size_t kMaxPayloadBytes = 1U << 20;

/// The argument behind the name, standard input if that is "-", or the file of -payload-file; empty
/// when there is none of these. None, with the error reported, when there are two of them, when it
/// cannot be read, or when it is over kMaxPayloadBytes.
std::optional<std::string> read_payload(const Invocation& invocation, Context& context);

}  // namespace starling::agent
