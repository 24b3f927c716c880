// SPDX-License-Identifier: Apache-2.0
//
// How a text that is signed is put together, so that one text means one thing: numbers have eight
// bytes, least significant first, and texts are preceded by their length as such a number.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace starling::membership {

inline void add_number(std::string& text, uint64_t number) {
  std::array<char, sizeof number> bytes;
  for (size_t at = 0; at < bytes.size(); ++at) bytes[at] = static_cast<char>(number >> (8 * at));
  text.append(bytes.data(), bytes.size());
}

inline void add_text(std::string& text, std::string_view part) {
  add_number(text, part.size());
  text.append(part);
}

template <size_t kSize>
[[nodiscard]] std::string_view view(const std::array<uint8_t, kSize>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), kSize};
}

/// The bytes as an array; all zero when there are not as many.
template <typename Bytes>
[[nodiscard]] Bytes bytes_of(std::string_view wire) {
  Bytes bytes{};
  if (wire.size() == bytes.size()) std::copy(wire.begin(), wire.end(), bytes.begin());
  return bytes;
}

}  // namespace starling::membership
