// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/member_text.h"

#include <arpa/inet.h>

#include <array>
#include <string_view>

namespace starling::agent {

std::string endpoint_text(const control::Member& member) {
  constexpr std::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  std::string_view address = member.address();
  const std::string port = ":" + std::to_string(member.port());
  std::array<char, INET6_ADDRSTRLEN> text = {};
  if (address.size() == 16 && address.starts_with(kMapped)) address.remove_prefix(12);
  if (address.size() == 4) {
    ::inet_ntop(AF_INET, address.data(), text.data(), text.size());
    return text.data() + port;
  }
  if (address.size() != 16) return "?" + port;
  ::inet_ntop(AF_INET6, address.data(), text.data(), text.size());
  return "[" + std::string(text.data()) + "]" + port;
}

std::string tags_text(const control::Member& member) {
  std::string text;
  for (const control::KeyValue& tag : member.tags()) {
    text += (text.empty() ? "" : ",") + tag.key() + "=" + tag.value();
  }
  return text;
}

}  // namespace starling::agent
