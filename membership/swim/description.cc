// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/description.h"

#include <cstring>

#include "membership/swim/member_table.h"
#include "membership/wire.h"
#include "proto/support/assert.h"

namespace starling::membership {

namespace {
constexpr std::string_view kZoneTag = "zone";
}

uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a, then mixed
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix64(hash);
}

DescriptionPool::~DescriptionPool() {
  STARLING_ASSERT(pooled_.empty());
}

uint64_t DescriptionPool::hash_of(const Description& description) {
  uint64_t signature = 0;
  std::memcpy(&signature, description.signature.data(), sizeof signature);
  return mix64(description.id.hash() ^ mix64(description.incarnation.value) ^ signature);
}

DescriptionRef DescriptionPool::intern(Description description) {
  if (const auto found = pooled_.find(description); found != pooled_.end()) {
    return DescriptionRef(*found);
  }
  PooledDescription wanted{std::move(description), 0, 0, 0, 0, 0, this};
  const Description& value = wanted.value;
  wanted.name_hash = hash_text(value.name);
  wanted.address_hash = std::hash<Address>()(value.address);
  wanted.hash = hash_of(value);
  wanted.position = MemberTable::ring_position(value.id, find_tag(value.tags, kZoneTag));
  return DescriptionRef(*pooled_.insert(new PooledDescription(std::move(wanted))).first);
}

void DescriptionPool::release(PooledDescription* pooled) {
  pooled_.erase(pooled);
  delete pooled;
}

}  // namespace starling::membership
