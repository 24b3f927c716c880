// SPDX-License-Identifier: Apache-2.0
#include "membership/ids.h"

namespace starling::membership {

std::string NodeId::to_string() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * kSize);
  for (const uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string MessageId::to_string() const {
  return origin.to_string() + "." + std::to_string(epoch) + "." + std::to_string(sequence);
}

}  // namespace starling::membership
