// SPDX-License-Identifier: Apache-2.0
#include "handlers/text.h"

#include <algorithm>

namespace starling::handlers {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view kBlank = " \t\r\n";

}  // namespace

size_t character_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

std::string readable_end(std::string_view bytes, size_t limit) {
  if (const size_t last = bytes.find_last_not_of(kBlank); last != std::string_view::npos) {
    bytes = bytes.substr(0, last + 1);
  } else {
    return {};
  }
  if (bytes.size() > limit) {
    bytes.remove_prefix(bytes.size() - limit);
    // Not the rest of a character that was cut.
    for (int i = 0; i < 3 && !bytes.empty() && (bytes[0] & 0xC0) == 0x80; ++i) {
      bytes.remove_prefix(1);
    }
  }
  bytes.remove_prefix(std::min(bytes.find_first_not_of(kBlank), bytes.size()));
  std::string text;
  while (!bytes.empty()) {
    const size_t length = character_length(bytes);
    const auto first = static_cast<unsigned char>(bytes[0]);
    const bool control = (first < 0x20 && first != '\t' && first != '\n') || first == 0x7F;
    if (length == 0 || control) {
      text += kReplacement;
      bytes.remove_prefix(1);
    } else {
      text += bytes.substr(0, length);
      bytes.remove_prefix(length);
    }
  }
  return text;
}

}  // namespace starling::handlers
