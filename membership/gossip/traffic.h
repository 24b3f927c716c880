// SPDX-License-Identifier: Apache-2.0
//
// Traffic: in which order the classes of traffic share what this node may send. There is one budget
// of bytes a second for all of them. Within it urgent classes go first, but each class has a floor,
// a share of the budget that the others cannot take from it: a flood of one kind delays itself and
// starves nobody. What a class does not use goes to the others, by urgency.
//
// Pure bookkeeping: holds no packets, sends nothing. Single-threaded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "membership/time.h"

namespace starling::membership {

/// Most urgent first.
enum class TrafficClass : uint8_t {
  kProbes,       ///< pings, acks, nacks
  kRefutations,  ///< what is said about a member, to itself; and its answer to all
  kMembers,      ///< other states of members
  kQueries,      ///< questions and answers
  kEvents,       ///< user events that fit a packet, their ids and heads
  kBulk,         ///< payloads of large events, and events for who missed them, over streams
};
inline constexpr size_t kTrafficClasses = 6;

class Traffic {
 public:
  using Waiting = std::array<bool, kTrafficClasses>;

  /// `rate` in bytes a second; 0: no limit. Without `floors` the most urgent takes all.
  Traffic(size_t rate, bool floors, TimePoint now);

  /// The class that sends next, of those that have something waiting; none: nothing may be sent.
  std::optional<TrafficClass> next(const Waiting& waiting, TimePoint now);
  /// A packet of the class that next() has named, or a piece of bulk, has been sent.
  void spend(TrafficClass sent, size_t bytes);
  /// When next() is worth another try, after it returned none.
  [[nodiscard]] TimePoint ready_at(const Waiting& waiting, TimePoint now) const;
  /// The part of the budget that is this class's own, 0..1.
  [[nodiscard]] static double floor_of(TrafficClass traffic);

 private:
  void fill(TimePoint now);

  double rate_;
  bool floors_;
  double burst_;
  TimePoint filled_;
  double budget_;  // of packets: bytes that may be sent now
  double bulk_;    // of bulk: its floor, and what packets leave
  // Of each floor: what its class may send before all others. Sending the rest, what is left of the
  // budget, costs it nothing.
  std::array<double, kTrafficClasses> owed_{};
  bool by_floor_ = false;  // why next() has named a class
};

}  // namespace starling::membership
