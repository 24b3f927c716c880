// SPDX-License-Identifier: Apache-2.0
//
// Piggyback: member updates in the free space of probes and acks. Each rides along a number of
// times (SWIM section 4.1); those with most transmissions left go first, so urgent ones are given
// more. Keyed by member, and encoded when sent, so that a newer update replaces the older one by
// itself and the queue holds at most one entry per member. The cost of a packet follows what it
// carries, not the length of the queue.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "membership/ids.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Piggyback {
 public:
  /// Starts over for this member. `transmissions` > 0.
  void add(const NodeId& member, unsigned transmissions);
  void drop(const NodeId& member);
  [[nodiscard]] size_t size() const { return left_.size(); }

  /// Adds records to `packet` up to `free` bytes, those with most transmissions left first.
  using Encode = std::function<std::optional<proto::Record>(const NodeId& member)>;
  void fill(proto::Packet& packet, size_t free, const Encode& encode);

 private:
  void enlist(const NodeId& member, unsigned left);
  void tidy();

  std::unordered_map<NodeId, unsigned> left_;  // transmissions left
  // Members by transmissions left. One that has moved on leaves its old place behind; it is
  // recognised by `left_`.
  std::vector<std::vector<NodeId>> levels_;
  size_t places_ = 0;  // in all levels
};

}  // namespace starling::membership
