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
// hash).
//   Failed and left members do not count, so that reaping them changes nothing.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "membership/ids.h"
#include "membership/member.h"
#include "membership/random.h"
#include "membership/time.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

inline constexpr size_t kBuckets = 256;

struct Entry {
  NodeId id;
  std::string name;
  Address address;
  std::string tags;  ///< pack_tags
  Status status = Status::kAlive;
  /// Asked to leave by force-leave while it was not known to have failed.
  bool leaving = false;
  /// Another member has taken the name over: shown as "name#id".
  bool displaced = false;
  /// Users were told that it joined, and will be told what becomes of it.
  bool announced = false;
  uint8_t protocol_min = 1;
  uint8_t protocol_max = 1;
  Incarnation incarnation;
  LamportTime ltime = 0;
  TimePoint changed;  ///< when the status changed last
  Duration srtt{0};   ///< 0: never measured
  Duration rttvar{0};
  uint64_t position = 0;

  /// Believed to run: alive or suspect.
  [[nodiscard]] bool up() const { return status == Status::kAlive || status == Status::kSuspect; }
  [[nodiscard]] std::string display_name() const;
};

struct RingEntry {
  uint64_t position;
  Entry* entry;
};

class MemberTable {
 public:
  /// Where a member stands on the ring.
  [[nodiscard]] static uint64_t ring_position(const NodeId& id, std::string_view zone);

  [[nodiscard]] Entry* find(const NodeId& id);
  [[nodiscard]] const Entry* find(const NodeId& id) const;
  /// The holder of a shown name ("web1" or, for a displaced member, "web1#1a2b3c4d").
  [[nodiscard]] Entry* find_name(std::string_view name);
  /// Who claims this name. Empty when nobody does.
  [[nodiscard]] const std::vector<Entry*>& claimants(const std::string& name) const;
  /// Who is believed to run at this address, other than `except`.
  [[nodiscard]] Entry* find_address(const Address& address, const NodeId& except);

  /// Adds a member. The id must be new. The reference stays valid until erase().
  Entry& add(const NodeId& id, const std::string& name, Random& random);
  void erase(const NodeId& id);
  /// Changes what the indices depend on; call for every change of these fields.
  void rename(Entry& entry, const std::string& name);
  void set_state(Entry& entry, Status status, Incarnation incarnation);
  void set_zone(Entry& entry, std::string_view zone);

  /// All members but this one, of any status.
  [[nodiscard]] size_t size() const { return entries_.size(); }
  /// Members believed to run, this one not counted. O(1).
  [[nodiscard]] size_t up_count() const { return ring_.size(); }
  [[nodiscard]] size_t failed_count() const { return failed_.size(); }
  [[nodiscard]] const std::vector<RingEntry>& ring() const { return ring_; }
  [[nodiscard]] const std::vector<NodeId>& failed() const { return failed_; }
  /// In order of id.
  [[nodiscard]] std::vector<const Entry*> all() const;
  [[nodiscard]] std::vector<const Entry*> bucket(uint8_t number) const;

  /// The next member to probe; null when there is none.
  Entry* next_probe_target(Random& random);
  /// Up to `count` members believed to run, other than `except`, in random order.
  [[nodiscard]] std::vector<Entry*> random_up(
      size_t count, Random& random, const std::function<bool(const Entry&)>& accept) const;

  // --- fingerprint ---
  [[nodiscard]] static uint8_t bucket_of(const NodeId& id) {
    return static_cast<uint8_t>(id.hash() >> 56);
  }
  [[nodiscard]] static uint64_t fingerprint_of(const NodeId& id, Incarnation incarnation);
  [[nodiscard]] uint64_t fingerprint() const { return fingerprint_; }
  [[nodiscard]] const std::array<uint64_t, kBuckets>& bucket_fingerprints() const {
    return buckets_;
  }

 private:
  void toggle_fingerprint(const Entry& entry);
  void ring_insert(Entry& entry);
  void ring_remove(const Entry& entry);
  void unlist_failed(const NodeId& id);

  std::unordered_map<NodeId, Entry> entries_;
  std::unordered_map<std::string, std::vector<Entry*>> names_;
  std::vector<RingEntry> ring_;
  std::vector<NodeId> failed_;
  std::vector<NodeId> probe_order_;
  size_t probe_cursor_ = 0;
  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t fingerprint_ = 0;
};

}  // namespace starling::membership
