// SPDX-License-Identifier: Apache-2.0
//
// UTF-8: names and tags are text, and are checked to be so where they come in.
#pragma once

#include <cstddef>
#include <string_view>

namespace starling {

/// Bytes of the character that `text` starts with; 0 when it is empty or starts with none (overlong
/// forms and surrogates are none).
[[nodiscard]] size_t utf8_length(std::string_view text);
[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace starling
