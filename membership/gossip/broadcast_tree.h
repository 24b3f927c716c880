// SPDX-License-Identifier: Apache-2.0
//
// BroadcastTree: tells every member of a new record within a few round trips, for about one payload
// a member. The sender splits the ring into `tree_fanout` ranges and sends the record, with its
// range, to one random member of each, who does the same with its range. Each hop is acknowledged,
// repeated to the same member once, then to another member of the range. No tree is kept. What it
// misses (views that differ, five tries in vain) announcements and anti-entropy repair.
//
// Clusters of up to `tree_direct_max` others are told in one hop.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/outbox.h"
#include "membership/gossip/record.h"
#include "membership/swim/member_table.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class BroadcastTree {
 public:
  BroadcastTree(Context& context, MemberTable& table, Outbox& outbox)
      : context_(context), table_(table), outbox_(outbox) {}

  /// Starts a broadcast to all. `origin` knows it already (it need not be a member).
  void publish(const proto::Record& record, const NodeId& origin);

  /// A push has arrived from member `sender` at `from`, and its record was judged. Acknowledges it
  /// and covers its range as the verdict says.
  void receive(const Address& from, const NodeId& sender, const proto::Push& push, Verdict verdict,
               const NodeId& origin);
  void acknowledged(uint32_t hop);

  /// Hops that wait for an acknowledgement.
  [[nodiscard]] size_t pending() const { return hops_.size(); }
  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  using SharedRecord = std::shared_ptr<const proto::Record>;
  struct Range {
    uint64_t begin;
    uint64_t end;
    [[nodiscard]] bool contains(const Range& other) const {
      return begin <= other.begin && other.end <= end;
    }
  };
  struct Hop {
    SharedRecord record;
    uint64_t fingerprint;
    NodeId child;
    NodeId origin;
    Range range;
    Duration timeout;
    unsigned tries;
  };

  void spread(const SharedRecord& record, uint64_t fingerprint, const Range& range, bool whole,
              const NodeId& sender, const NodeId& origin);
  void send_hop(Entry& child, const SharedRecord& record, uint64_t fingerprint, const Range& range,
                const NodeId& origin);
  void transmit(uint32_t id, const Hop& hop, const Entry& child);
  void retry(uint32_t id);
  [[nodiscard]] Duration first_timeout(const Entry& child);
  /// True when this range of this record was not ours to cover before; it is from now on.
  bool take_cover(uint64_t fingerprint, const Range& range);

  Context& context_;
  MemberTable& table_;
  Outbox& outbox_;
  uint32_t next_hop_ = 1;
  std::unordered_map<uint32_t, Hop> hops_;
  Deadlines<uint32_t> due_;
  // Ranges that this node has covered lately, by record.
  std::unordered_map<uint64_t, std::vector<Range>> covered_;
  Deadlines<uint64_t> forget_;
};

}  // namespace starling::membership
