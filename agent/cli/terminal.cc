// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/terminal.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace starling::agent {
namespace {

std::string hex_escape(unsigned char byte) {
  std::array<char, 5> text = {};
  std::snprintf(text.data(), text.size(), "\\x%02x", byte);
  return text.data();
}

/// A character that a terminal obeys instead of showing: C0, DEL, or C1 in UTF-8.
bool is_control(std::string_view text, std::size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x20 || byte == 0x7f) return true;
  if (byte != 0xc2 || at + 1 >= text.size()) return false;
  const auto next = static_cast<unsigned char>(text[at + 1]);
  return next >= 0x80 && next < 0xa0;
}

std::string without_control(std::string_view text, bool keep_lines) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char character = text[i];
    if (!is_control(text, i) || (keep_lines && (character == '\n' || character == '\t'))) {
      result += character;
    } else if (character == '\n') {
      result += "\\n";
    } else if (character == '\t') {
      result += "\\t";
    } else {
      result += hex_escape(static_cast<unsigned char>(character));
    }
  }
  return result;
}

}  // namespace

bool uses_color(const Context& context) {
  return context.out_terminal && !context.environment.get("NO_COLOR") &&
         context.environment.get("TERM") != "dumb";
}

std::string local_time(std::int64_t unix_ms, std::string_view unknown) {
  if (unix_ms <= 0) return std::string(unknown);
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts = {};
  ::localtime_r(&seconds, &parts);
  std::array<char, 32> text = {};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts)};
}

std::string painted(std::string_view text, Color color) {
  constexpr auto kCodes = std::to_array<std::string_view>({"", "32", "31", "33", "90"});
  if (color == Color::kNone) return std::string(text);
  return "\x1b[" + std::string(kCodes.at(static_cast<std::size_t>(color))) + "m" +
         std::string(text) + "\x1b[0m";
}

std::string one_line(std::string_view text) {
  return without_control(text, false);
}

std::string payload_text(const Context& context, std::string_view text) {
  return context.out_terminal ? without_control(text, true) : std::string(text);
}

}  // namespace starling::agent
