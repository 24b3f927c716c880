// SPDX-License-Identifier: Apache-2.0
//
// EventLog: user events, each delivered once. For every (origin, boot epoch) it keeps how far this
// node has come: all sequence numbers up to `contiguous`, and some beyond it. That is what makes
// delivery exactly-once (the ids themselves need not be remembered) and what anti-entropy compares.
// The records are kept for others until the retention limits are reached.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "membership/context.h"
#include "membership/gossip/record.h"
#include "membership/ids.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class EventLog {
 public:
  explicit EventLog(Context& context) : context_(context) {}

  void restore(const Restored& restored);

  /// Creates, delivers and keeps an own event. Sizes have been checked.
  proto::Record create(const std::string& name, const std::string& payload, bool coalesce,
                       MessageId& id);
  /// Judges, delivers and keeps an event from elsewhere.
  Verdict apply(const proto::Record& record);

  [[nodiscard]] bool has(const MessageId& id) const;
  /// The kept record; none when it was never here or its retention is over.
  [[nodiscard]] std::optional<proto::Record> find(const MessageId& id) const;

  // --- anti-entropy ---
  [[nodiscard]] uint64_t fingerprint() const { return fingerprint_; }
  void write_progress(google::protobuf::RepeatedPtrField<proto::EventProgress>& out) const;
  /// Events that `theirs` has and this node lacks, at most `limit`.
  [[nodiscard]] std::vector<MessageId> lacking(const proto::EventProgress& theirs,
                                               size_t limit) const;
  /// Kept events that a peer with this progress lacks, at most `limit`, oldest first.
  [[nodiscard]] std::vector<MessageId> lacking_there(
      const google::protobuf::RepeatedPtrField<proto::EventProgress>& theirs, size_t limit) const;
  /// Takes a peer's progress over without having its events (a newcomer's first join).
  void skip_to(const proto::EventProgress& theirs);
  /// A peer that was asked for this event did not send it: because it no longer holds it, or
  /// (`had` false) because it never did. When enough peers have failed so it counts as missed.
  void not_held(const MessageId& id, bool had);
  /// True when this node had the event itself, and did not skip it when it joined.
  [[nodiscard]] bool once_held(const MessageId& id) const;
  [[nodiscard]] bool knows_origin(const NodeId& origin, uint32_t epoch) const;

  [[nodiscard]] size_t held() const { return kept_.size(); }
  [[nodiscard]] size_t held_bytes() const { return kept_bytes_; }
  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  using Line = std::pair<NodeId, uint32_t>;  // origin and epoch
  struct Progress {
    uint64_t contiguous = 0;
    std::set<uint64_t> beyond;
    TimePoint touched;
    uint64_t skipped = 0;                   // up to here it was taken over without the events
    std::map<uint64_t, unsigned> not_held;  // sequence -> weight of peers that lack it

    [[nodiscard]] bool has(uint64_t sequence) const {
      return sequence <= contiguous || beyond.contains(sequence);
    }
  };
  struct Kept {
    std::string payload;  // the encoded UserEvent
    TimePoint until;
  };

  /// Marks one event as had. False when bounds forbid it.
  bool advance_progress(const MessageId& id);
  Progress* progress_for(const Line& line);
  void close_gap(Progress& progress);
  void save(const Line& line, const Progress& progress);
  void keep(const MessageId& id, std::string payload);
  void forget_oldest();
  [[nodiscard]] static uint64_t fingerprint_of(const Line& line, const Progress& progress);

  Context& context_;
  uint64_t own_sequence_ = 0;
  std::map<Line, Progress> progress_;
  uint64_t fingerprint_ = 0;
  std::map<MessageId, Kept> kept_;
  std::deque<MessageId> kept_order_;  // oldest first
  size_t kept_bytes_ = 0;
  TimePoint next_sweep_ = kNever;
};

}  // namespace starling::membership
