// SPDX-License-Identifier: Apache-2.0
//
// Description: what a member says of itself, with its signature. Immutable and shared: within one
// pool equal descriptions are one object, counted by reference. A process has one pool; the
// simulator gives one to all of its nodes, so that thousands of views of one cluster fit into
// memory. Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "membership/address.h"
#include "membership/ids.h"
#include "membership/signatures.h"

namespace starling::membership {

struct Description {
  NodeId id;
  std::string name;
  Address address;
  std::string tags;  ///< pack_tags
  uint8_t protocol_min = 1;
  uint8_t protocol_max = 1;
  Incarnation incarnation;  ///< of this text
  bool left = false;        ///< it says that it has left
  PublicKey key{};
  Signature signature{};

  bool operator==(const Description&) const = default;
};

/// The same on every machine.
[[nodiscard]] uint64_t hash_text(std::string_view text);

/// A description in a pool, with what is derived from it.
struct PooledDescription {
  Description value;
  uint64_t position;  ///< on the ring, see member_table.h
  uint64_t name_hash;
  uint64_t address_hash;
  uint64_t hash;  ///< of all
  uint32_t references;
  class DescriptionPool* pool;
};

/// Holds one reference.
class DescriptionRef {
 public:
  DescriptionRef() = default;
  explicit DescriptionRef(PooledDescription* pooled) : pooled_(pooled) { ++pooled_->references; }
  DescriptionRef(const DescriptionRef& other) : pooled_(other.pooled_) {
    if (pooled_ != nullptr) ++pooled_->references;
  }
  DescriptionRef(DescriptionRef&& other) noexcept
      : pooled_(std::exchange(other.pooled_, nullptr)) {}
  DescriptionRef& operator=(DescriptionRef other) noexcept {
    std::swap(pooled_, other.pooled_);
    return *this;
  }
  ~DescriptionRef();

  const PooledDescription* operator->() const { return pooled_; }
  const PooledDescription& operator*() const { return *pooled_; }
  explicit operator bool() const { return pooled_ != nullptr; }

 private:
  PooledDescription* pooled_ = nullptr;
};

class DescriptionPool {
 public:
  DescriptionPool() = default;
  /// All references must be gone.
  ~DescriptionPool();
  DescriptionPool(const DescriptionPool&) = delete;
  DescriptionPool& operator=(const DescriptionPool&) = delete;

  /// The one object that equals `description`.
  DescriptionRef intern(Description description);
  /// Whether somebody refers to just this one.
  [[nodiscard]] bool contains(const Description& description) const {
    return pooled_.contains(description);
  }
  [[nodiscard]] size_t size() const { return pooled_.size(); }

 private:
  friend class DescriptionRef;
  [[nodiscard]] static uint64_t hash_of(const Description& description);
  struct Hash {
    using is_transparent = void;
    size_t operator()(const PooledDescription* pooled) const { return pooled->hash; }
    size_t operator()(const Description& description) const { return hash_of(description); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const PooledDescription* a, const Description& b) const {
      return a->value == b;
    }
    bool operator()(const Description& a, const PooledDescription* b) const {
      return a == b->value;
    }
    bool operator()(const PooledDescription* a, const PooledDescription* b) const {
      return a->hash == b->hash && a->value == b->value;
    }
  };
  void release(PooledDescription* pooled);

  std::unordered_set<PooledDescription*, Hash, Equal> pooled_;
};

inline DescriptionRef::~DescriptionRef() {
  if (pooled_ != nullptr && --pooled_->references == 0) pooled_->pool->release(pooled_);
}

}  // namespace starling::membership
