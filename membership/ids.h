// SPDX-License-Identifier: Apache-2.0
//
// The identifiers that members and messages go by.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "membership/random.h"

namespace starling::membership {

/// Identity of an agent: the first 16 bytes of BLAKE2b-256 of its Ed25519 public key. Kept across
/// restarts. The name is a label, this is the key.
struct NodeId {
  static constexpr size_t kSize = 16;
  std::array<uint8_t, kSize> bytes{};

  static std::optional<NodeId> from_wire(std::string_view wire) {
    if (wire.size() != kSize) return std::nullopt;
    NodeId id;
    std::memcpy(id.bytes.data(), wire.data(), kSize);
    return id;
  }
  [[nodiscard]] std::string_view wire() const {
    return {reinterpret_cast<const char*>(bytes.data()), kSize};
  }
  /// 64 well-mixed bits; not unique, but as good as random.
  [[nodiscard]] uint64_t hash() const {
    uint64_t words[2];
    std::memcpy(words, bytes.data(), kSize);
    return mix64(words[0] ^ mix64(words[1]));
  }
  /// 32 hexadecimal digits.
  [[nodiscard]] std::string to_string() const;

  auto operator<=>(const NodeId&) const = default;
};

/// A member's own version number: (boot epoch, counter). Only the member raises it (SWIM). The
/// epoch rises at every start, so a restarted agent outranks whatever was said about it before.
struct Incarnation {
  uint64_t value = 0;

  static constexpr Incarnation at(uint32_t epoch, uint32_t counter) {
    return {uint64_t{epoch} << 32 | counter};
  }
  [[nodiscard]] constexpr uint32_t epoch() const { return static_cast<uint32_t>(value >> 32); }
  [[nodiscard]] constexpr Incarnation next() const { return {value + 1}; }
  /// Room is left above it, so that its owner can always refute.
  [[nodiscard]] constexpr bool valid() const { return epoch() < UINT32_MAX; }

  auto operator<=>(const Incarnation&) const = default;
};

/// Names a user event or a query, for ever.
struct MessageId {
  NodeId origin;
  uint32_t epoch = 0;     ///< boot epoch of the origin
  uint64_t sequence = 0;  ///< from 1, without gaps within an epoch

  auto operator<=>(const MessageId&) const = default;

  /// "<origin hex>.<epoch>.<sequence>"
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] uint64_t hash() const {
    return mix64(origin.hash() ^ mix64(epoch) ^ (sequence << 1));
  }
};

/// Lamport time: orders events, says nothing about clocks.
using LamportTime = uint64_t;

/// Lamport's rules: rises before each own event, and never stays behind what was heard. But no word
/// of others moves it by more than kLeap: no honest cluster gets that far in its life, and a liar
/// would need a thousand million lies to use the clock up.
class LamportClock {
 public:
  [[nodiscard]] LamportTime now() const { return now_; }
  LamportTime tick() { return ++now_; }
  void witness(LamportTime heard) {
    if (heard > now_ && heard < kBeyondBelief) now_ += heard - now_ < kLeap ? heard - now_ : kLeap;
  }

 private:
  static constexpr LamportTime kBeyondBelief = LamportTime{1} << 62;
  static constexpr LamportTime kLeap = LamportTime{1} << 32;
  LamportTime now_ = 0;
};

}  // namespace starling::membership

template <>
struct std::hash<starling::membership::NodeId> {
  size_t operator()(const starling::membership::NodeId& id) const noexcept { return id.hash(); }
};
template <>
struct std::hash<starling::membership::MessageId> {
  size_t operator()(const starling::membership::MessageId& id) const noexcept { return id.hash(); }
};
