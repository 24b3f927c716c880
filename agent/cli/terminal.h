// SPDX-License-Identifier: Apache-2.0
//
// Text for people: colours where a terminal shows them, and nothing from other hosts that a
// terminal would obey.
#pragma once

#include <string>
#include <string_view>

#include "agent/cli/command.h"

namespace starling::agent {

enum class Color { kNone, kGreen, kRed, kYellow, kGrey };

/// Stdout is a terminal, and neither NO_COLOR nor TERM=dumb says otherwise.
bool uses_color(const Context& context);

/// `text` between escape sequences.
std::string painted(std::string_view text, Color color);

/// `text` on one line and without control characters: they become \n, \t, \xHH.
std::string one_line(std::string_view text);

/// `text` for stdout: as it is for a file or pipe; on a terminal without control characters other
/// than line feed and tab.
std::string payload_text(const Context& context, std::string_view text);

}  // namespace starling::agent
