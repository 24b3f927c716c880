// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace starling::membership {

/// An IPv4 or IPv6 address with a port. IPv4 is kept as ::ffff:a.b.c.d, so that the two families
/// compare and hash alike.
class Address {
 public:
  using Bytes = std::array<uint8_t, 16>;

  Address() = default;
  Address(const Bytes& ip, uint16_t port) : ip_(ip), port_(port) {}

  /// From 4 or 16 bytes, as on the wire. None for any other length, or a port outside 1..65535.
  static std::optional<Address> from_wire(std::string_view ip, uint32_t port);

  /// From "1.2.3.4:7946" or "[::1]:7946". No names, no default port.
  static std::optional<Address> parse(std::string_view text);

  /// From an IP address without brackets.
  static std::optional<Address> from_ip(std::string_view ip, uint16_t port);

  [[nodiscard]] bool is_v4() const;
  [[nodiscard]] bool is_loopback() const;
  /// 0.0.0.0 or ::
  [[nodiscard]] bool is_unspecified() const;
  [[nodiscard]] const Bytes& ip() const { return ip_; }
  [[nodiscard]] uint16_t port() const { return port_; }

  /// The address as on the wire: 4 bytes for IPv4, otherwise 16.
  [[nodiscard]] std::string wire_ip() const;
  /// "1.2.3.4" or "::1".
  [[nodiscard]] std::string ip_string() const;
  /// "1.2.3.4:7946" or "[::1]:7946".
  [[nodiscard]] std::string to_string() const;

  auto operator<=>(const Address&) const = default;

 private:
  Bytes ip_{};
  uint16_t port_ = 0;
};

}  // namespace starling::membership

template <>
struct std::hash<starling::membership::Address> {
  size_t operator()(const starling::membership::Address& address) const noexcept;
};
