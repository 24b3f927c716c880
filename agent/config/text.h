// SPDX-License-Identifier: Apache-2.0
//
// Small readings and writings of text: durations, numbers, booleans, UTF-8, quoting, and the
// nearest of some names. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "membership/time.h"
#include "proto/support/result.h"
#include "proto/support/utf8.h"

namespace starling::agent::config {

/// No duration of a configuration is longer: ten years of 365 days.
inline constexpr membership::Duration kMaxDuration = std::chrono::hours(24 * 365 * 10);

/// Go's notation: "10s", "1m30s", "1.5h", "500ms", "0". Not negative, at most kMaxDuration. The
/// error is the second half of a sentence: "'10' has no unit: ...".
Result<membership::Duration> parse_duration(std::string_view text);

/// The shortest that parse_duration() reads back: "24h", "1m30s", "500ms", "0s".
std::string format_duration(membership::Duration duration);

/// Decimal digits only.
std::optional<uint64_t> parse_number(std::string_view text);

/// No byte below 0x20, and no 0x7f.
bool has_control_characters(std::string_view text);

/// 'text' for messages: cut at 64 bytes, control characters as "?".
std::string quoted(std::string_view text);

/// "text" as a JSON string, which is YAML as well. `text` is valid UTF-8.
std::string json_string(std::string_view text);

/// The one of `names` with the least edits (insert, delete, replace, swap) to `name`; empty when
/// the least is more than a third of the longer one's length.
std::string_view nearest(std::string_view name, std::span<const std::string_view> names);

}  // namespace starling::agent::config
