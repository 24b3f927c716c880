// SPDX-License-Identifier: Apache-2.0
//
// Text for people: colours where a terminal shows them, and nothing from other hosts that a
// terminal would obey.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/cli/command.h"

namespace starling::agent {

enum class Color { kNone, kGreen, kRed, kYellow, kGrey };

/// Stdout is a terminal, and neither NO_COLOR nor TERM=dumb says otherwise.
bool uses_color(const Context& context);

/// A moment in this host's time zone, as 2026-01-02T03:04:05; `unknown` when there is none (0).
std::string local_time(std::int64_t unix_ms, std::string_view unknown = "");

/// `text` between escape sequences.
std::string painted(std::string_view text, Color color);

/// `text` on one line and without control characters: they become \n, \t, \xHH.
std::string one_line(std::string_view text);

/// `text` for stdout: as it is for a file or pipe; on a terminal without control characters other
/// than line feed and tab.
std::string payload_text(const Context& context, std::string_view text);

}  // namespace starling::agent
