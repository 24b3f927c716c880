// SPDX-License-Identifier: Apache-2.0
//
// The cluster keys: up to four, the first one seals, all of them open. Keys rotate by adding the
// new one everywhere, then making it primary everywhere, then removing the old one everywhere.
//
// Key material lives in guarded, locked memory where the system allows it and is wiped when the
// object goes. It is never used directly: each use derives a key of its own from it. Nothing here
// prints a key; `Id` is a hash and may be shown.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/net/secret.h"
#include "proto/support/result.h"

namespace starling::agent {

/// A fresh random key in base64, as configuration and command line take it.
[[nodiscard]] std::string generate_key();

class Keyring {
 public:
  static constexpr size_t kMaxKeys = 4;
  /// Public name of a key: a keyed hash of nothing but the key. Packets carry its first byte.
  using Id = std::array<uint8_t, 8>;

  /// 1..kMaxKeys keys of 32 bytes in base64, the primary first. kInvalid says which key (by its
  /// position, never its text) and what is wrong: not base64, wrong length, a duplicate, too many.
  static Result<Keyring> from_base64(const std::vector<std::string>& keys);

  /// The key that everybody knows: integrity against corruption and stray packets of clusters that
  /// have a key, but no secrecy and no protection from anyone who means harm.
  static Keyring insecure();

  Keyring(Keyring&&) noexcept = default;
  Keyring& operator=(Keyring&&) noexcept = default;

  [[nodiscard]] Keyring clone() const;

  [[nodiscard]] size_t size() const { return ids_.size(); }
  [[nodiscard]] bool is_insecure() const { return insecure_; }
  /// `index` < size(); 0 is the primary.
  [[nodiscard]] const Id& id(size_t index) const { return ids_.at(index); }
  /// Index of the key with this id.
  [[nodiscard]] std::optional<size_t> find(const Id& id) const;

  /// All keys in base64, the primary first; those of from_base64() in its one spelling.
  [[nodiscard]] SecretTexts to_base64() const;

  /// BLAKE2b-256 keyed by key `index` over the parts, each preceded by its length (8 bytes).
  [[nodiscard]] SecretKey derive(size_t index, std::initializer_list<std::string_view> parts) const;

 private:
  struct FreeGuarded {
    void operator()(uint8_t* bytes) const;
  };
  Keyring() = default;
  void append(const uint8_t* key);

  std::unique_ptr<uint8_t[], FreeGuarded> keys_;  // kMaxKeys * 32 bytes
  std::vector<Id> ids_;
  bool insecure_ = false;
};

}  // namespace starling::agent
