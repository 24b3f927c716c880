// SPDX-License-Identifier: Apache-2.0
//
// Bytes as text: UTF-8 and what of a command's output may be shown to people. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace starling::handlers {

/// The end of `bytes`, at most `limit` of them, without blank space around, as valid UTF-8: other
/// bytes and control characters but TAB and newline become U+FFFD.
[[nodiscard]] std::string readable_end(std::string_view bytes, size_t limit);

}  // namespace starling::handlers
