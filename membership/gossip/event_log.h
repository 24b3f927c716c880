// SPDX-License-Identifier: Apache-2.0
//
// EventLog: user events, each delivered once and in the order of its origin. What comes before its
// predecessors waits for them; what nobody holds any longer is given up and reported. The records
// are kept for others until the retention limits are reached.
//
// A large event is spread as a head, without its payload; `fetch` is asked to get the payload, and
// the event counts as here only with it: take_payload().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/event_lines.h"
#include "membership/gossip/origins.h"
#include "membership/gossip/record.h"
#include "membership/ids.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

/// Bytes of a payload's digest, and the digest: BLAKE2b-256.
inline constexpr size_t kDigestSize = 32;
[[nodiscard]] std::string digest_of(std::string_view payload);
/// When an event was sent, as the one who sent its record here reckons.
[[nodiscard]] TimePoint sent_at(const proto::Record& record, TimePoint now);

class EventLog {
 public:
  struct NewEvent {
    std::string name;
    std::string payload;
    bool coalesce = false;
    std::string authorization = {};
  };
  /// The largest gap that is told at once to whoever can fill it.
  static constexpr size_t kGapAtOnce = 64;
  /// An event is given up when so many peers have had and dropped it.
  static constexpr size_t kMissedPeers = 3;

  explicit EventLog(Context& context) : context_(context), origins_(context) {}

  void restore(const Restored& restored);

  /// Creates, delivers and keeps an own event. Sizes have been checked.
  proto::Record create(const NewEvent& given, MessageId& id);
  /// Judges, delivers and keeps an event, or has its payload fetched. `from` has sent it to us.
  Verdict apply(const proto::Record& record, const NodeId& from);
  /// The payload of a head has been fetched and fits its digest.
  void take_payload(const MessageId& id, const std::string& head, std::string payload,
                    TimePoint sent);

  /// True when the payload of this event is being fetched, for which `holder` may be asked too.
  std::function<bool(const MessageId& id, const NodeId& holder)> fetching;
  /// A payload is to be fetched from `from` or others: kFresh when that is news.
  std::function<Verdict(const MessageId& id, const proto::Record& head, const NodeId& from)> fetch;
  /// Events before `id` are not here: `from`, which had `id`, may have them.
  std::function<void(const MessageId& id, const NodeId& from)> gap;
  /// What nobody has given us for so long may still come: it is on its way, or somebody who may
  /// have it cannot be asked at present.
  std::function<bool(const MessageId& missing, Duration waited)> may_come;
  /// What users call this member.
  std::function<std::string(const NodeId& id)> name_of = [](const NodeId& id) {
    return id.to_string();
  };

  [[nodiscard]] bool has(const MessageId& id) const { return lines_.has(id); }
  /// The kept record as it travels, without a large payload; none when it was never here or its
  /// retention is over.
  [[nodiscard]] std::optional<proto::Record> find(const MessageId& id) const;
  /// The payload of a kept event; of a large one only.
  [[nodiscard]] const std::string* large_payload(const MessageId& id) const;
  [[nodiscard]] std::optional<std::string> payload_of(const MessageId& id) const;
  [[nodiscard]] const EventLines& lines() const { return lines_; }
  /// It is here and so are all before it; or it was skipped.
  [[nodiscard]] bool delivered(const MessageId& id) const;

  // --- the first join ---
  /// This node is joining for the first time and wants no event from before: what comes waits
  /// until it is known where the present begins.
  void begin_skip();
  [[nodiscard]] bool skipping() const { return skipping_; }
  /// The present of every origin: what was before counts as had.
  void end_skip(const EventLines::Wire& present);
  /// It is known since when this node has been a member, or is again: what was sent before came
  /// late.
  void present_since(TimePoint when) { present_since_ = when; }
  void joined(bool restored);
  [[nodiscard]] bool ever_joined() const { return joined_ != TimePoint::min(); }

  // --- anti-entropy ---
  [[nodiscard]] uint64_t fingerprint() const { return lines_.fingerprint(); }
  /// Kept events that a peer lacks, which told the progress of all its lines in these buckets; at
  /// most `limit`, oldest first.
  [[nodiscard]] std::vector<MessageId> lacking_there(
      const std::array<bool, EventLines::kBuckets>& buckets, const EventLines::Wire& theirs,
      size_t limit) const;
  /// A peer that was asked for this event no longer holds it. When enough of the `others` have said
  /// so, it is given up. With `certain` the event is known to have existed, and is given up in the
  /// end whatever others say.
  void dropped(const MessageId& id, const NodeId& from, size_t others, bool certain = true);
  /// A peer that counts this event as had never held it: somebody else may.
  void never_held(const MessageId& id);
  /// The origin itself, which runs, has sent `last` events of this line: what others have told of
  /// more than these is forgotten.
  void origin_says(const EventLine& line, uint64_t last);
  /// True when this node had the event itself, and did not skip it when it joined.
  [[nodiscard]] bool once_held(const MessageId& id) const;
  /// This node was away: what it misses may still be had.
  void hold_gaps();

  // --- views ---
  [[nodiscard]] size_t held() const { return order_.size(); }
  [[nodiscard]] size_t held_bytes() const { return kept_bytes_; }
  [[nodiscard]] size_t waiting() const { return kept_.size() - order_.size(); }
  [[nodiscard]] size_t waiting_bytes() const { return waiting_bytes_; }
  /// The last `limit` of those held, latest first; `reach` is left to the caller, who is given the
  /// moment of arrival.
  void visit_latest(size_t limit,
                    const std::function<void(HeldEvent event, TimePoint arrived)>& visit) const;

  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  struct Kept {
    std::string head;     // the encoded UserEvent; of a large one without the payload
    std::string payload;  // of a large one
    TimePoint sent;
    TimePoint arrived;
    EventTiming timing = EventTiming::kLive;
    bool waiting = true;  // not delivered yet
    bool proven = true;   // false: kept by a build that did not sign, and so for this host only
    [[nodiscard]] size_t bytes() const { return head.size() + payload.size(); }
  };

  /// An event of a build that did not sign: signed now if it is this node's own.
  void prove(const MessageId& id, proto::UserEvent& event, Kept& kept);
  /// Takes a whole event: delivers it and what has waited for it, or lets it wait.
  Verdict take(const MessageId& id, const NodeId& from, Kept&& event);
  /// Delivers what is next in this line, as far as it is here or given up.
  void drain(const EventLine& line);
  void deliver(const MessageId& id);
  void emit(const MessageId& id, const Kept& event);
  void skip_to(const EventLine& line, uint64_t contiguous);
  void watch_gap(const EventLine& line);
  void gap_is_old(const EventLine& line);
  void report_missed(const EventLine& line, uint64_t first, uint64_t last);
  void save(const EventLine& line);
  void enforce_limits();
  void forget_oldest();
  void sweep();
  [[nodiscard]] EventTiming timing_of(TimePoint sent) const;
  /// Of this boot of this node: nobody else can say anything about it.
  [[nodiscard]] bool own(const EventLine& line) const {
    return line == EventLine{context_.identity.id, context_.identity.epoch};
  }

  Context& context_;
  Origins origins_;
  uint64_t own_sequence_ = 0;
  EventLines lines_;
  std::map<MessageId, Kept> kept_;  // delivered, and waiting
  std::deque<MessageId> order_;     // delivered, oldest first
  size_t kept_bytes_ = 0;           // delivered
  size_t waiting_bytes_ = 0;
  Deadlines<EventLine> gaps_;  // lines with a gap, and when it is looked at again
  std::map<EventLine, TimePoint> gap_since_;
  bool skipping_ = false;
  TimePoint skip_began_;
  TimePoint joined_ = TimePoint::min();      // when this process first met another member
  TimePoint first_join_ = TimePoint::min();  // before it this node was no member
  TimePoint present_since_ = TimePoint::min();
  TimePoint next_sweep_ = kNever;
};

}  // namespace starling::membership
