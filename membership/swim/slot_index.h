// SPDX-License-Identifier: Apache-2.0
//
// SlotIndex: finds the slots of a table by a hash. Open addressing with linear probing (Knuth,
// TAOCP 3, 6.4, algorithm R for removal), at most three quarters full: 5 to 11 bytes per slot.
// Several slots may have one hash. Hashes are not stored but asked for: `hash_of(slot)`.
// Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace starling::membership {

class SlotIndex {
 public:
  /// `slot` must not be in it.
  template <typename HashOf>
  void insert(uint32_t slot, uint64_t hash, const HashOf& hash_of) {
    if ((size_ + 1) * 4 > places_.size() * 3) grow(hash_of);
    put(slot, hash);
    ++size_;
  }

  /// `slot` must be in it, under `hash`.
  template <typename HashOf>
  void erase(uint32_t slot, uint64_t hash, const HashOf& hash_of) {
    const size_t mask = places_.size() - 1;
    size_t hole = hash & mask;
    while (places_[hole] != slot) hole = (hole + 1) & mask;
    // What follows moves up, unless it would come to stand before its own place.
    for (size_t next = (hole + 1) & mask; places_[next] != kEmpty; next = (next + 1) & mask) {
      const size_t home = hash_of(places_[next]) & mask;
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      places_[hole] = places_[next];
      hole = next;
    }
    places_[hole] = kEmpty;
    --size_;
  }

  /// Calls `visit(slot)` for every slot that may have this hash, until it returns true.
  template <typename Visit>
  void visit(uint64_t hash, const Visit& visit) const {
    if (places_.empty()) return;
    const size_t mask = places_.size() - 1;
    for (size_t place = hash & mask; places_[place] != kEmpty; place = (place + 1) & mask) {
      if (visit(places_[place])) return;
    }
  }

  /// Calls `visit(slot)` for every slot, in no order that means anything.
  template <typename Visit>
  void visit_all(const Visit& visit) const {
    for (const uint32_t slot : places_) {
      if (slot != kEmpty) visit(slot);
    }
  }

  [[nodiscard]] size_t size() const { return size_; }

 private:
  static constexpr uint32_t kEmpty = UINT32_MAX;
  static constexpr size_t kLeast = 8;

  void put(uint32_t slot, uint64_t hash) {
    const size_t mask = places_.size() - 1;
    size_t place = hash & mask;
    while (places_[place] != kEmpty) place = (place + 1) & mask;
    places_[place] = slot;
  }

  template <typename HashOf>
  void grow(const HashOf& hash_of) {
    std::vector<uint32_t> old(places_.empty() ? kLeast : 2 * places_.size(), kEmpty);
    old.swap(places_);
    for (const uint32_t slot : old) {
      if (slot != kEmpty) put(slot, hash_of(slot));
    }
  }

  std::vector<uint32_t> places_;  // a power of two, or none
  size_t size_ = 0;
};

}  // namespace starling::membership
