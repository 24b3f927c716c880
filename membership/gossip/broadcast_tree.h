// SPDX-License-Identifier: Apache-2.0
//
// BroadcastTree: tells every member of a new record within a few round trips, for about one payload
// a member. The sender splits the ring into `tree_fanout` ranges and sends the record, with its
// range, to one random member of each, who does the same with its range. Each hop is acknowledged,
// repeated to the same member once, then to another member of the range, as long as repeating helps
// (there is a budget for it). No tree is kept. What it misses (views that differ, six tries in
// vain) announcements and anti-entropy repair.
//
// Ranges end at the borders of zones as far as possible: news goes from site to site once, and on
// from there within the site.
//
// Clusters of up to `tree_direct_max` others are told in one hop.
//
// When many records come up together (a mass join, a healed partition) they are gathered for a
// moment and travel in one push: publish_soon().
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
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
  void publish(const proto::Record& record, const NodeId& origin, bool refutation = false);
  /// The same, together with others that come up within Options::batch_delay; at once when none
  /// has for that long. Over kMaxBatched records at a time the rest is left to anti-entropy.
  void publish_soon(const proto::Record& record);
  /// As publish_soon() after a random wait of up to `wait`, unless somebody else tells us of it
  /// before: several members may have found out the same.
  void publish_unless_heard(const proto::Record& record, Duration wait);
  /// `newcomer` has just come in through this node. Others hear of it in a moment and leave it out
  /// until then: what this node publishes meanwhile it tells it itself.
  void greet(const NodeId& newcomer);

  /// A push has arrived from member `sender` at `from`, and its records were judged. Acknowledges
  /// it and covers its range as the verdict (of the freshest) says.
  void receive(const Address& from, const NodeId& sender, const proto::Push& push, Verdict verdict,
               const NodeId& origin);
  void acknowledged(uint32_t hop);
  /// A member has answered a probe after `took`; `at_least`: after that or longer.
  void learn_round_trip(const Entry& member, Duration took, bool at_least);

  /// Hops that wait for an acknowledgement and may be repeated.
  [[nodiscard]] size_t pending() const { return hops_.size() - given_up_; }
  /// Records that wait to be broadcast together.
  [[nodiscard]] size_t gathered() const { return gathered_.size(); }
  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  using Records = std::vector<proto::Record>;
  // What travels together, and what is the same at all its hops.
  struct Batch {
    Records records;
    uint64_t fingerprint;
    bool refutation;
    [[nodiscard]] TrafficClass traffic() const;
  };
  using SharedBatch = std::shared_ptr<const Batch>;
  struct Range {
    uint64_t begin;
    uint64_t end;
    [[nodiscard]] bool contains(const Range& other) const {
      return begin <= other.begin && other.end <= end;
    }
  };
  struct Hop {
    SharedBatch batch;
    NodeId child;
    uint16_t zone;  // of the child
    NodeId origin;
    Range range;
    Duration timeout;
    unsigned tries;
    bool instead;    // the first child did not acknowledge it
    TimePoint sent;  // for the first time
    [[nodiscard]] bool given_up() const { return batch == nullptr; }
  };

  struct Newcomer {
    NodeId id;
    TimePoint until;
  };

  void gather(const proto::Record& record, Duration delay);
  void tell_newcomers(const SharedBatch& batch, const NodeId& origin);
  void flush();
  void publish_batch(Records records, const NodeId& origin, bool refutation = false);
  void spread(const SharedBatch& batch, const Range& range, bool whole, const NodeId& sender,
              const NodeId& origin);
  /// Where the parts of these begin, which are in order of the ring, and the end of the last.
  [[nodiscard]] std::vector<size_t> divide(const std::vector<Entry*>& children) const;
  void send_hop(Entry& child, const SharedBatch& batch, const Range& range, const NodeId& origin);
  void transmit(uint32_t id, const Hop& hop, const Entry& child);
  void retry(uint32_t id);
  void give_up(uint32_t id, Hop& hop);
  /// Another member of the hop's range; null when there is none.
  [[nodiscard]] const Entry* another_representative(const Hop& hop);
  /// False when too much was repeated lately.
  [[nodiscard]] bool pay_for_repetition();
  [[nodiscard]] Duration first_timeout(const Entry& child);
  /// The nearest of the members of its zone around it whose round trip is known; null: none is.
  [[nodiscard]] const Entry* measured_neighbour(const Entry& child) const;
  /// True when this range of this record was not ours to cover before; it is from now on. `again`:
  /// a part of what was ours counts as well, since whoever we left it to has come back to us with
  /// it.
  bool take_cover(uint64_t fingerprint, const Range& range, bool again);

  static constexpr double kCreditMax = 128;

  Context& context_;
  MemberTable& table_;
  Outbox& outbox_;
  uint32_t next_hop_ = 1;
  std::unordered_map<uint32_t, Hop> hops_;
  // How long acknowledgements from a zone take at present, and answers to probes: follows the
  // quickest at once and slower ones slowly, since those may be answers to a repetition. As many as
  // there are zones.
  std::unordered_map<uint16_t, Duration> hop_times_;
  Deadlines<uint32_t> due_;
  size_t given_up_ = 0;         // of hops_
  double credit_ = kCreditMax;  // repetitions that may be sent now
  TimePoint credit_at_;         // when it last grew with time
  // Ranges that this node has covered lately, by record.
  std::unordered_map<uint64_t, std::vector<Range>> covered_;
  Deadlines<uint64_t> forget_;
  // Records that wait for company, by key, and when they go.
  std::map<std::string, proto::Record> gathered_;
  TimePoint flush_at_ = kNever;
  TimePoint flushed_;
  std::deque<Newcomer> newcomers_;  // the first to come first
};

}  // namespace starling::membership
