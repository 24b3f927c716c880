// SPDX-License-Identifier: Apache-2.0
#include "handlers/text.h"

#include <algorithm>

#include "proto/support/utf8.h"

namespace starling::handlers {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view kBlank = " \t\r\n";

}  // namespace

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
    const size_t length = utf8_length(bytes);
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
