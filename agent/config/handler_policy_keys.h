// SPDX-License-Identifier: Apache-2.0
//
// What a handler's map may hold beside filter, command, timeout, concurrency and queue's length.
// Internal to agent/config.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "agent/config/keys.h"

namespace starling::agent::config {

/// All names that a handler's map knows.
std::span<const std::string_view> handler_keys();

/// Sets the field `name`, one of handler_keys(), of the policy. The error names its place.
Result<void> set_policy_field(HandlerConfig& handler, const std::string& name, const Value& value);

/// The policy as `, key: value` for show_event_handlers().
std::string show_policy(const HandlerConfig& handler);

}  // namespace starling::agent::config
