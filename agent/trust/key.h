// SPDX-License-Identifier: Apache-2.0
//
// Operators' keys: Ed25519. The public half is told to agents, as one line; the secret half signs
// orders and never leaves the memory it was read into. Values; a secret is in locked memory, which
// is wiped when it goes.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "proto/support/result.h"

namespace starling::agent {

/// A public key.
struct OperatorKey {
  std::array<uint8_t, 32> bytes{};

  auto operator<=>(const OperatorKey&) const = default;

  static std::optional<OperatorKey> from_wire(std::string_view wire);
  [[nodiscard]] std::string_view wire() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// 16 hexadecimal digits of its hash, for people and logs.
  [[nodiscard]] std::string id() const;
};

/// A key and what its owner is called.
struct NamedKey {
  OperatorKey key;
  std::string name;

  bool operator==(const NamedKey&) const = default;

  /// "starling-operator 1 BASE64 NAME". kInvalid says what is wrong.
  static Result<NamedKey> parse(std::string_view line);
  [[nodiscard]] std::string line() const;
};

/// 1 to 64 letters, digits, '.', '-', '_' and '@', none that a policy means otherwise. kInvalid.
Result<void> check_operator_name(std::string_view name);

/// Bytes in locked memory. A size that cannot be had ends the process, as with new.
class SecretBytes {
 public:
  explicit SecretBytes(size_t size);
  [[nodiscard]] uint8_t* data() { return bytes_.get(); }
  [[nodiscard]] const uint8_t* data() const { return bytes_.get(); }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(uint8_t* bytes) const;
  };
  std::unique_ptr<uint8_t, Free> bytes_;
  size_t size_;
};

/// A secret key.
class SigningKey {
 public:
  static constexpr size_t kSeedSize = 32;
  static constexpr size_t kSignatureSize = 64;

  static SigningKey generate();
  /// `seed` has kSeedSize bytes.
  static SigningKey from_seed(const SecretBytes& seed);

  [[nodiscard]] const OperatorKey& public_key() const { return public_; }
  [[nodiscard]] SecretBytes seed() const;
  [[nodiscard]] std::string sign(std::string_view text) const;

 private:
  SigningKey();
  SecretBytes secret_;
  OperatorKey public_;
};

/// Whether `signature` is that of `key` under `text`.
[[nodiscard]] bool verify(const OperatorKey& key, std::string_view text,
                          std::string_view signature);

}  // namespace starling::agent
