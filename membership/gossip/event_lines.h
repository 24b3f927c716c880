// SPDX-License-Identifier: Apache-2.0
//
// EventLines: how far this node has come in the events of every origin. A line is one origin's
// events of one boot: all up to `contiguous` were delivered (or are missed for good, or lie before
// this node's first join), and some after a gap are here and wait. That is what makes delivery
// exactly-once (the ids themselves need not be remembered) and what anti-entropy compares, by
// fingerprints of buckets of lines.
//
// Pure bookkeeping: delivers nothing and knows no payload.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "membership/ids.h"
#include "membership/time.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

struct EventLine {
  NodeId origin;
  uint32_t epoch = 0;

  auto operator<=>(const EventLine&) const = default;
  [[nodiscard]] MessageId at(uint64_t sequence) const { return {origin, epoch, sequence}; }
  [[nodiscard]] uint64_t hash() const { return mix64(origin.hash() ^ mix64(epoch)); }
  [[nodiscard]] static EventLine of(const MessageId& id) { return {id.origin, id.epoch}; }
};

class EventLines {
 public:
  static constexpr size_t kBuckets = 64;
  using Buckets = std::array<uint64_t, kBuckets>;
  using Wire = google::protobuf::RepeatedPtrField<proto::EventProgress>;

  struct Progress {
    uint64_t contiguous = 0;
    std::set<uint64_t> beyond;  // here, waiting for what is before them
    std::set<uint64_t> lost;    // given up, after `contiguous`
    TimePoint touched;
    uint64_t skipped = 0;  // up to here it was taken over without the events
    uint64_t known = 0;    // others have had events up to here, and could not give them to us
    uint64_t proven = 0;   // the last one whose origin's signature this process has seen, or kept
    std::map<uint64_t, std::set<NodeId>> dropped;  // sequence -> peers that no longer hold it

    [[nodiscard]] bool has(uint64_t sequence) const {
      return sequence <= contiguous || beyond.contains(sequence);
    }
    [[nodiscard]] bool gap() const { return !beyond.empty() || known > contiguous; }
  };

  [[nodiscard]] static size_t bucket_of(const EventLine& line) { return line.hash() >> 58; }

  [[nodiscard]] const Progress* find(const EventLine& line) const;
  /// Adds the line when it is new; null over kMaxProgress.
  Progress* obtain(const EventLine& line, TimePoint now);
  /// Changes what the fingerprints depend on: every change of contiguous and beyond goes through
  /// here. The line must exist.
  template <typename Change>
  void change(const EventLine& line, const Change& apply) {
    Progress& progress = lines_.at(line);
    toggle(line, progress);
    apply(progress);
    toggle(line, progress);
  }
  void erase(const EventLine& line);

  [[nodiscard]] bool has(const MessageId& id) const;
  [[nodiscard]] size_t size() const { return lines_.size(); }
  [[nodiscard]] const std::map<EventLine, Progress>& all() const { return lines_; }

  // --- comparing ---
  [[nodiscard]] uint64_t fingerprint() const { return fingerprint_; }
  [[nodiscard]] const Buckets& buckets() const { return buckets_; }
  using Chosen = std::array<bool, kBuckets>;
  /// Lines of buckets of `wanted`, whole buckets from `first` on, until there are `limit` bytes.
  /// The buckets that were written.
  Chosen write(const Chosen& wanted, size_t first, size_t limit, Wire& out) const;
  /// One line; nothing when there is nothing in it. At most `most` of those beyond the gap.
  void write(const EventLine& line, size_t most, Wire& out) const;
  /// Events that `theirs` has and this node neither has nor has given up, at most `limit`.
  [[nodiscard]] std::vector<MessageId> lacking(const proto::EventProgress& theirs,
                                               size_t limit) const;
  /// Those before `sequence` that are neither here nor given up, earliest first, at most `limit`.
  [[nodiscard]] std::vector<MessageId> gap_before(const MessageId& id, size_t limit) const;

 private:
  void toggle(const EventLine& line, const Progress& progress);

  std::map<EventLine, Progress> lines_;
  uint64_t fingerprint_ = 0;
  Buckets buckets_{};
};

}  // namespace starling::membership
