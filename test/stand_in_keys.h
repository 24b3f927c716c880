// SPDX-License-Identifier: Apache-2.0
//
// Node keys for tests of many members: a hash in the place of Ed25519, hundreds of times faster.
// The public key begins with the id. Anybody could compute a signature; a test's hostile members
// are asked not to.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "membership/gossip/origins.h"
#include "membership/hash.h"
#include "membership/random.h"
#include "membership/signatures.h"
#include "membership/swim/vouching.h"
#include "proto/gossip.pb.h"

namespace starling::test {

inline membership::PublicKey stand_in_key(const membership::NodeId& id) {
  membership::PublicKey key{};
  std::copy(id.bytes.begin(), id.bytes.end(), key.begin());
  return key;
}

inline membership::Signature stand_in_signature(const membership::PublicKey& key,
                                                std::string_view text) {
  const std::string_view owner(reinterpret_cast<const char*>(key.data()), key.size());
  uint64_t hash = membership::hash_bytes(owner) ^ membership::hash_bytes(text);
  membership::Signature signature{};
  for (size_t at = 0; at < signature.size(); at += sizeof hash) {
    hash = membership::mix64(hash + 1);
    std::memcpy(signature.data() + at, &hash, sizeof hash);
  }
  return signature;
}

class StandInKeys final : public membership::NodeKeys {
 public:
  explicit StandInKeys(const membership::NodeId& id) : key_(stand_in_key(id)) {}

  [[nodiscard]] const membership::PublicKey& public_key() const override { return key_; }
  [[nodiscard]] membership::Signature sign(std::string_view text) const override {
    return stand_in_signature(key_, text);
  }
  [[nodiscard]] bool verify(const membership::PublicKey& key, std::string_view text,
                            const membership::Signature& signature) const override {
    return stand_in_signature(key, text) == signature;
  }
  [[nodiscard]] membership::NodeId id_of(const membership::PublicKey& key) const override {
    membership::NodeId id;
    std::copy_n(key.begin(), id.bytes.size(), id.bytes.begin());
    return id;
  }

 private:
  membership::PublicKey key_;
};

/// As the member that the record names would sign it; `left` by its own word if the status says so.
inline void sign_as_owner(proto::MemberRecord& record) {
  const auto id = membership::NodeId::from_wire(record.id());
  if (!id) return;
  const membership::PublicKey key = stand_in_key(*id);
  record.set_public_key(std::string(key.begin(), key.end()));
  record.set_owner_left(record.status() == proto::MEMBER_LEFT);
  const auto description = membership::read_description(record);
  if (!description) return;
  const membership::Signature signature =
      stand_in_signature(key, membership::signed_text(*description));
  record.set_signature(std::string(signature.begin(), signature.end()));
}

/// As the origin of `id` would sign it: an event, a query, its end, or a direct message.
template <typename Message>
void sign_as_origin(const membership::MessageId& id, Message& message) {
  const membership::PublicKey key = stand_in_key(id.origin);
  std::string text;
  membership::write_signed_text(key, id, message, text);
  const membership::Signature signature = stand_in_signature(key, text);
  message.set_public_key(key.data(), key.size());
  message.set_signature(signature.data(), signature.size());
}

}  // namespace starling::test
