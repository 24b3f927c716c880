// SPDX-License-Identifier: Apache-2.0
//
// Secrets in memory that is not swapped out (as far as the system allows it: RLIMIT_MEMLOCK), lies
// between guard pages, is left out of core dumps, and is wiped when its owner goes. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace starling::agent {

/// 32 secret bytes, zero at first. Copied only by name (see Keyring::derive). One that was moved
/// from may only be assigned to or destroyed.
class SecretKey {
 public:
  static constexpr size_t kSize = 32;

  SecretKey();
  ~SecretKey();
  SecretKey(SecretKey&& other) noexcept;
  SecretKey& operator=(SecretKey&& other) noexcept;
  SecretKey(const SecretKey&) = delete;
  SecretKey& operator=(const SecretKey&) = delete;

  [[nodiscard]] const uint8_t* data() const { return bytes_; }
  [[nodiscard]] uint8_t* data() { return bytes_; }

 private:
  uint8_t* bytes_;
};

/// Overwrites what the text holds, and empties it.
void wipe(std::string& text);

/// Texts of secrets on their way from one place to another; wiped when they go. Not locked: they
/// are to be gone soon.
class SecretTexts {
 public:
  SecretTexts() = default;
  explicit SecretTexts(std::vector<std::string> texts) : texts_(std::move(texts)) {}
  ~SecretTexts();
  SecretTexts(SecretTexts&&) noexcept = default;
  SecretTexts& operator=(SecretTexts&& other) noexcept;
  SecretTexts(const SecretTexts&) = default;
  SecretTexts& operator=(const SecretTexts&) = delete;

  [[nodiscard]] const std::vector<std::string>& get() const { return texts_; }

 private:
  std::vector<std::string> texts_;
};

}  // namespace starling::agent
