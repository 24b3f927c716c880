// SPDX-License-Identifier: Apache-2.0
#include "agent/config/secrets.h"

#include <sodium.h>

#include <algorithm>
#include <array>

#include "agent/config/config.h"
#include "agent/config/keys.h"
#include "agent/config/yaml_reader.h"

namespace starling::agent::config {

namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kMostKeys = 4;  // as the keyring (agent/net/keyring.h)
constexpr std::string_view kRemedy = "make one with 'starling keygen'";

}  // namespace

Result<std::string> check_key(std::string_view base64) {
  constexpr size_t kLongest = 1024;  // more than any key; sodium wants the room in advance
  std::string bytes(std::min(base64.size(), kLongest), '\0');
  size_t length = 0;
  const char* end = nullptr;
  const int failed =
      sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), base64.data(),
                        base64.size(), " \t\r\n", &length, &end, sodium_base64_VARIANT_ORIGINAL);
  if (failed != 0 || end != base64.data() + base64.size()) {
    return fail(ErrorKind::kInvalid, "the cluster key is not base64: " + std::string(kRemedy));
  }
  bytes.resize(length);
  if (length == 16 || length == 24) {
    return fail(ErrorKind::kInvalid, "the cluster key has " + std::to_string(length) +
                                         " bytes; Serf allows that for AES, but Starling seals "
                                         "with XChaCha20-Poly1305, which needs 32: " +
                                         std::string(kRemedy));
  }
  if (length != kKeyBytes) {
    return fail(ErrorKind::kInvalid, "the cluster key has " + std::to_string(length) +
                                         " bytes instead of 32: " + std::string(kRemedy));
  }
  std::string text(sodium_base64_ENCODED_LEN(kKeyBytes, sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<unsigned char*>(bytes.data()),
                    kKeyBytes, sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // its terminator
  sodium_memzero(bytes.data(), bytes.size());
  return text;
}

Result<std::vector<std::string>> load_keyring_file(const std::string& path) {
  auto text = read_config_file(path);
  if (!text) return tl::unexpected(text.error());
  auto root = parse_yaml(*text, path);
  if (!root) return tl::unexpected(root.error());
  if (root->kind != Value::Kind::kList || root->items.empty()) {
    return fail(ErrorKind::kInvalid, path + ": wants a list of base64 keys, at least one");
  }
  if (root->items.size() > kMostKeys) {
    return fail(ErrorKind::kTooLarge, path + ": more than " + std::to_string(kMostKeys) + " keys");
  }
  std::vector<std::string> keys;
  for (const Value& item : root->items) {
    if (!item.is_scalar()) return fail(ErrorKind::kInvalid, item.place + ": wants a base64 key");
    auto key = check_key(item.text);
    if (!key) return fail(key.error().kind, item.place + ": " + key.error().message);
    if (std::find(keys.begin(), keys.end(), *key) == keys.end()) keys.push_back(std::move(*key));
  }
  return keys;
}

}  // namespace starling::agent::config

namespace starling::agent {

std::vector<std::string> key_names_of(const std::vector<std::string>& keys) {
  // Of a random key of 32 bytes, a hash tells nothing.
  constexpr std::string_view kLabel = "starling: name of a key in a configuration";
  std::vector<std::string> names;
  names.reserve(keys.size());
  for (const std::string& key : keys) {
    std::array<unsigned char, 16> hash{};
    crypto_generichash(hash.data(), hash.size(), reinterpret_cast<const unsigned char*>(key.data()),
                       key.size(), reinterpret_cast<const unsigned char*>(kLabel.data()),
                       kLabel.size());
    names.emplace_back(hash.begin(), hash.end());
  }
  return names;
}

void forget_keys(Config& config) {
  for (std::string& key : config.keys) sodium_memzero(key.data(), key.size());
  config.keys.clear();
}

}  // namespace starling::agent
