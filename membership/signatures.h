// SPDX-License-Identifier: Apache-2.0
//
// Node keys: what a member signs with, so that nobody else speaks in its name. An interface, since
// the simulator's thousands of members need something cheaper than Ed25519. Pure; single-threaded.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "membership/ids.h"

namespace starling::membership {

using PublicKey = std::array<uint8_t, 32>;
using Signature = std::array<uint8_t, 64>;

/// The key pair of this node, and the functions of its kind of keys.
class NodeKeys {
 public:
  NodeKeys() = default;
  virtual ~NodeKeys() = default;
  NodeKeys(const NodeKeys&) = delete;
  NodeKeys& operator=(const NodeKeys&) = delete;

  [[nodiscard]] virtual const PublicKey& public_key() const = 0;
  /// Signs with this node's secret key. The same text gives the same signature.
  [[nodiscard]] virtual Signature sign(std::string_view text) const = 0;
  /// Whether the owner of `key` has signed `text`.
  [[nodiscard]] virtual bool verify(const PublicKey& key, std::string_view text,
                                    const Signature& signature) const = 0;
  /// The node id that belongs to a public key.
  [[nodiscard]] virtual NodeId id_of(const PublicKey& key) const = 0;
};

/// Ed25519 (RFC 8032): signing takes about 30 microseconds, verifying 70. The id is the first 16
/// bytes of BLAKE2b-256 of the public key.
class Ed25519Keys final : public NodeKeys {
 public:
  using Seed = std::array<uint8_t, 32>;

  explicit Ed25519Keys(const Seed& seed);
  /// Wipes the secret key.
  ~Ed25519Keys() override;

  [[nodiscard]] const PublicKey& public_key() const override { return public_key_; }
  [[nodiscard]] Signature sign(std::string_view text) const override;
  [[nodiscard]] bool verify(const PublicKey& key, std::string_view text,
                            const Signature& signature) const override;
  [[nodiscard]] NodeId id_of(const PublicKey& key) const override;

 private:
  PublicKey public_key_{};
  uint8_t* secret_ = nullptr;  // of libsodium: not swapped out, not in core dumps
};

}  // namespace starling::membership
