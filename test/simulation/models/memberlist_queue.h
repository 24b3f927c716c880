// SPDX-License-Identifier: Apache-2.0
//
// memberlist's TransmitLimitedQueue (queue.go): broadcasts, each sent a limited number of times,
// the least sent first, among those the longest, among those the newest; one per member, a newer
// one takes the place of an older. Single-threaded. Holds at most one broadcast per known member.
#pragma once

#include <functional>
#include <set>
#include <unordered_map>
#include <vector>

#include "test/simulation/models/memberlist_wire.h"

namespace starling::simulation {

class MemberlistQueue {
 public:
  /// queueBroadcast.
  void add(const MemberlistMessage& message);
  /// GetBroadcasts: what fits into `limit` bytes at `overhead` bytes each, in order, appended to
  /// `out`. A broadcast is dropped after `transmit_limit` times.
  void take(size_t overhead, size_t limit, int transmit_limit, std::vector<MemberlistMessage>* out);
  [[nodiscard]] bool empty() const { return order_.empty(); }
  [[nodiscard]] size_t size() const { return order_.size(); }
  /// A broadcast about this member still waits.
  [[nodiscard]] bool holds(NodeIndex node) const { return messages_.contains(node); }

 private:
  /// limitedBroadcast.Less.
  struct Key {
    int transmits;
    size_t size;
    uint64_t id;
    NodeIndex node;
    bool operator<(const Key& other) const {
      if (transmits != other.transmits) return transmits < other.transmits;
      if (size != other.size) return size > other.size;
      return id > other.id;
    }
  };
  struct Entry {
    Key key;
    MemberlistMessage message;
  };

  std::set<Key> order_;
  std::unordered_map<NodeIndex, Entry> messages_;
  uint64_t last_id_ = 0;
};

}  // namespace starling::simulation
