// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/broadcast_tree.h"

#include <algorithm>

#include "membership/limits.h"
#include "membership/planted_bug.h"

namespace starling::membership {

namespace {

constexpr unsigned kTries = 5;
constexpr unsigned kTriesSameChild = 2;
constexpr size_t kCoveredRanges = 4;      // per record
constexpr size_t kCoveredRecords = 8192;  // remembered at once
constexpr Duration kCoveredFor = std::chrono::seconds(10);

uint64_t fingerprint_of(const proto::Record& record) {
  uint64_t hash = 0xcbf29ce484222325ULL + static_cast<uint64_t>(record.kind());
  for (const std::string* part : {&record.key(), &record.payload()}) {
    for (const char c : *part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    hash = mix64(hash);
  }
  return hash;
}

}  // namespace

void BroadcastTree::publish(const proto::Record& record, const NodeId& origin) {
  const Range all{0, UINT64_MAX};
  const uint64_t fingerprint = fingerprint_of(record);
  take_cover(fingerprint, all);
  spread(std::make_shared<const proto::Record>(record), fingerprint, all, true,
         context_.identity.id, origin);
}

void BroadcastTree::receive(const Address& from, const NodeId& sender, const proto::Push& push,
                            Verdict verdict, const NodeId& origin) {
  // Acknowledged whatever it was: repeating it would not make it better.
  outbox_.push_ack(from, push.hop());
  if (verdict != Verdict::kFresh && verdict != Verdict::kKnown) return;
  const Range range{push.range_begin(), push.range_end()};
  if (range.begin >= range.end) return;
  const uint64_t fingerprint = fingerprint_of(push.record());
  if (!take_cover(fingerprint, range)) return;
  spread(std::make_shared<const proto::Record>(push.record()), fingerprint, range, false, sender,
         origin);
}

bool BroadcastTree::take_cover(uint64_t fingerprint, const Range& range) {
  std::vector<Range>& ranges = covered_[fingerprint];
  if (std::any_of(ranges.begin(), ranges.end(),
                  [&](const Range& have) { return have.contains(range); })) {
    return false;
  }
  if (ranges.size() >= kCoveredRanges) return false;  // enough was done for this record
  ranges.push_back(range);
  forget_.set(fingerprint, context_.now + kCoveredFor);
  if (forget_.size() > kCoveredRecords) {
    if (const auto oldest = forget_.pop(kNever)) covered_.erase(*oldest);
  }
  return true;
}

void BroadcastTree::spread(const SharedRecord& record, uint64_t fingerprint, const Range& range,
                           bool whole, const NodeId& sender, const NodeId& origin) {
  const std::vector<RingEntry>& ring = table_.ring();
  const auto before = [](const RingEntry& place, uint64_t position) {
    return place.position < position;
  };
  std::vector<RingEntry> children;
  for (auto place = std::lower_bound(ring.begin(), ring.end(), range.begin, before);
       place != ring.end() && place->position < range.end; ++place) {
    if (place->entry->id != sender && place->entry->id != origin) children.push_back(*place);
  }
  if (children.empty()) return;
  if (whole && children.size() <= context_.options.tree_direct_max) {
    for (const RingEntry& child : children) {
      send_hop(*child.entry, record, fingerprint, Range{0, 0}, origin);
    }
    return;
  }
  const size_t parts = std::min<size_t>(context_.options.tree_fanout, children.size());
  for (size_t part = 0; part < parts; ++part) {
    if (part == 0 && planted(PlantedBug::kTreeForgetsRange)) continue;
    const size_t first = children.size() * part / parts;
    const size_t last = children.size() * (part + 1) / parts;
    const Range sub{part == 0 ? range.begin : children[first].position,
                    part + 1 == parts ? range.end : children[last].position};
    Entry& child = *children[first + context_.random.below(last - first)].entry;
    send_hop(child, record, fingerprint, sub, origin);
  }
}

void BroadcastTree::send_hop(Entry& child, const SharedRecord& record, uint64_t fingerprint,
                             const Range& range, const NodeId& origin) {
  const uint32_t id = next_hop_++;
  Hop hop{record, fingerprint, child.id, origin, range, first_timeout(child), 1};
  transmit(id, hop, child);
  if (hops_.size() >= kMaxPendingHops) {
    ++context_.statistics.dropped_hops;
    return;
  }
  due_.set(id, context_.now + hop.timeout);
  hops_.emplace(id, std::move(hop));
}

Duration BroadcastTree::first_timeout(const Entry& child) {
  const Options& options = context_.options;
  const Duration guess =
      child.srtt > Duration(0) ? 2 * child.srtt + 4 * child.rttvar : 4 * options.hop_timeout_min;
  const Duration timeout = std::clamp(guess, options.hop_timeout_min, options.hop_timeout_max);
  return timeout + Duration(static_cast<Duration::rep>(
                       context_.random.below(static_cast<size_t>(timeout.count() / 4) + 1)));
}

void BroadcastTree::transmit(uint32_t id, const Hop& hop, const Entry& child) {
  proto::Push push;
  *push.mutable_record() = *hop.record;
  push.set_range_begin(hop.range.begin);
  push.set_range_end(hop.range.end);
  push.set_hop(id);
  ++context_.statistics.pushes_sent;
  outbox_.push(child.address, std::move(push));
}

void BroadcastTree::acknowledged(uint32_t hop) {
  hops_.erase(hop);
  due_.erase(hop);
}

TimePoint BroadcastTree::next_deadline() const {
  return std::min(due_.next(), forget_.next());
}

void BroadcastTree::advance() {
  while (const auto id = due_.pop(context_.now)) retry(*id);
  while (const auto record = forget_.pop(context_.now)) covered_.erase(*record);
}

void BroadcastTree::retry(uint32_t id) {
  const auto found = hops_.find(id);
  if (found == hops_.end()) return;
  Hop& hop = found->second;
  const Entry* child = table_.find(hop.child);
  const bool gone = child == nullptr || !child->up();
  if (hop.tries >= kTries || (gone && hop.range.begin >= hop.range.end)) {
    ++context_.statistics.pushes_abandoned;
    hops_.erase(found);
    return;
  }
  if (gone || hop.tries >= kTriesSameChild) {
    // Another representative of the same range, if it has one.
    std::vector<Entry*> others;
    for (const RingEntry& place : table_.ring()) {
      if (place.position < hop.range.begin || place.position >= hop.range.end) continue;
      if (place.entry->id != hop.child && place.entry->id != hop.origin) {
        others.push_back(place.entry);
      }
    }
    if (!others.empty()) {
      child = others[context_.random.below(others.size())];
      hop.child = child->id;
    } else if (gone) {
      ++context_.statistics.pushes_abandoned;
      hops_.erase(found);
      return;
    }
  }
  ++hop.tries;
  ++context_.statistics.push_retries;
  hop.timeout = std::min(2 * hop.timeout, context_.options.hop_timeout_max);
  transmit(id, hop, *child);
  due_.set(id, context_.now + hop.timeout);
}

}  // namespace starling::membership
