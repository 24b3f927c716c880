// SPDX-License-Identifier: Apache-2.0
#include "agent/net/keyring.h"

#include <sodium.h>

#include <cstring>
#include <utility>

#include "proto/support/assert.h"

namespace starling::agent {

namespace {

constexpr size_t kKeySize = SecretKey::kSize;
constexpr std::string_view kIdLabel = "starling key id 1";
// Public on purpose: see Keyring::insecure.
constexpr std::string_view kInsecureSeed = "starling: no cluster key, no secrecy";

// The error names the key by its position: its text is, or nearly is, a secret.
std::string key_name(size_t index, size_t count) {
  return count == 1 ? "the cluster key" : "cluster key " + std::to_string(index + 1);
}

constexpr std::string_view kRemedy = "; `starling keygen` makes one of 32 random bytes in base64";

Result<void> decode_key(const std::string& text, const std::string& name, SecretKey& key) {
  if (text.empty()) return fail(ErrorKind::kInvalid, name + " is empty" + std::string(kRemedy));
  // Room for a key that is far too long, so that its length can be told.
  std::array<uint8_t, 256> bytes{};
  size_t size = 0;
  const int error = sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr,
                                      &size, nullptr, sodium_base64_VARIANT_ORIGINAL);
  if (error == 0 && size == kKeySize) std::memcpy(key.data(), bytes.data(), kKeySize);
  sodium_memzero(bytes.data(), bytes.size());
  if (error != 0) {
    const std::string size_hint = text.size() > 340 ? " of a sensible length" : "";
    return fail(ErrorKind::kInvalid, name + " is not base64" + size_hint + " (" +
                                         std::to_string(text.size()) + " characters)" +
                                         std::string(kRemedy));
  }
  if (size != kKeySize) {
    return fail(ErrorKind::kInvalid, name + " has " + std::to_string(size) + " bytes, needs " +
                                         std::to_string(kKeySize) + std::string(kRemedy));
  }
  return {};
}

std::string encode_key(const uint8_t* key) {
  std::string text(sodium_base64_encoded_len(kKeySize, sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), key, kKeySize, sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // the terminator
  return text;
}

void hash_part(crypto_generichash_state& state, std::string_view part) {
  std::array<uint8_t, 8> size{};
  for (size_t i = 0; i < size.size(); ++i) {
    size[i] = static_cast<uint8_t>(uint64_t{part.size()} >> (8 * i));
  }
  crypto_generichash_update(&state, size.data(), size.size());
  crypto_generichash_update(&state, reinterpret_cast<const uint8_t*>(part.data()), part.size());
}

}  // namespace

std::string generate_key() {
  STARLING_ASSERT(sodium_init() >= 0);
  SecretKey key;
  randombytes_buf(key.data(), kKeySize);
  return encode_key(key.data());
}

void Keyring::FreeGuarded::operator()(uint8_t* bytes) const {
  sodium_free(bytes);
}

Result<Keyring> Keyring::from_base64(const std::vector<std::string>& keys) {
  STARLING_ASSERT(sodium_init() >= 0);
  if (keys.empty()) return fail(ErrorKind::kInvalid, "the keyring holds no key");
  if (keys.size() > kMaxKeys) {
    return fail(ErrorKind::kInvalid, "the keyring holds " + std::to_string(keys.size()) +
                                         " keys, at most " + std::to_string(kMaxKeys) +
                                         " are allowed: remove those no longer in use");
  }
  Keyring ring;
  for (size_t i = 0; i < keys.size(); ++i) {
    SecretKey key;
    if (auto decoded = decode_key(keys[i], key_name(i, keys.size()), key); !decoded) {
      return tl::unexpected(std::move(decoded.error()));
    }
    for (size_t other = 0; other < i; ++other) {
      if (sodium_memcmp(ring.keys_.get() + other * kKeySize, key.data(), kKeySize) == 0) {
        return fail(ErrorKind::kInvalid, "cluster keys " + std::to_string(other + 1) + " and " +
                                             std::to_string(i + 1) + " are the same");
      }
    }
    ring.append(key.data());
  }
  return ring;
}

Keyring Keyring::insecure() {
  STARLING_ASSERT(sodium_init() >= 0);
  SecretKey key;
  crypto_generichash(key.data(), kKeySize, reinterpret_cast<const uint8_t*>(kInsecureSeed.data()),
                     kInsecureSeed.size(), nullptr, 0);
  Keyring ring;
  ring.append(key.data());
  ring.insecure_ = true;
  return ring;
}

Keyring Keyring::clone() const {
  Keyring ring;
  for (size_t i = 0; i < size(); ++i) ring.append(keys_.get() + i * kKeySize);
  ring.insecure_ = insecure_;
  return ring;
}

void Keyring::append(const uint8_t* key) {
  STARLING_ASSERT(size() < kMaxKeys);
  if (!keys_) {
    keys_.reset(static_cast<uint8_t*>(sodium_malloc(kMaxKeys * kKeySize)));
    STARLING_ASSERT(keys_ != nullptr);
  }
  const size_t index = size();
  std::memcpy(keys_.get() + index * kKeySize, key, kKeySize);
  ids_.emplace_back();
  const SecretKey hash = derive(index, {kIdLabel});
  std::memcpy(ids_.back().data(), hash.data(), ids_.back().size());
}

std::optional<size_t> Keyring::find(const Id& id) const {
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (ids_[i] == id) return i;
  }
  return std::nullopt;
}

SecretTexts Keyring::to_base64() const {
  std::vector<std::string> texts;
  texts.reserve(size());
  for (size_t i = 0; i < size(); ++i) texts.push_back(encode_key(keys_.get() + i * kKeySize));
  return SecretTexts(std::move(texts));
}

SecretKey Keyring::derive(size_t index, std::initializer_list<std::string_view> parts) const {
  STARLING_ASSERT(index < size());
  SecretKey derived;
  crypto_generichash_state state;
  crypto_generichash_init(&state, keys_.get() + index * kKeySize, kKeySize, SecretKey::kSize);
  for (const std::string_view part : parts) hash_part(state, part);
  crypto_generichash_final(&state, derived.data(), SecretKey::kSize);
  sodium_memzero(&state, sizeof state);
  return derived;
}

}  // namespace starling::agent
