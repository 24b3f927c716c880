// SPDX-License-Identifier: Apache-2.0
//
// The file of an operator's secret key: text, mode 0600, the secret under a passphrase (Argon2id,
// XSalsa20-Poly1305) or plain. Blocking; any thread. Errors name the file and the remedy, and never
// show a secret.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/trust/key.h"
#include "proto/support/result.h"

namespace starling::agent {

/// What makes guessing a passphrase dear; see crypto_pwhash(3).
struct KeyFileCost {
  uint64_t passes = 4;
  uint64_t memory = uint64_t{64} << 20;  ///< bytes
};

/// Writes a new file and returns when it is on disk. `passphrase`: not empty, or null for none.
/// kConflict when something of this name is there; kUnavailable.
Result<void> write_key_file(const std::string& path, const std::string& name, const SigningKey& key,
                            const SecretBytes* passphrase, const KeyFileCost& cost = {});

class KeyFile {
 public:
  /// kNotFound; kUnavailable; kInvalid: no key, or others than its owner may read it.
  static Result<KeyFile> read(const std::string& path);

  [[nodiscard]] const NamedKey& owner() const { return owner_; }
  /// Whether unlock() needs a passphrase.
  [[nodiscard]] bool locked() const { return locked_; }
  /// kInvalid: the passphrase is wrong, or the file is damaged.
  [[nodiscard]] Result<SigningKey> unlock(const SecretBytes* passphrase) const;

 private:
  std::string path_;
  NamedKey owner_;
  bool locked_ = false;
  KeyFileCost cost_;
  std::string salt_;
  std::string nonce_;
  std::string sealed_;                  // the seed under the passphrase
  std::optional<SigningKey> unsealed_;  // without one
};

}  // namespace starling::agent
