// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/key.h"

#include <sodium.h>

#include <algorithm>
#include <new>
#include <vector>

namespace starling::agent {

namespace {

constexpr std::string_view kLineStart = "starling-operator";
constexpr std::string_view kLineVersion = "1";
constexpr size_t kMaxLine = 512;
constexpr size_t kMaxOperatorName = 64;
constexpr std::string_view kNameCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@";
// What a policy calls those who have not signed, and all who are trusted.
constexpr std::string_view kNobody = "unsigned";
constexpr std::string_view kEverybody = "any";

static_assert(SigningKey::kSeedSize == crypto_sign_SEEDBYTES);
static_assert(SigningKey::kSignatureSize == crypto_sign_BYTES);
static_assert(std::tuple_size_v<decltype(OperatorKey::bytes)> == crypto_sign_PUBLICKEYBYTES);

const uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    if (text.empty()) return words;
    const size_t end = std::min(text.find_first_of(" \t\r\n"), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

tl::unexpected<Error> no_key(const std::string& why) {
  return fail(ErrorKind::kInvalid,
              why +
                  ": an operator's public key is one line, 'starling-operator 1 KEY NAME', as "
                  "'starling operator keygen' prints it");
}

}  // namespace

// --- public ------------------------------------------------------------------------------------

std::optional<OperatorKey> OperatorKey::from_wire(std::string_view wire) {
  OperatorKey key;
  if (wire.size() != key.bytes.size()) return std::nullopt;
  std::ranges::copy(wire, key.bytes.begin());
  return key;
}

std::string OperatorKey::id() const {
  std::array<uint8_t, crypto_generichash_BYTES> hash{};
  crypto_generichash(hash.data(), hash.size(), bytes.data(), bytes.size(), nullptr, 0);
  constexpr size_t kShown = 8;
  std::array<char, kShown * 2 + 1> digits{};
  sodium_bin2hex(digits.data(), digits.size(), hash.data(), kShown);
  return digits.data();
}

Result<void> check_operator_name(std::string_view name) {
  const bool fits = !name.empty() && name.size() <= kMaxOperatorName &&
                    name.find_first_not_of(kNameCharacters) == std::string_view::npos;
  if (fits && name != kNobody && name != kEverybody) return {};
  return fail(ErrorKind::kInvalid,
              "an operator's name has 1 to 64 letters, digits, '.', '-', '_' or '@', and is not "
              "'unsigned' or 'any'");
}

Result<NamedKey> NamedKey::parse(std::string_view line) {
  if (line.size() > kMaxLine) return no_key("this is too long");
  const std::vector<std::string_view> words = words_of(line);
  if (words.empty() || words[0] != kLineStart) {
    return no_key("this does not begin with 'starling-operator'");
  }
  if (words.size() > 1 && words[1] != kLineVersion) {
    return no_key("this is of a version that this program does not know");
  }
  if (words.size() != 4) {
    return no_key("this has " + std::to_string(words.size()) + " words instead of four");
  }
  NamedKey named;
  size_t size = 0;
  if (sodium_base642bin(named.key.bytes.data(), named.key.bytes.size(), words[2].data(),
                        words[2].size(), nullptr, &size, nullptr,
                        sodium_base64_VARIANT_ORIGINAL) != 0 ||
      size != named.key.bytes.size()) {
    return no_key("its third word is not base64 of 32 bytes");
  }
  if (auto valid = check_operator_name(words[3]); !valid) return tl::unexpected(valid.error());
  named.name = words[3];
  return named;
}

std::string NamedKey::line() const {
  std::array<char,
             sodium_base64_ENCODED_LEN(crypto_sign_PUBLICKEYBYTES, sodium_base64_VARIANT_ORIGINAL)>
      base64{};
  sodium_bin2base64(base64.data(), base64.size(), key.bytes.data(), key.bytes.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  return std::string(kLineStart) + " " + std::string(kLineVersion) + " " + base64.data() + " " +
         name;
}

bool verify(const OperatorKey& key, std::string_view text, std::string_view signature) {
  return signature.size() == SigningKey::kSignatureSize &&
         crypto_sign_verify_detached(bytes_of(signature), bytes_of(text), text.size(),
                                     key.bytes.data()) == 0;
}

// --- secret ------------------------------------------------------------------------------------

void SecretBytes::Free::operator()(uint8_t* bytes) const {
  sodium_free(bytes);  // wipes
}

SecretBytes::SecretBytes(size_t size) : size_(size) {
  if (sodium_init() < 0) throw std::bad_alloc();
  bytes_.reset(static_cast<uint8_t*>(sodium_malloc(size)));
  if (!bytes_) throw std::bad_alloc();
  sodium_memzero(bytes_.get(), size);
}

SigningKey::SigningKey() : secret_(crypto_sign_SECRETKEYBYTES) {}

SigningKey SigningKey::generate() {
  SecretBytes seed(kSeedSize);
  randombytes_buf(seed.data(), seed.size());
  return from_seed(seed);
}

SigningKey SigningKey::from_seed(const SecretBytes& seed) {
  SigningKey key;
  crypto_sign_seed_keypair(key.public_.bytes.data(), key.secret_.data(), seed.data());
  return key;
}

SecretBytes SigningKey::seed() const {
  SecretBytes seed(kSeedSize);
  crypto_sign_ed25519_sk_to_seed(seed.data(), secret_.data());
  return seed;
}

std::string SigningKey::sign(std::string_view text) const {
  std::string signature(kSignatureSize, '\0');
  crypto_sign_detached(reinterpret_cast<uint8_t*>(signature.data()), nullptr, bytes_of(text),
                       text.size(), secret_.data());
  return signature;
}

}  // namespace starling::agent
