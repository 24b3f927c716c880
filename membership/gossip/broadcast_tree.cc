// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/broadcast_tree.h"

#include <algorithm>
#include <utility>

#include "membership/hash.h"
#include "membership/limits.h"
#include "membership/planted_bug.h"

namespace starling::membership {

namespace {

// Six tries and waits that grow by half: with one packet in ten lost, all tries of a hop are lost
// once in a million, and the last of 1,000 members needs about the fourth. Waits that double would
// bring it later than the announcements do; fewer tries would leave one event in a hundred to them.
// More would all be answered at once by a member that was paused.
constexpr unsigned kTries = 6;
constexpr unsigned kTriesSameChild = 2;
// How far along the ring neighbours of a member are asked how far away its zone is.
constexpr size_t kNeighbours = 32;
constexpr int kHopTimeGain = 8;
// Repetitions are paid for: some at once, so many for each hop that was acknowledged, and a few
// with time. When all round trips have become longer than we wait, or most members are cut off, a
// flood of them would help nobody.
constexpr double kCreditPerHop = 2;
constexpr double kCreditPerSecond = 64;
// A hop that was given up is kept for this many of the longest time-outs: an acknowledgement that
// comes late says how long it takes.
constexpr int kLateTimeouts = 3;
constexpr size_t kCoveredRanges = 8;      // per record
constexpr size_t kCoveredRecords = 8192;  // remembered at once
constexpr Duration kCoveredFor = std::chrono::seconds(10);

// Newcomers that are told by whom they came in through, and for how many batch delays: under load
// it takes several until all others have them in their tables.
constexpr size_t kMaxNewcomers = 64;
constexpr int kGreetedDelays = 20;

// Records in one push: it fits a packet, with room for the push itself.
constexpr size_t kBatchBytes = kMaxPacket - 120;
constexpr size_t kRecordOverhead = 3;

uint16_t zone_of(const Entry& entry) {
  return static_cast<uint16_t>(entry.position() >> 48);
}

void follow(Duration& usual, Duration took) {
  usual = took < usual ? took : usual + (took - usual) / kHopTimeGain;
}

template <typename Records>
uint64_t fingerprint_of(const Records& records) {
  uint64_t hash = 0;
  for (const proto::Record& record : records) {
    hash = mix64(hash + static_cast<uint64_t>(record.kind()));
    hash = mix64(hash ^ hash_bytes(record.key()));
    hash = mix64(hash ^ hash_bytes(record.payload()));
  }
  return hash;
}

}  // namespace

// --- beginning ---------------------------------------------------------------------------------

TrafficClass BroadcastTree::Batch::traffic() const {
  return refutation ? TrafficClass::kRefutations : traffic_of(records.front().kind());
}

void BroadcastTree::publish(const proto::Record& record, const NodeId& origin, bool refutation) {
  gathered_.erase(record.key());
  publish_batch({record}, origin, refutation);
}

void BroadcastTree::publish_batch(Records records, const NodeId& origin, bool refutation) {
  const Range all{0, UINT64_MAX};
  const uint64_t fingerprint = fingerprint_of(records);
  take_cover(fingerprint, all, false);
  const auto batch =
      std::make_shared<const Batch>(Batch{std::move(records), fingerprint, refutation});
  spread(batch, all, true, context_.identity.id, origin);
  tell_newcomers(batch, origin);
}

void BroadcastTree::greet(const NodeId& newcomer) {
  newcomers_.push_back({newcomer, context_.now + kGreetedDelays * context_.options.batch_delay});
  if (newcomers_.size() > kMaxNewcomers) newcomers_.pop_front();
}

void BroadcastTree::tell_newcomers(const SharedBatch& batch, const NodeId& origin) {
  while (!newcomers_.empty() && newcomers_.front().until <= context_.now) newcomers_.pop_front();
  if (table_.up_count() <= context_.options.tree_direct_max) return;  // all have been told
  for (const Newcomer& newcomer : newcomers_) {
    Entry* child = table_.find(newcomer.id);
    if (child == nullptr || !child->up() || newcomer.id == origin) continue;
    const bool only_itself = batch->records.size() == 1 &&
                             batch->records.front().kind() == proto::RECORD_MEMBER &&
                             batch->records.front().key() == newcomer.id.wire();
    if (!only_itself) send_hop(*child, batch, Range{0, 0}, origin);
  }
}

void BroadcastTree::publish_soon(const proto::Record& record) {
  const Duration delay = context_.options.batch_delay;
  if (gathered_.empty() && context_.now - flushed_ >= delay) {
    flushed_ = context_.now;
    publish(record, context_.identity.id);
    return;
  }
  gather(record, delay);
}

void BroadcastTree::publish_unless_heard(const proto::Record& record, Duration wait) {
  gather(record, Duration(static_cast<Duration::rep>(context_.random.unit() *
                                                     static_cast<double>(wait.count()))));
}

void BroadcastTree::gather(const proto::Record& record, Duration delay) {
  if (gathered_.size() >= kMaxBatched && !gathered_.contains(record.key())) {
    ++context_.statistics.dropped_batched;
    return;
  }
  // What can wait goes with what cannot, not the other way round.
  const TimePoint due = context_.now + delay;
  flush_at_ = gathered_.empty() ? due : std::min(flush_at_, due);
  gathered_[record.key()] = record;
}

void BroadcastTree::flush() {
  flush_at_ = kNever;
  flushed_ = context_.now;
  Records batch;
  size_t bytes = 0;
  for (auto& [key, record] : std::exchange(gathered_, {})) {
    const size_t size = record.ByteSizeLong() + kRecordOverhead;
    if (bytes + size > kBatchBytes && !batch.empty()) {
      publish_batch(std::exchange(batch, {}), context_.identity.id);
      bytes = 0;
    }
    batch.push_back(std::move(record));
    bytes += size;
  }
  if (!batch.empty()) publish_batch(std::move(batch), context_.identity.id);
}

// --- passing on --------------------------------------------------------------------------------

void BroadcastTree::receive(const Address& from, const NodeId& sender, const proto::Push& push,
                            Verdict verdict, const NodeId& origin) {
  // Acknowledged whatever it was: repeating it would not make it better.
  outbox_.push_ack(from, push.hop(), traffic_of(push));
  for (const proto::Record& record : push.records()) {
    const auto same = gathered_.find(record.key());
    if (same != gathered_.end() && same->second.payload() == record.payload()) {
      gathered_.erase(same);
    }
  }
  if (verdict != Verdict::kFresh && verdict != Verdict::kKnown) return;
  const Range range{push.range_begin(), push.range_end()};
  if (range.begin >= range.end) return;
  const uint64_t fingerprint = fingerprint_of(push.records());
  if (!take_cover(fingerprint, range, push.instead())) return;
  const auto batch = std::make_shared<const Batch>(
      Batch{{push.records().begin(), push.records().end()}, fingerprint, push.refutation()});
  spread(batch, range, false, sender, origin);
}

bool BroadcastTree::take_cover(uint64_t fingerprint, const Range& range, bool again) {
  std::vector<Range>& ranges = covered_[fingerprint];
  if (std::any_of(ranges.begin(), ranges.end(), [&](const Range& have) {
        return have.contains(range) && (!again || range.contains(have));
      })) {
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

void BroadcastTree::spread(const SharedBatch& batch, const Range& range, bool whole,
                           const NodeId& sender, const NodeId& origin) {
  const size_t begin = table_.ring_place(range.begin);
  const size_t end = table_.ring_place(range.end);
  std::vector<Entry*> children;
  children.reserve(end - begin);
  for (size_t place = begin; place < end; ++place) {
    Entry& entry = table_.ring_at(place);
    if (entry.id() != sender && entry.id() != origin) children.push_back(&entry);
  }
  if (children.empty()) return;
  if (whole && children.size() <= context_.options.tree_direct_max) {
    for (Entry* child : children) send_hop(*child, batch, Range{0, 0}, origin);
    return;
  }
  const std::vector<size_t> cuts = divide(children);
  for (size_t part = 0; part + 1 < cuts.size(); ++part) {
    if (part == 0 && planted(PlantedBug::kTreeForgetsRange)) continue;
    const size_t first = cuts[part];
    const size_t last = cuts[part + 1];
    const Range sub{part == 0 ? range.begin : children[first]->position(),
                    part + 2 == cuts.size() ? range.end : children[last]->position()};
    Entry& child = *children[first + context_.random.below(last - first)];
    send_hop(child, batch, sub, origin);
  }
}

std::vector<size_t> BroadcastTree::divide(const std::vector<Entry*>& children) const {
  const size_t count = children.size();
  const size_t parts = std::min<size_t>(context_.options.tree_fanout, count);
  std::vector<size_t> zones = {0};  // where each begins
  for (size_t i = 1; context_.options.tree_by_zone && i < count; ++i) {
    if (zone_of(*children[i]) != zone_of(*children[i - 1])) zones.push_back(i);
  }
  zones.push_back(count);
  std::vector<size_t> cuts = {0};
  if (zones.size() - 1 > parts) {
    // More zones than parts: some of about equal size together.
    for (size_t zone = 1; zone + 1 < zones.size(); ++zone) {
      if (zones[zone] >= count * cuts.size() / parts) cuts.push_back(zones[zone]);
    }
    cuts.push_back(count);
    return cuts;
  }
  // Each zone has a part; what is left of them goes where parts are largest.
  std::vector<size_t> shares(zones.size() - 1, 1);
  for (size_t left = parts - shares.size(); left > 0; --left) {
    size_t largest = 0;
    const auto size = [&](size_t zone) {
      return static_cast<double>(zones[zone + 1] - zones[zone]) / static_cast<double>(shares[zone]);
    };
    for (size_t zone = 1; zone < shares.size(); ++zone) {
      if (size(zone) > size(largest)) largest = zone;
    }
    ++shares[largest];
  }
  for (size_t zone = 0; zone < shares.size(); ++zone) {
    const size_t members = zones[zone + 1] - zones[zone];
    for (size_t share = 1; share <= shares[zone]; ++share) {
      cuts.push_back(zones[zone] + members * share / shares[zone]);
    }
  }
  return cuts;
}

void BroadcastTree::send_hop(Entry& child, const SharedBatch& batch, const Range& range,
                             const NodeId& origin) {
  const uint32_t id = next_hop_++;
  Hop hop{batch, child.id(), zone_of(child), origin, range, first_timeout(child),
          1,     false,      context_.now};
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
  const auto found = hop_times_.find(zone_of(child));
  const bool known = found != hop_times_.end();
  const Duration usual = known ? found->second : Duration(0);
  Duration guess = known ? Duration(0) : 4 * options.hop_timeout_min;
  const bool certain = child.measured() && !child.round_trip_bound_only;
  if (const Entry* like = certain ? &child : measured_neighbour(child); like != nullptr) {
    guess = 2 * like->srtt() + 4 * like->rttvar();
  }
  const Duration timeout =
      std::clamp(std::max(guess, 2 * usual), options.hop_timeout_min, options.hop_timeout_max);
  return timeout + Duration(static_cast<Duration::rep>(
                       context_.random.below(static_cast<size_t>(timeout.count() / 4) + 1)));
}

const Entry* BroadcastTree::measured_neighbour(const Entry& child) const {
  const size_t place = table_.ring_place(child.position());
  const size_t end = std::min(place + kNeighbours + 1, table_.up_count());
  const Entry* nearest = nullptr;
  for (size_t at = place - std::min(place, kNeighbours); at < end; ++at) {
    const Entry& entry = table_.ring_at(at);
    if (!entry.measured() || zone_of(entry) != zone_of(child)) continue;
    const auto rank = [](const Entry& one) {
      return std::pair(one.round_trip_bound_only, one.srtt());
    };
    if (nearest == nullptr || rank(entry) < rank(*nearest)) nearest = &entry;
  }
  return nearest;
}

void BroadcastTree::transmit(uint32_t id, const Hop& hop, const Entry& child) {
  proto::Push push;
  for (const proto::Record& record : hop.batch->records) *push.add_records() = record;
  push.set_range_begin(hop.range.begin);
  push.set_range_end(hop.range.end);
  push.set_hop(id);
  push.set_refutation(hop.batch->refutation);
  push.set_instead(hop.instead);
  ++context_.statistics.pushes_sent;
  outbox_.push(child.address(), std::move(push));
}

void BroadcastTree::acknowledged(uint32_t hop) {
  const auto found = hops_.find(hop);
  if (found == hops_.end()) return;
  follow(hop_times_[found->second.zone], context_.now - found->second.sent);
  if (found->second.given_up()) {
    --given_up_;
  } else {
    credit_ = std::min(credit_ + kCreditPerHop, kCreditMax);
  }
  hops_.erase(found);
  due_.erase(hop);
}

/// When all round trips have become longer, probes find it out while nothing is told.
void BroadcastTree::learn_round_trip(const Entry& member, Duration took, bool at_least) {
  Duration& usual = hop_times_[zone_of(member)];
  if (at_least) {
    usual = std::max(usual, took);
  } else {
    follow(usual, took);
  }
}

void BroadcastTree::give_up(uint32_t id, Hop& hop) {
  ++context_.statistics.pushes_abandoned;
  ++given_up_;
  hop.batch.reset();
  due_.set(id, context_.now + kLateTimeouts * context_.options.hop_timeout_max);
}

bool BroadcastTree::pay_for_repetition() {
  const double passed = std::chrono::duration<double>(context_.now - credit_at_).count();
  credit_ = std::min(credit_ + passed * kCreditPerSecond, kCreditMax);
  credit_at_ = context_.now;
  if (credit_ < 1) {
    ++context_.statistics.dropped_push_retries;
    return false;
  }
  credit_ -= 1;
  return true;
}

TimePoint BroadcastTree::next_deadline() const {
  return std::min({due_.next(), forget_.next(), flush_at_});
}

void BroadcastTree::advance() {
  if (context_.now >= flush_at_) flush();
  while (const auto id = due_.pop(context_.now)) retry(*id);
  while (const auto record = forget_.pop(context_.now)) covered_.erase(*record);
}

void BroadcastTree::retry(uint32_t id) {
  const auto found = hops_.find(id);
  if (found == hops_.end()) return;
  Hop& hop = found->second;
  if (hop.given_up()) {
    --given_up_;
    hops_.erase(found);
    return;
  }
  if (outbox_.waits(hop.batch->traffic())) {
    // It may not even have left.
    due_.set(id, context_.now + hop.timeout);
    return;
  }
  const Entry* child = table_.find(hop.child);
  const bool gone = child == nullptr || !child->up();
  if (hop.tries >= kTries || (gone && hop.range.begin >= hop.range.end)) return give_up(id, hop);
  if (gone || hop.tries >= kTriesSameChild) {
    const Entry* other = another_representative(hop);
    if (other == nullptr && gone) return give_up(id, hop);
    if (other != nullptr) {
      child = other;
      hop.instead = true;
    }
    hop.child = child->id();
    hop.zone = zone_of(*child);
  }
  ++hop.tries;
  hop.timeout = std::min(hop.timeout * 3 / 2, context_.options.hop_timeout_max);
  if (pay_for_repetition()) {
    ++context_.statistics.push_retries;
    transmit(id, hop, *child);
  }
  due_.set(id, context_.now + hop.timeout);
}

const Entry* BroadcastTree::another_representative(const Hop& hop) {
  std::vector<const Entry*> others;
  const size_t end = table_.ring_place(hop.range.end);
  for (size_t place = table_.ring_place(hop.range.begin); place < end; ++place) {
    const Entry& entry = table_.ring_at(place);
    if (entry.id() != hop.child && entry.id() != hop.origin) others.push_back(&entry);
  }
  return others.empty() ? nullptr : others[context_.random.below(others.size())];
}

}  // namespace starling::membership
