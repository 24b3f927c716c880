// SPDX-License-Identifier: Apache-2.0
//
// Piggyback: member updates in the free space of probes and acks. Each rides along
// retransmit_mult * ceil(log10(n + 1)) times (SWIM section 4.1). Keyed by member, and encoded when
// sent, so that a newer update replaces the older one by itself and the queue holds at most one
// entry per member.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "membership/ids.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Piggyback {
 public:
  /// Starts over for this member.
  void add(const NodeId& member, unsigned transmissions);
  void drop(const NodeId& member);
  [[nodiscard]] size_t size() const { return left_.size(); }

  /// Adds records to `packet` up to `free` bytes, those with most transmissions left first.
  using Encode = std::function<std::optional<proto::Record>(const NodeId& member)>;
  void fill(proto::Packet& packet, size_t free, const Encode& encode);

 private:
  std::map<NodeId, unsigned> left_;  // transmissions left
};

}  // namespace starling::membership
