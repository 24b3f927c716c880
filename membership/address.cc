// SPDX-License-Identifier: Apache-2.0
#include "membership/address.h"

#include <arpa/inet.h>
#include <algorithm>
#include <charconv>
#include <cstring>

#include "membership/random.h"

namespace starling::membership {

namespace {

constexpr std::array<uint8_t, 12> kV4Prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::optional<uint16_t> parse_port(std::string_view text) {
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0 || port > 65535) {
    return std::nullopt;
  }
  return static_cast<uint16_t>(port);
}

}  // namespace

std::optional<Address> Address::from_wire(std::string_view ip, uint32_t port) {
  if (port == 0 || port > 65535) return std::nullopt;
  Bytes bytes{};
  if (ip.size() == 4) {
    std::copy(kV4Prefix.begin(), kV4Prefix.end(), bytes.begin());
    std::memcpy(bytes.data() + kV4Prefix.size(), ip.data(), 4);
  } else if (ip.size() == 16) {
    std::memcpy(bytes.data(), ip.data(), 16);
  } else {
    return std::nullopt;
  }
  return Address(bytes, static_cast<uint16_t>(port));
}

std::optional<Address> Address::from_ip(std::string_view ip, uint16_t port) {
  const std::string text(ip);  // inet_pton wants a terminator
  Bytes bytes{};
  if (inet_pton(AF_INET, text.c_str(), bytes.data() + kV4Prefix.size()) == 1) {
    std::copy(kV4Prefix.begin(), kV4Prefix.end(), bytes.begin());
    return Address(bytes, port);
  }
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return Address(bytes, port);
  return std::nullopt;
}

std::optional<Address> Address::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  if (!port) return std::nullopt;
  std::string_view ip = text.substr(0, colon);
  if (ip.size() >= 2 && ip.front() == '[' && ip.back() == ']') {
    ip = ip.substr(1, ip.size() - 2);
  } else if (ip.find(':') != std::string_view::npos) {
    return std::nullopt;  // IPv6 without brackets is ambiguous
  }
  return from_ip(ip, *port);
}

bool Address::is_v4() const {
  return std::equal(kV4Prefix.begin(), kV4Prefix.end(), ip_.begin());
}

bool Address::is_loopback() const {
  if (is_v4()) return ip_[12] == 127;
  Bytes one{};
  one[15] = 1;
  return ip_ == one;
}

bool Address::is_unspecified() const {
  const auto first = ip_.begin() + (is_v4() ? 12 : 0);
  return std::all_of(first, ip_.end(), [](uint8_t byte) { return byte == 0; });
}

std::string Address::wire_ip() const {
  const size_t skip = is_v4() ? kV4Prefix.size() : 0;
  return {reinterpret_cast<const char*>(ip_.data()) + skip, ip_.size() - skip};
}

std::string Address::ip_string() const {
  char text[INET6_ADDRSTRLEN];
  const bool v4 = is_v4();
  inet_ntop(v4 ? AF_INET : AF_INET6, ip_.data() + (v4 ? kV4Prefix.size() : 0), text, sizeof text);
  return text;
}

std::string Address::to_string() const {
  const std::string port = std::to_string(port_);
  return is_v4() ? ip_string() + ":" + port : "[" + ip_string() + "]:" + port;
}

}  // namespace starling::membership

size_t std::hash<starling::membership::Address>::operator()(
    const starling::membership::Address& address) const noexcept {
  uint64_t words[2];
  std::memcpy(words, address.ip().data(), sizeof words);
  return starling::membership::mix64(words[0] ^
                                     starling::membership::mix64(words[1] ^ address.port()));
}
