// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/event_log.h"

#include <algorithm>

#include "membership/limits.h"
#include "membership/planted_bug.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

// Progress is kept this many retention times after its last change, so that no event that anybody
// still holds is taken for a new one.
constexpr int kProgressRetention = 4;
// An event is given up when three peers have had and dropped it, or sixteen never had it.
constexpr unsigned kMissedWeight = 48;
constexpr unsigned kDroppedWeight = 16;
constexpr unsigned kNeverHadWeight = 3;
constexpr Duration kSweepInterval = std::chrono::seconds(30);

}  // namespace

void EventLog::restore(const Restored& restored) {
  for (const SaveProgress& saved : restored.progress) {
    if (progress_.size() >= kMaxProgress) break;
    const Line line{saved.origin, saved.epoch};
    Progress progress;
    progress.contiguous = saved.contiguous;
    progress.beyond.insert(saved.beyond.begin(), saved.beyond.end());
    progress.touched = context_.now;
    close_gap(progress);
    fingerprint_ ^= fingerprint_of(line, progress);
    progress_[line] = std::move(progress);
  }
  for (const Restored::KeptEvent& event : restored.events) keep(event.id, event.record);
  if (!progress_.empty()) next_sweep_ = context_.now + kSweepInterval;
}

proto::Record EventLog::create(const std::string& name, const std::string& payload, bool coalesce,
                               MessageId& id) {
  id = MessageId{context_.identity.id, context_.identity.epoch, ++own_sequence_};
  proto::UserEvent event;
  event.set_ltime(context_.event_clock.tick());
  if (planted(PlantedBug::kTickAfterSending)) event.set_ltime(event.ltime() - 1);
  event.set_name(name);
  event.set_payload(payload);
  event.set_coalesce(coalesce);
  proto::Record record;
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(message_key(id));
  record.set_payload(event.SerializeAsString());
  const Verdict verdict = apply(record);
  STARLING_ASSERT(verdict == Verdict::kFresh);
  if (planted(PlantedBug::kReportIdBeforeCounting)) --id.sequence;
  if (planted(PlantedBug::kReportIdWithoutEpoch)) id.epoch = 0;
  return record;
}

Verdict EventLog::apply(const proto::Record& record) {
  const auto id = read_message_key(record.key());
  proto::UserEvent event;
  if (!id || !event.ParseFromString(record.payload()) || !valid_name(event.name()) ||
      event.name().size() + event.payload().size() > kMaxInlinePayload) {
    return Verdict::kInvalid;
  }
  if (has(*id) && !planted(PlantedBug::kForgetDedupe)) return Verdict::kKnown;
  // Only this process issues events of its own epoch: any other claim is false.
  const bool own_epoch = id->origin == context_.identity.id && id->epoch == context_.identity.epoch;
  if (own_epoch && id->sequence > own_sequence_) return Verdict::kInvalid;
  if (!advance_progress(*id)) return Verdict::kStale;
  if (planted(PlantedBug::kAdoptHeardClock)) context_.event_clock = LamportClock();
  if (!planted(PlantedBug::kDeafClock)) context_.event_clock.witness(event.ltime());
  ++context_.statistics.events_accepted;
  if (planted(PlantedBug::kSwapStrings)) event.mutable_name()->swap(*event.mutable_payload());
  context_.emit(UserEventArrived{*id, event.ltime(), event.name(), event.payload(),
                                 event.coalesce(), true, record.payload()});
  save({id->origin, id->epoch}, progress_.at({id->origin, id->epoch}));
  keep(*id, record.payload());
  return Verdict::kFresh;
}

// --- progress ----------------------------------------------------------------------------------

bool EventLog::has(const MessageId& id) const {
  const auto found = progress_.find({id.origin, id.epoch});
  return found != progress_.end() && found->second.has(id.sequence);
}

bool EventLog::knows_origin(const NodeId& origin, uint32_t epoch) const {
  return progress_.contains({origin, epoch});
}

EventLog::Progress* EventLog::progress_for(const Line& line) {
  const auto found = progress_.find(line);
  if (found != progress_.end()) return &found->second;
  if (progress_.size() >= kMaxProgress) {
    ++context_.statistics.dropped_progress;
    return nullptr;
  }
  if (next_sweep_ == kNever) next_sweep_ = context_.now + kSweepInterval;
  Progress& progress = progress_[line];
  fingerprint_ ^= fingerprint_of(line, progress);
  return &progress;
}

bool EventLog::advance_progress(const MessageId& id) {
  const Line line{id.origin, id.epoch};
  Progress* progress = progress_for(line);
  if (progress == nullptr) return false;
  if (id.sequence != progress->contiguous + 1 && progress->beyond.size() >= kMaxBeyond) {
    // Too far ahead of what is missing: anti-entropy brings it when the gap is filled.
    ++context_.statistics.dropped_progress;
    return false;
  }
  fingerprint_ ^= fingerprint_of(line, *progress);
  progress->beyond.insert(id.sequence);
  close_gap(*progress);
  progress->touched = context_.now;
  fingerprint_ ^= fingerprint_of(line, *progress);
  return true;
}

void EventLog::close_gap(Progress& progress) {
  while (!progress.beyond.empty() && *progress.beyond.begin() <= progress.contiguous + 1) {
    progress.contiguous = std::max(progress.contiguous, *progress.beyond.begin());
    progress.beyond.erase(progress.beyond.begin());
  }
  while (!progress.not_held.empty() && progress.not_held.begin()->first <= progress.contiguous) {
    progress.not_held.erase(progress.not_held.begin());
  }
}

void EventLog::save(const Line& line, const Progress& progress) {
  if (planted(PlantedBug::kForgetToSaveProgress)) return;
  context_.emit(SaveProgress{line.first,
                             line.second,
                             progress.contiguous,
                             {progress.beyond.begin(), progress.beyond.end()}});
}

uint64_t EventLog::fingerprint_of(const Line& line, const Progress& progress) {
  // A line without any event is as good as no line.
  if (progress.contiguous == 0 && progress.beyond.empty()) return 0;
  uint64_t hash = mix64(line.first.hash() ^ mix64(line.second)) ^ mix64(progress.contiguous);
  for (const uint64_t sequence : progress.beyond) hash ^= mix64(sequence * 2 + 1);
  return mix64(hash);
}

void EventLog::skip_to(const proto::EventProgress& theirs) {
  const auto origin = NodeId::from_wire(theirs.origin());
  if (!origin || *origin == context_.identity.id) return;
  const Line line{*origin, theirs.epoch()};
  Progress* progress = progress_for(line);
  if (progress == nullptr) return;
  fingerprint_ ^= fingerprint_of(line, *progress);
  progress->contiguous = std::max(progress->contiguous, theirs.contiguous());
  for (const uint64_t sequence : theirs.beyond()) {
    if (progress->beyond.size() >= kMaxBeyond) break;
    if (sequence > progress->contiguous) progress->beyond.insert(sequence);
  }
  progress->skipped = progress->contiguous;
  for (const uint64_t sequence : progress->beyond) {
    progress->skipped = std::max(progress->skipped, sequence);
  }
  close_gap(*progress);
  progress->touched = context_.now;
  fingerprint_ ^= fingerprint_of(line, *progress);
  save(line, *progress);
}

bool EventLog::once_held(const MessageId& id) const {
  const auto found = progress_.find({id.origin, id.epoch});
  return found != progress_.end() && found->second.has(id.sequence) &&
         id.sequence > found->second.skipped;
}

void EventLog::not_held(const MessageId& id, bool had) {
  Progress* progress = progress_for({id.origin, id.epoch});
  if (progress == nullptr || progress->has(id.sequence)) return;
  if (progress->not_held.size() >= kMaxBeyond && !progress->not_held.contains(id.sequence)) return;
  unsigned& weight = progress->not_held[id.sequence];
  weight += had ? kDroppedWeight : kNeverHadWeight;
  if (weight < kMissedWeight) return;
  progress->not_held.erase(id.sequence);
  ++context_.statistics.events_missed;
  context_.trace(TraceLevel::kWarn,
                 "missed user event " + id.to_string() + ": nobody asked holds it any longer");
  if (advance_progress(id)) save({id.origin, id.epoch}, progress_.at({id.origin, id.epoch}));
}

// --- anti-entropy ------------------------------------------------------------------------------

void EventLog::write_progress(google::protobuf::RepeatedPtrField<proto::EventProgress>& out) const {
  for (const auto& [line, progress] : progress_) {
    if (progress.contiguous == 0 && progress.beyond.empty()) continue;
    proto::EventProgress& wire = *out.Add();
    wire.set_origin(std::string(line.first.wire()));
    wire.set_epoch(line.second);
    wire.set_contiguous(progress.contiguous);
    for (const uint64_t sequence : progress.beyond) wire.add_beyond(sequence);
  }
}

std::vector<MessageId> EventLog::lacking(const proto::EventProgress& theirs, size_t limit) const {
  std::vector<MessageId> wanted;
  const auto origin = NodeId::from_wire(theirs.origin());
  if (!origin) return wanted;
  const Line line{*origin, theirs.epoch()};
  if (*origin == context_.identity.id && line.second == context_.identity.epoch) return wanted;
  const auto found = progress_.find(line);
  const Progress none;
  const Progress& ours = found == progress_.end() ? none : found->second;
  for (uint64_t sequence = ours.contiguous + 1;
       sequence <= theirs.contiguous() && wanted.size() < limit; ++sequence) {
    if (!ours.has(sequence)) wanted.push_back({*origin, line.second, sequence});
  }
  for (const uint64_t sequence : theirs.beyond()) {
    if (wanted.size() >= limit) break;
    if (sequence != 0 && !ours.has(sequence)) wanted.push_back({*origin, line.second, sequence});
  }
  return wanted;
}

std::vector<MessageId> EventLog::lacking_there(
    const google::protobuf::RepeatedPtrField<proto::EventProgress>& theirs, size_t limit) const {
  std::map<Line, Progress> there;
  for (const proto::EventProgress& wire : theirs) {
    const auto origin = NodeId::from_wire(wire.origin());
    if (!origin) continue;
    Progress& progress = there[{*origin, wire.epoch()}];
    progress.contiguous = wire.contiguous();
    progress.beyond.insert(wire.beyond().begin(), wire.beyond().end());
  }
  std::vector<MessageId> missing;
  for (const MessageId& id : kept_order_) {
    if (missing.size() >= limit) break;
    const auto found = there.find({id.origin, id.epoch});
    if (found == there.end() || !found->second.has(id.sequence)) missing.push_back(id);
  }
  return missing;
}

// --- retention ---------------------------------------------------------------------------------

std::optional<proto::Record> EventLog::find(const MessageId& id) const {
  const auto found = kept_.find(id);
  if (found == kept_.end()) return std::nullopt;
  proto::Record record;
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(message_key(id));
  record.set_payload(found->second.payload);
  return record;
}

void EventLog::keep(const MessageId& id, std::string payload) {
  const size_t bytes = payload.size();
  const auto [place, added] = kept_.try_emplace(
      id, Kept{std::move(payload), context_.now + context_.options.event_retention});
  if (!added) return;
  kept_bytes_ += bytes;
  kept_order_.push_back(id);
  if (planted(PlantedBug::kKeepForEver)) return;
  while (!kept_order_.empty() && (kept_.size() > context_.options.event_retention_count ||
                                  kept_bytes_ > context_.options.event_retention_bytes)) {
    forget_oldest();
  }
}

void EventLog::forget_oldest() {
  const MessageId id = kept_order_.front();
  kept_order_.pop_front();
  const auto found = kept_.find(id);
  kept_bytes_ -= found->second.payload.size();
  kept_.erase(found);
  context_.emit(ForgetEvent{id});
}

TimePoint EventLog::next_deadline() const {
  if (kept_order_.empty()) return next_sweep_;
  return std::min(next_sweep_, kept_.at(kept_order_.front()).until);
}

void EventLog::advance() {
  while (!kept_order_.empty() && kept_.at(kept_order_.front()).until <= context_.now) {
    forget_oldest();
  }
  if (context_.now < next_sweep_) return;
  next_sweep_ = context_.now + kSweepInterval;
  const Duration keep_for = std::max<Duration>(
      kProgressRetention * context_.options.event_retention, std::chrono::hours(24));
  for (auto line = progress_.begin(); line != progress_.end();) {
    const bool own = line->first == Line{context_.identity.id, context_.identity.epoch};
    if (own || context_.now - line->second.touched < keep_for) {
      ++line;
      continue;
    }
    fingerprint_ ^= fingerprint_of(line->first, line->second);
    context_.emit(ForgetProgress{line->first.first, line->first.second});
    line = progress_.erase(line);
  }
}

}  // namespace starling::membership
