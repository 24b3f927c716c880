// SPDX-License-Identifier: Apache-2.0
//
// Keys with a shape of their own: event_handlers and tags. Internal to agent/config.
#pragma once

#include <string>

#include "agent/config/keys.h"

namespace starling::agent::config {

/// The handlers' own bounds (handlers/spec.h), which this library does not see.
inline constexpr unsigned kMostRuns = 1024;       // at once
inline constexpr unsigned kMostWaiting = 65'536;  // of one handler
inline constexpr Duration kLeastTimeout = std::chrono::milliseconds(1);
inline constexpr Duration kMostTimeout = std::chrono::hours(24 * 7);

/// A list of "FILTER=COMMAND" strings or of maps (handler_policy_keys.h).
Result<void> set_event_handlers(Draft& draft, const Value& value);
std::string show_event_handlers(const Config& config);

/// A map of strings, or a flag's "key=value".
Result<void> set_tags(Draft& draft, const Value& value);
std::string show_tags(const Config& config);

/// Serf's older name for the tag "role".
Result<void> set_role(Draft& draft, const Value& value);

}  // namespace starling::agent::config
