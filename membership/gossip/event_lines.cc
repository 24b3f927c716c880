// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/event_lines.h"

#include <algorithm>

#include "membership/limits.h"

namespace starling::membership {

namespace {

bool empty(const EventLines::Progress& progress) {
  return progress.contiguous == 0 && progress.beyond.empty();
}

}  // namespace

const EventLines::Progress* EventLines::find(const EventLine& line) const {
  const auto found = lines_.find(line);
  return found == lines_.end() ? nullptr : &found->second;
}

EventLines::Progress* EventLines::obtain(const EventLine& line, TimePoint now) {
  const auto found = lines_.find(line);
  if (found != lines_.end()) return &found->second;
  if (lines_.size() >= kMaxProgress) return nullptr;
  Progress& progress = lines_[line];
  progress.touched = now;
  return &progress;
}

void EventLines::erase(const EventLine& line) {
  const auto found = lines_.find(line);
  if (found == lines_.end()) return;
  toggle(line, found->second);
  lines_.erase(found);
}

bool EventLines::has(const MessageId& id) const {
  const Progress* progress = find(EventLine::of(id));
  return progress != nullptr && progress->has(id.sequence);
}

void EventLines::toggle(const EventLine& line, const Progress& progress) {
  if (empty(progress)) return;  // a line without any event is as good as no line
  uint64_t hash = line.hash() ^ mix64(progress.contiguous);
  for (const uint64_t sequence : progress.beyond) hash ^= mix64(sequence * 2 + 1);
  hash = mix64(hash);
  fingerprint_ ^= hash;
  buckets_[bucket_of(line)] ^= hash;
}

EventLines::Chosen EventLines::write(const Chosen& wanted, size_t first, size_t limit,
                                     Wire& out) const {
  std::array<std::vector<const EventLine*>, kBuckets> members;
  for (const auto& [line, progress] : lines_) {
    if (wanted[bucket_of(line)]) members[bucket_of(line)].push_back(&line);
  }
  Chosen written{};
  size_t bytes = 0;
  for (size_t i = 0; i < kBuckets && bytes < limit; ++i) {
    const size_t bucket = (first + i) % kBuckets;
    if (!wanted[bucket]) continue;
    written[bucket] = true;
    for (const EventLine* line : members[bucket]) {
      const int before = out.size();
      // What is left out of those that wait is sent to us once more than needed, no worse.
      write(*line, bytes < limit / 4 ? kMaxBeyond : 0, out);
      if (out.size() > before) bytes += out[before].ByteSizeLong() + 4;
    }
  }
  return written;
}

void EventLines::write(const EventLine& line, size_t most, Wire& out) const {
  const Progress* progress = find(line);
  if (progress == nullptr || empty(*progress)) return;
  proto::EventProgress& wire = *out.Add();
  wire.set_origin(std::string(line.origin.wire()));
  wire.set_epoch(line.epoch);
  wire.set_contiguous(progress->contiguous);
  for (const uint64_t sequence : progress->beyond) {
    if (most-- == 0) break;
    wire.add_beyond(sequence);
  }
}

std::vector<MessageId> EventLines::lacking(const proto::EventProgress& theirs, size_t limit) const {
  std::vector<MessageId> wanted;
  const auto origin = NodeId::from_wire(theirs.origin());
  if (!origin) return wanted;
  const EventLine line{*origin, theirs.epoch()};
  const Progress none;
  const Progress* found = find(line);
  const Progress& ours = found == nullptr ? none : *found;
  const auto add = [&](uint64_t sequence) {
    if (!ours.has(sequence) && !ours.lost.contains(sequence)) wanted.push_back(line.at(sequence));
  };
  for (uint64_t sequence = ours.contiguous + 1;
       sequence <= theirs.contiguous() && wanted.size() < limit; ++sequence) {
    add(sequence);
  }
  for (const uint64_t sequence : theirs.beyond()) {
    if (wanted.size() >= limit) break;
    if (sequence > theirs.contiguous()) add(sequence);
  }
  return wanted;
}

std::vector<MessageId> EventLines::gap_before(const MessageId& id, size_t limit) const {
  const EventLine line = EventLine::of(id);
  std::vector<MessageId> gap;
  const Progress* progress = find(line);
  if (progress == nullptr) return gap;
  for (uint64_t sequence = progress->contiguous + 1; sequence < id.sequence && gap.size() < limit;
       ++sequence) {
    if (!progress->has(sequence) && !progress->lost.contains(sequence)) {
      gap.push_back(line.at(sequence));
    }
  }
  return gap;
}

}  // namespace starling::membership
