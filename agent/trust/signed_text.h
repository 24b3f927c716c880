// SPDX-License-Identifier: Apache-2.0
//
// The texts that operators sign: field after field, each behind its length, so that no two sets of
// fields have one text. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace starling::agent {

/// Numbers are 8 bytes, big endian; text has its length before it; so has a list.
class SignedText {
 public:
  SignedText& number(uint64_t value) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      text_.push_back(static_cast<char>(value >> shift & 0xff));
    }
    return *this;
  }
  SignedText& field(std::string_view value) {
    number(value.size());
    text_ += value;
    return *this;
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace starling::agent
