// SPDX-License-Identifier: Apache-2.0
//
// MemberTable: everything known about other members, and the orders in which they are visited. It
// stores and finds; what a statement about a member means is decided in swim/members.
//
// - The ring: alive and suspect members sorted by position = zone hash (16 bits) | id hash (48).
//   Members of one zone are neighbours; the broadcast tree splits ranges of it.
// - The probe order: a random permutation that is walked round-robin and reshuffled at the end, so
//   that between two probes of one member at most 2n - 1 others are probed (SWIM section 4.3).
// - The fingerprint: XOR over members believed alive, kept per bucket (first byte of the id's
//   hash). Failed and left members do not count, so that reaping them changes nothing.
//
// Small on purpose: about 80 bytes per member with all indices, besides its shared description.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "membership/ids.h"
#include "membership/member.h"
#include "membership/random.h"
#include "membership/swim/description.h"
#include "membership/swim/slot_index.h"
#include "membership/time.h"

namespace starling::membership {

inline constexpr size_t kBuckets = 256;

struct Entry {
  DescriptionRef description;
  Incarnation incarnation;
  LamportTime ltime = 0;
  TimePoint changed;       ///< when the status changed last
  uint32_t srtt_us = 0;    ///< smoothed round trip, microseconds; 0: never measured
  uint32_t rttvar_us = 0;  ///< its variation (RFC 6298)
  uint32_t slot = 0;       ///< in the table
  Status status = Status::kLeft;
  /// Asked to leave by force-leave while it was not known to have failed.
  bool leaving : 1 = false;
  /// ... and to be forgotten at once when it has gone.
  bool pruned : 1 = false;
  /// Another member holds the name: shown as "name#id".
  bool displaced : 1 = false;
  /// ... and was alive when this one had claimed it for a while: it does not get it by the other's
  /// failing.
  bool contested : 1 = false;
  /// Users were told that it joined, and will be told what becomes of it.
  bool announced : 1 = false;
  /// ... and for them it is up now. Not always what it is: it may have gone without a word to them,
  /// since another one holds its name, or be back and wait for the name.
  bool shown_up : 1 = false;
  /// Others reach it badly, but not never (swim/degraded.h).
  bool degraded : 1 = false;
  /// A datagram of its own has answered a probe (swim/routes.h).
  bool answered : 1 = false;
  /// The round trip is at most what was measured: it is not known which of several pings was
  /// answered.
  bool round_trip_bound_only : 1 = false;

  [[nodiscard]] const NodeId& id() const { return description->value.id; }
  [[nodiscard]] const std::string& name() const { return description->value.name; }
  [[nodiscard]] const Address& address() const { return description->value.address; }
  [[nodiscard]] const std::string& tags() const { return description->value.tags; }
  [[nodiscard]] uint64_t position() const { return description->position; }
  /// Believed to run: alive or suspect.
  [[nodiscard]] bool up() const { return status == Status::kAlive || status == Status::kSuspect; }
  [[nodiscard]] std::string display_name() const;
  /// A host that was replaced under its own name: nobody, once it is gone.
  [[nodiscard]] bool replaced() const { return displaced && !contested; }
  [[nodiscard]] bool measured() const { return srtt_us != 0; }
  [[nodiscard]] Duration srtt() const { return std::chrono::microseconds(srtt_us); }
  [[nodiscard]] Duration rttvar() const { return std::chrono::microseconds(rttvar_us); }
};

class MemberTable {
 public:
  /// Descriptions are kept in `pool`, or in one of its own.
  explicit MemberTable(std::shared_ptr<DescriptionPool> pool = nullptr);
  MemberTable(const MemberTable&) = delete;
  MemberTable& operator=(const MemberTable&) = delete;

  /// Where a member stands on the ring.
  [[nodiscard]] static uint64_t ring_position(const NodeId& id, std::string_view zone);

  [[nodiscard]] Entry* find(const NodeId& id);
  [[nodiscard]] const Entry* find(const NodeId& id) const;
  /// The holder of a shown name ("web1" or, for a displaced member, "web1#1a2b3c4d").
  [[nodiscard]] Entry* find_name(std::string_view name);
  /// Who claims this name. Empty when nobody does.
  [[nodiscard]] std::vector<Entry*> claimants(std::string_view name);
  /// Who is believed to run at this address, other than `except`.
  [[nodiscard]] Entry* find_address(const Address& address, const NodeId& except);

  /// Adds a member, on no list until set_state() says more. The id must be new. The reference
  /// stays valid until erase().
  Entry& add(Description description, Random& random);
  void erase(const NodeId& id);
  /// Replaces the description; the id stays. True when something a user sees has changed.
  bool describe(Entry& entry, Description description);
  /// Changes what the indices depend on; call for every change of these fields.
  void set_state(Entry& entry, Status status, Incarnation incarnation);

  /// All members but this one, of any status.
  [[nodiscard]] size_t size() const { return ids_.size(); }
  /// Members believed to run, this one not counted. O(1).
  [[nodiscard]] size_t up_count() const { return up_count_; }
  [[nodiscard]] size_t failed_count() const { return failed_.size(); }
  [[nodiscard]] NodeId failed_at(size_t number) const { return at(failed_[number]).id(); }
  /// Members believed to run in order of the ring; [0, up_count()). Sorts first if it must.
  [[nodiscard]] Entry& ring_at(size_t place) const {
    sort_ring();
    return at(ring_[place]);
  }
  /// The first place whose position is not before `position`.
  [[nodiscard]] size_t ring_place(uint64_t position) const;
  /// All, in no order that means anything (but the same in every run).
  [[nodiscard]] std::vector<const Entry*> all() const;

  /// The next member to probe; null when there is none.
  Entry* next_probe_target(Random& random);
  /// Up to `count` members believed to run, other than `except`, in random order.
  [[nodiscard]] std::vector<Entry*> random_up(
      size_t count, Random& random, const std::function<bool(const Entry&)>& accept) const;

  [[nodiscard]] const DescriptionPool& pool() const { return *pool_; }

  // --- fingerprint ---
  [[nodiscard]] static uint8_t bucket_of(const NodeId& id) {
    return static_cast<uint8_t>(id.hash() >> 56);
  }
  [[nodiscard]] static uint64_t fingerprint_of(const NodeId& id, Incarnation incarnation);
  [[nodiscard]] uint64_t fingerprint() const { return fingerprint_; }
  [[nodiscard]] const std::array<uint64_t, kBuckets>& bucket_fingerprints() const {
    return buckets_;
  }

  /// Computes everything that is kept from the entries anew and compares. O(n log n); for tests.
  [[nodiscard]] bool consistent() const;

 private:
  static constexpr size_t kChunk = 64;
  using Chunk = std::array<Entry, kChunk>;

  [[nodiscard]] Entry& at(uint32_t slot) const { return (*chunks_[slot / kChunk])[slot % kChunk]; }
  template <typename Visit>
  void each(const Visit& visit) const;
  [[nodiscard]] auto id_hash() const;
  [[nodiscard]] auto name_hash() const;
  [[nodiscard]] auto address_hash() const;
  uint32_t take_slot();
  void index(const Entry& entry);
  void unindex(const Entry& entry);
  void toggle_fingerprint(const Entry& entry);
  void ring_remove(const Entry& entry);
  void sort_ring() const;
  [[nodiscard]] bool ring_before(uint32_t a, uint32_t b) const;
  void reshuffle(Random& random);

  std::shared_ptr<DescriptionPool> pool_;  // before the entries that refer to it
  std::vector<std::unique_ptr<Chunk>> chunks_;
  uint32_t slots_ = 0;  // ever used
  std::vector<uint32_t> free_;
  SlotIndex ids_;
  SlotIndex names_;
  SlotIndex addresses_;
  // Slots by position up to `sorted_`, then newcomers in any order: many may come at once.
  mutable std::vector<uint32_t> ring_;
  mutable size_t sorted_ = 0;
  size_t up_count_ = 0;
  std::vector<uint32_t> failed_;
  std::vector<uint32_t> probe_order_;
  size_t probe_cursor_ = 0;
  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t fingerprint_ = 0;
};

}  // namespace starling::membership
