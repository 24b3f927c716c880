// SPDX-License-Identifier: Apache-2.0
#include "membership/signatures.h"

#include <sodium.h>

#include <algorithm>

#include "proto/support/assert.h"

namespace starling::membership {

static_assert(std::tuple_size_v<PublicKey> == crypto_sign_PUBLICKEYBYTES);
static_assert(std::tuple_size_v<Signature> == crypto_sign_BYTES);
static_assert(std::tuple_size_v<Ed25519Keys::Seed> == crypto_sign_SEEDBYTES);

namespace {

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

Ed25519Keys::Ed25519Keys(const Seed& seed) {
  STARLING_ASSERT(sodium_init() >= 0);
  secret_ = static_cast<uint8_t*>(sodium_malloc(crypto_sign_SECRETKEYBYTES));
  STARLING_ASSERT(secret_ != nullptr);
  crypto_sign_seed_keypair(public_key_.data(), secret_, seed.data());
}

Ed25519Keys::~Ed25519Keys() {
  sodium_free(secret_);
}

Signature Ed25519Keys::sign(std::string_view text) const {
  Signature signature{};
  crypto_sign_detached(signature.data(), nullptr, bytes_of(text), text.size(), secret_);
  return signature;
}

bool Ed25519Keys::verify(const PublicKey& key, std::string_view text,
                         const Signature& signature) const {
  return crypto_sign_verify_detached(signature.data(), bytes_of(text), text.size(), key.data()) ==
         0;
}

NodeId Ed25519Keys::id_of(const PublicKey& key) const {
  std::array<uint8_t, 32> hash{};
  crypto_generichash(hash.data(), hash.size(), key.data(), key.size(), nullptr, 0);
  NodeId id;
  std::copy_n(hash.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

}  // namespace starling::membership
