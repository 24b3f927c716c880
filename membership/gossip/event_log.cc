// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/event_log.h"

#include <sodium.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "membership/limits.h"
#include "membership/planted_bug.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

// Progress is kept this many retention times after its last change, so that no event that anybody
// still holds is taken for a new one.
constexpr int kProgressRetention = 4;
constexpr size_t kMaxLost = 16'384;  // per line; the rest when these are settled
constexpr Duration kSweepInterval = std::chrono::seconds(30);
// A gap that nobody fills is looked at this often: by then anti-entropy has asked everybody who can
// be reached.
constexpr Duration kGapPatience = std::chrono::seconds(30);
// What is older than this when it arrives was missed, whatever the reason.
constexpr Duration kLate = std::chrono::seconds(10);
// Within this time of its first join a node is given the past.
constexpr Duration kJoining = std::chrono::seconds(10);
constexpr uint64_t kOldest_ms = 1000ULL * 3600 * 24 * 365;

/// Whether what came over the network is a user event that may be taken.
bool valid(const proto::UserEvent& event) {
  if (!valid_name(event.name())) return false;
  if (event.authorization().size() > kMaxAuthorization) return false;
  const size_t inline_size =
      event.name().size() + event.payload().size() + event.authorization().size();
  if (event.size() == 0) return inline_size <= kMaxInlinePayload && event.digest().empty();
  return event.payload().empty() && event.digest().size() == kDigestSize &&
         event.size() <= kMaxEventSize - event.name().size();
}

/// Leaves the payload out of an event that would not fit a packet with it, and returns it.
std::string detach_payload(proto::UserEvent& event) {
  if (event.name().size() + event.payload().size() + event.authorization().size() <=
      kMaxInlinePayload) {
    return {};
  }
  event.set_size(event.payload().size());
  event.set_digest(digest_of(event.payload()));
  std::string payload = std::move(*event.mutable_payload());
  event.clear_payload();
  return payload;
}

}  // namespace

TimePoint sent_at(const proto::Record& record, TimePoint now) {
  return now - std::chrono::milliseconds(std::min<uint64_t>(record.age_ms(), kOldest_ms));
}

std::string digest_of(std::string_view payload) {
  std::string digest(kDigestSize, '\0');
  crypto_generichash(reinterpret_cast<unsigned char*>(digest.data()), digest.size(),
                     reinterpret_cast<const unsigned char*>(payload.data()), payload.size(),
                     nullptr, 0);
  return digest;
}

void EventLog::restore(const Restored& restored) {
  present_since_ = context_.now;
  for (const SaveProgress& saved : restored.progress) {
    const EventLine line{saved.origin, saved.epoch};
    if (lines_.obtain(line, context_.now) == nullptr) break;
    lines_.change(line, [&](EventLines::Progress& progress) {
      progress.contiguous = saved.contiguous;
      progress.proven = saved.contiguous;
    });
  }
  for (const Restored::KeptEvent& event : restored.events) {
    proto::UserEvent body;
    if (!body.ParseFromString(event.record)) continue;
    Kept kept{event.record, {}, context_.now - event.age, context_.now};
    if (body.size() != 0) {
      kept.payload = body.payload();
      body.clear_payload();
      kept.head = body.SerializeAsString();
    }
    if (body.signature().empty()) prove(event.id, body, kept);
    kept.timing = EventTiming::kMissed;
    kept.waiting = false;
    const size_t bytes = kept.bytes();
    if (!kept_.try_emplace(event.id, std::move(kept)).second) continue;
    kept_bytes_ += bytes;
    order_.push_back(event.id);
  }
  enforce_limits();
  if (lines_.size() > 0) next_sweep_ = context_.now + kSweepInterval;
}

void EventLog::prove(const MessageId& id, proto::UserEvent& event, Kept& kept) {
  kept.proven = id.origin == context_.identity.id;
  if (!kept.proven) return;
  if (event.size() == 0) kept.payload = detach_payload(event);
  origins_.sign(id, event);
  kept.head = event.SerializeAsString();
}

proto::Record EventLog::create(const NewEvent& given, MessageId& id) {
  id = MessageId{context_.identity.id, context_.identity.epoch, ++own_sequence_};
  proto::UserEvent event;
  event.set_ltime(context_.event_clock.tick());
  if (planted(PlantedBug::kTickAfterSending)) event.set_ltime(event.ltime() - 1);
  event.set_name(given.name);
  event.set_coalesce(given.coalesce);
  event.set_authorization(given.authorization);
  event.set_payload(given.payload);
  std::string payload = detach_payload(event);
  origins_.sign(id, event);
  Kept kept{event.SerializeAsString(), std::move(payload), context_.now, context_.now};
  const Verdict verdict = take(id, id.origin, std::move(kept));
  STARLING_ASSERT(verdict == Verdict::kFresh);
  const auto record = find(id);
  STARLING_ASSERT(record);
  if (planted(PlantedBug::kReportIdBeforeCounting)) --id.sequence;
  if (planted(PlantedBug::kReportIdWithoutEpoch)) id.epoch = 0;
  return *record;
}

Verdict EventLog::apply(const proto::Record& record, const NodeId& from) {
  const auto id = read_message_key(record.key());
  proto::UserEvent event;
  if (!id || !event.ParseFromString(record.payload()) || !valid(event)) return Verdict::kInvalid;
  if (has(*id)) {
    const auto kept = kept_.find(*id);
    if (planted(PlantedBug::kForgetDedupe) && kept != kept_.end()) emit(*id, kept->second);
    return Verdict::kKnown;
  }
  // Only this process issues events of its own epoch: any other claim is false.
  const bool own_epoch = id->origin == context_.identity.id && id->epoch == context_.identity.epoch;
  if (own_epoch && id->sequence > own_sequence_) return Verdict::kInvalid;
  if (event.size() != 0 && fetching && fetching(*id, from)) return Verdict::kKnown;
  // Before anything is believed of it: its Lamport time, its sequence, that there is a payload.
  if (const Verdict origin = origins_.check(*id, event); origin != Verdict::kFresh) return origin;
  if (planted(PlantedBug::kAdoptHeardClock)) context_.event_clock = LamportClock();
  if (!planted(PlantedBug::kDeafClock)) context_.event_clock.witness(event.ltime());
  if (event.size() != 0) return fetch ? fetch(*id, record, from) : Verdict::kKnown;
  return take(*id, from, Kept{record.payload(), {}, sent_at(record, context_.now), context_.now});
}

void EventLog::take_payload(const MessageId& id, const std::string& head, std::string payload,
                            TimePoint sent) {
  if (!has(id)) take(id, id.origin, Kept{head, std::move(payload), sent, context_.now});
}

// --- in order ----------------------------------------------------------------------------------

Verdict EventLog::take(const MessageId& id, const NodeId& from, Kept&& event) {
  const EventLine line = EventLine::of(id);
  const EventLines::Progress* progress = lines_.obtain(line, context_.now);
  if (progress == nullptr) {
    ++context_.statistics.dropped_progress;
    return Verdict::kKnown;  // others may have room for it
  }
  if (next_sweep_ == kNever) next_sweep_ = context_.now + kSweepInterval;
  const bool held_back = skipping_ && id.origin != context_.identity.id;
  const bool next = id.sequence == progress->contiguous + 1 && !held_back;
  if (!next &&
      (progress->beyond.size() >= kMaxBeyond || waiting_bytes_ + event.bytes() > kMaxBeyondBytes)) {
    ++context_.statistics.dropped_beyond;
    return Verdict::kKnown;
  }
  const size_t bytes = event.bytes();
  if (kept_.try_emplace(id, std::move(event)).second) waiting_bytes_ += bytes;
  lines_.change(line, [&](EventLines::Progress& p) {
    if (planted(PlantedBug::kSkipGaps)) p.contiguous = std::max(p.contiguous, id.sequence - 1);
    p.beyond.insert(id.sequence);
    p.lost.erase(id.sequence);
    p.proven = std::max(p.proven, id.sequence);
    p.touched = context_.now;
  });
  if (!held_back) drain(line);
  if (!next && !held_back && gap) gap(id, from);
  return Verdict::kFresh;
}

void EventLog::drain(const EventLine& line) {
  bool moved = false;
  uint64_t missed_from = 0;
  lines_.change(line, [&](EventLines::Progress& p) {
    const auto report = [&] {
      if (missed_from != 0) report_missed(line, std::exchange(missed_from, 0), p.contiguous);
    };
    for (;; moved = true) {
      const uint64_t next = p.contiguous + 1;
      const bool here = p.beyond.erase(next) > 0;
      if (!here && p.lost.erase(next) == 0) break;
      if (here) report();
      p.contiguous = next;
      if (!here && missed_from == 0) missed_from = next;
      if (here) deliver(line.at(next));
    }
    report();
    p.dropped.erase(p.dropped.begin(), p.dropped.upper_bound(p.contiguous));
  });
  if (moved) {
    save(line);
    gaps_.erase(line);
    gap_since_.erase(line);
  }
  watch_gap(line);
  enforce_limits();
}

void EventLog::watch_gap(const EventLine& line) {
  if (lines_.find(line)->gap() && gap_since_.try_emplace(line, context_.now).second) {
    gaps_.set(line, context_.now + kGapPatience);
  }
}

void EventLog::deliver(const MessageId& id) {
  Kept& event = kept_.at(id);
  event.timing = timing_of(event.sent);
  ++context_.statistics.events_accepted;
  emit(id, event);
  if (!std::exchange(event.waiting, false)) return;
  waiting_bytes_ -= event.bytes();
  kept_bytes_ += event.bytes();
  order_.push_back(id);
}

void EventLog::emit(const MessageId& id, const Kept& event) {
  proto::UserEvent body;
  const bool parsed = body.ParseFromString(event.head);
  STARLING_ASSERT(parsed);
  std::string record = event.head;
  if (body.size() != 0) {
    body.set_payload(event.payload);
    record = body.SerializeAsString();
  }
  if (planted(PlantedBug::kSwapStrings)) body.mutable_name()->swap(*body.mutable_payload());
  context_.emit(UserEventArrived{id, body.ltime(), body.name(), body.payload(), body.coalesce(),
                                 event.timing, std::move(record), context_.now - event.sent,
                                 name_of ? name_of(id.origin) : id.origin.to_string()});
}

EventTiming EventLog::timing_of(TimePoint sent) const {
  // Somebody's clock may jump: only what comes with the join can be from before it.
  const bool joining = first_join_ != TimePoint::min() && context_.now - first_join_ < kJoining;
  if (joining && sent < first_join_) return EventTiming::kBeforeJoin;
  const bool late = sent < present_since_ || context_.now - sent > kLate;
  return late ? EventTiming::kMissed : EventTiming::kLive;
}

void EventLog::save(const EventLine& line) {
  if (planted(PlantedBug::kForgetToSaveProgress)) return;
  const EventLines::Progress& progress = *lines_.find(line);
  context_.emit(SaveProgress{line.origin, line.epoch, progress.contiguous, {}});
}

// --- gaps --------------------------------------------------------------------------------------

void EventLog::report_missed(const EventLine& line, uint64_t first, uint64_t last) {
  context_.statistics.events_missed += last - first + 1;
  context_.emit(EventsMissed{line.origin, line.epoch, first, last, name_of(line.origin)});
  context_.trace(TraceLevel::kWarn, "missed user events " + std::to_string(first) + " to " +
                                        std::to_string(last) + " of " + name_of(line.origin) +
                                        ": nobody asked holds them any longer");
}

void EventLog::dropped(const MessageId& id, const NodeId& from, size_t others, bool certain) {
  const EventLine line = EventLine::of(id);
  if (own(line)) return;
  const EventLines::Progress* progress = lines_.obtain(line, context_.now);
  if (progress == nullptr || progress->has(id.sequence) || progress->lost.contains(id.sequence) ||
      progress->lost.size() + progress->dropped.size() >= kMaxLost) {
    return;
  }
  bool lost = false;
  lines_.change(line, [&](EventLines::Progress& p) {
    std::set<NodeId>& said = p.dropped[id.sequence];
    said.insert(from);
    lost = said.size() >= std::clamp<size_t>(others, 1, kMissedPeers);
    if (!lost) {
      if (certain) p.known = std::max(p.known, id.sequence);
      return;
    }
    p.dropped.erase(id.sequence);
    p.lost.insert(id.sequence);
    p.touched = context_.now;
  });
  if (!lost) return watch_gap(line);
  if (!skipping_) drain(line);
}

void EventLog::never_held(const MessageId& id) {
  const EventLine line = EventLine::of(id);
  if (own(line) || has(id) || lines_.obtain(line, context_.now) == nullptr) return;
  lines_.change(line, [&](EventLines::Progress& p) { p.known = std::max(p.known, id.sequence); });
  watch_gap(line);
}

void EventLog::origin_says(const EventLine& line, uint64_t last) {
  const EventLines::Progress* progress = lines_.find(line);
  if (progress == nullptr || own(line)) return;
  // What has come meanwhile is later than what was said.
  const uint64_t end = std::max(last, progress->proven);
  const bool past_end = progress->contiguous > end || progress->known > end ||
                        progress->lost.upper_bound(end) != progress->lost.end();
  if (!past_end) return;
  lines_.change(line, [&](EventLines::Progress& p) {
    p.contiguous = std::min(p.contiguous, end);
    p.skipped = std::min(p.skipped, end);
    p.known = std::min(p.known, end);
    p.lost.erase(p.lost.upper_bound(end), p.lost.end());
    p.dropped.erase(p.dropped.upper_bound(end), p.dropped.end());
    p.touched = context_.now;
  });
  context_.trace(TraceLevel::kWarn, "somebody claims events of " + name_of(line.origin) +
                                        " that it has never sent: not believed");
  save(line);
  gaps_.erase(line);
  gap_since_.erase(line);
  watch_gap(line);
}

void EventLog::hold_gaps() {
  for (const auto& [line, since] : gap_since_) gaps_.set(line, context_.now + kGapPatience);
}

void EventLog::gap_is_old(const EventLine& line) {
  const auto since = gap_since_.find(line);
  const EventLines::Progress* progress = lines_.find(line);
  if (since == gap_since_.end() || progress == nullptr || !progress->gap() || skipping_) return;
  const uint64_t first = progress->contiguous + 1;
  const uint64_t last = progress->beyond.empty() ? progress->known : *progress->beyond.begin() - 1;
  if (may_come && may_come(line.at(first), context_.now - since->second)) {
    gaps_.set(line, context_.now + kGapPatience);
    return;
  }
  report_missed(line, first, last);
  lines_.change(line, [&](EventLines::Progress& p) {
    p.contiguous = last;
    p.lost.erase(p.lost.begin(), p.lost.upper_bound(last));
  });
  drain(line);
}

bool EventLog::delivered(const MessageId& id) const {
  const EventLines::Progress* progress = lines_.find(EventLine::of(id));
  return progress != nullptr && id.sequence <= progress->contiguous;
}

bool EventLog::once_held(const MessageId& id) const {
  const EventLines::Progress* progress = lines_.find(EventLine::of(id));
  return progress != nullptr && progress->has(id.sequence) && id.sequence > progress->skipped;
}

// --- the first join ----------------------------------------------------------------------------

void EventLog::begin_skip() {
  if (std::exchange(skipping_, true)) return;
  skip_began_ = context_.now;
}

void EventLog::end_skip(const EventLines::Wire& present) {
  if (!std::exchange(skipping_, false)) return;
  for (const proto::EventProgress& theirs : present) {
    const auto origin = NodeId::from_wire(theirs.origin());
    if (!origin || *origin == context_.identity.id) continue;
    const EventLine line{*origin, theirs.epoch()};
    if (lines_.obtain(line, context_.now) == nullptr) {
      ++context_.statistics.dropped_progress;
      continue;
    }
    skip_to(line, theirs.contiguous());
  }
  std::vector<EventLine> lines;
  for (const auto& [line, progress] : lines_.all()) lines.push_back(line);
  for (const EventLine& line : lines) drain(line);
  if (next_sweep_ == kNever) next_sweep_ = context_.now + kSweepInterval;
}

void EventLog::skip_to(const EventLine& line, uint64_t contiguous) {
  lines_.change(line, [&](EventLines::Progress& p) {
    if (contiguous <= p.contiguous) return;
    // What came meanwhile is the present, unless somebody sent us the past. The present has no
    // holes: it begins behind the last that is known to be past, since a host whose clock stood
    // still takes its events for younger than they are, and what is not here yet can be had.
    const auto end = p.beyond.upper_bound(contiguous);
    auto present = end;
    while (present != p.beyond.begin() &&
           kept_.at(line.at(*std::prev(present))).sent >= skip_began_) {
      --present;
    }
    p.contiguous = present == end ? contiguous : *present - 1;
    p.skipped = p.contiguous;
    p.touched = context_.now;
    for (auto past = p.beyond.begin(); past != present; past = p.beyond.erase(past)) {
      const auto kept = kept_.find(line.at(*past));
      waiting_bytes_ -= kept->second.bytes();
      kept_.erase(kept);
    }
  });
  save(line);
}

void EventLog::joined(bool restored) {
  if (ever_joined()) return;
  joined_ = context_.now;
  if (!restored) first_join_ = context_.now;
}

// --- anti-entropy ------------------------------------------------------------------------------

std::vector<MessageId> EventLog::lacking_there(
    const std::array<bool, EventLines::kBuckets>& buckets, const EventLines::Wire& theirs,
    size_t limit) const {
  std::map<EventLine, EventLines::Progress> there;
  for (const proto::EventProgress& wire : theirs) {
    const auto origin = NodeId::from_wire(wire.origin());
    if (!origin) continue;
    EventLines::Progress& progress = there[{*origin, wire.epoch()}];
    progress.contiguous = wire.contiguous();
    progress.beyond.insert(wire.beyond().begin(), wire.beyond().end());
  }
  std::vector<MessageId> missing;
  const auto consider = [&](const MessageId& id) {
    const EventLine line = EventLine::of(id);
    if (!buckets[EventLines::bucket_of(line)]) return;
    const auto found = there.find(line);
    const bool lacks = found == there.end() || !found->second.has(id.sequence);
    if (lacks && kept_.at(id).proven) missing.push_back(id);
  };
  for (size_t i = 0; i < order_.size() && missing.size() < limit; ++i) consider(order_[i]);
  for (const auto& [line, progress] : lines_.all()) {
    for (const uint64_t sequence : progress.beyond) {
      if (missing.size() < limit) consider(line.at(sequence));
    }
  }
  return missing;
}

// --- retention ---------------------------------------------------------------------------------

std::optional<proto::Record> EventLog::find(const MessageId& id) const {
  const auto found = kept_.find(id);
  if (found == kept_.end() || !found->second.proven) return std::nullopt;
  proto::Record record;
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(message_key(id));
  record.set_payload(found->second.head);
  const auto age = std::chrono::floor<std::chrono::milliseconds>(context_.now - found->second.sent);
  record.set_age_ms(static_cast<uint64_t>(std::max<int64_t>(age.count(), 0)));
  return record;
}

std::optional<std::string> EventLog::payload_of(const MessageId& id) const {
  const auto found = kept_.find(id);
  proto::UserEvent event;
  if (found == kept_.end() || !event.ParseFromString(found->second.head)) return std::nullopt;
  return event.size() != 0 ? found->second.payload : event.payload();
}

const std::string* EventLog::large_payload(const MessageId& id) const {
  const auto found = kept_.find(id);
  return found == kept_.end() || found->second.payload.empty() ? nullptr : &found->second.payload;
}

void EventLog::visit_latest(
    size_t limit, const std::function<void(HeldEvent event, TimePoint arrived)>& visit) const {
  for (size_t i = order_.size(); i-- > 0 && limit-- > 0;) {
    const MessageId& id = order_[i];
    const Kept& kept = kept_.at(id);
    proto::UserEvent body;
    if (!body.ParseFromString(kept.head)) continue;
    HeldEvent event;
    event.id = id;
    event.origin = name_of(id.origin);
    event.ltime = body.ltime();
    event.name = body.name();
    event.size = body.size() != 0 ? body.size() : body.payload().size();
    event.coalesce = body.coalesce();
    event.age = context_.now - kept.sent;
    event.timing = kept.timing;
    visit(std::move(event), kept.arrived);
  }
}

void EventLog::enforce_limits() {
  if (planted(PlantedBug::kKeepForEver)) return;
  // One event is kept whatever its size.
  while (order_.size() > context_.options.event_retention_count ||
         (order_.size() > 1 && kept_bytes_ > context_.options.event_retention_bytes)) {
    forget_oldest();
  }
}

void EventLog::forget_oldest() {
  const MessageId id = order_.front();
  order_.pop_front();
  const auto found = kept_.find(id);
  kept_bytes_ -= found->second.bytes();
  kept_.erase(found);
  context_.emit(ForgetEvent{id});
}

TimePoint EventLog::next_deadline() const {
  TimePoint next = std::min(next_sweep_, gaps_.next());
  if (!order_.empty()) {
    next = std::min(next, kept_.at(order_.front()).sent + context_.options.event_retention);
  }
  return next;
}

void EventLog::advance() {
  while (const auto line = gaps_.pop(context_.now)) gap_is_old(*line);
  while (!order_.empty() &&
         kept_.at(order_.front()).sent + context_.options.event_retention <= context_.now) {
    forget_oldest();
  }
  if (context_.now >= next_sweep_) sweep();
}

void EventLog::sweep() {
  next_sweep_ = context_.now + kSweepInterval;
  const Duration keep_for = std::max<Duration>(
      kProgressRetention * context_.options.event_retention, std::chrono::hours(24));
  std::vector<EventLine> old;
  for (const auto& [line, progress] : lines_.all()) {
    const bool own = line == EventLine{context_.identity.id, context_.identity.epoch};
    if (!own && !progress.gap() && context_.now - progress.touched >= keep_for) old.push_back(line);
  }
  for (const EventLine& line : old) {
    lines_.erase(line);
    context_.emit(ForgetProgress{line.origin, line.epoch});
  }
}

}  // namespace starling::membership
