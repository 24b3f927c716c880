// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/announcements.h"

#include <algorithm>

#include "membership/planted_bug.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

constexpr size_t kMaxQueued = 8192;  // beyond it ids are left to anti-entropy
constexpr size_t kMaxPulls = 8192;
constexpr size_t kMaxHolders = 4;  // per record
constexpr unsigned kMaxTries = 6;
// Of a line with a gap, this many of those after it.
constexpr size_t kBeyondTold = 16;

proto::RecordId record_id(const MessageId& event) {
  proto::RecordId id;
  id.set_kind(proto::RECORD_USER_EVENT);
  id.set_key(message_key(event));
  return id;
}

}  // namespace

void Announcements::arrived(const proto::RecordId& id) {
  const Key key{id.kind(), id.key()};
  pulls_.erase(key);
  due_.erase(key);
  if (context_.options.announce_fanout == 0) return;
  if (queue_.size() >= kMaxQueued) {
    ++context_.statistics.dropped_ids;
    return;
  }
  queue_.push_back(id);
  send_soon();
}

void Announcements::arrived(const MessageId& event) {
  const Key key{proto::RECORD_USER_EVENT, message_key(event)};
  pulls_.erase(key);
  due_.erase(key);
  if (context_.options.announce_fanout == 0) return;
  grown_.insert(EventLine::of(event));
  send_soon();
}

void Announcements::send_soon() {
  if (send_at_ == kNever) send_at_ = context_.now + context_.options.announce_delay;
}

void Announcements::heard(const Address& from, const MessageId& event) {
  heard(from, record_id(event));
}

void Announcements::heard(const Address& from, const proto::RecordId& id) {
  const Key key{id.kind(), id.key()};
  const auto found = pulls_.find(key);
  if (found == pulls_.end()) {
    if (pulls_.size() >= kMaxPulls) {
      ++context_.statistics.dropped_ids;
      return;
    }
    pulls_[key].holders.push_back(from);
    // The tree's own retries may bring it any moment.
    due_.set(key, context_.now + 2 * context_.options.hop_timeout_min);
    return;
  }
  std::vector<Address>& holders = found->second.holders;
  if (holders.size() < kMaxHolders &&
      std::find(holders.begin(), holders.end(), from) == holders.end()) {
    holders.push_back(from);
  }
}

void Announcements::pull(const Key& key) {
  const auto found = pulls_.find(key);
  if (found == pulls_.end()) return;
  Pull& pull = found->second;
  if (pull.tries >= kMaxTries) {
    ++context_.statistics.abandoned_pulls;
    pulls_.erase(found);
    return;
  }
  proto::RecordId id;
  id.set_kind(static_cast<proto::RecordKind>(key.first));
  id.set_key(key.second);
  outbox_.pull(pull.holders[pull.tries % pull.holders.size()], id);
  ++pull.tries;
  const Duration wait = std::min(context_.options.round_trip_min * (1 << pull.tries),
                                 context_.options.hop_timeout_max);
  due_.set(key, context_.now + wait);
}

TimePoint Announcements::next_deadline() const {
  return std::min(send_at_, due_.next());
}

void Announcements::advance() {
  while (const auto key = due_.pop(context_.now)) pull(*key);
  if (context_.now < send_at_) return;
  send_at_ = planted(PlantedBug::kLeaveTimerArmed) ? context_.now : kNever;
  const auto anyone = [](const Entry& entry) { return entry.status == Status::kAlive; };
  for (const Entry* entry :
       table_.random_up(context_.options.announce_fanout, context_.random, anyone)) {
    for (const proto::RecordId& id : queue_) outbox_.announce(entry->address(), id);
    for (const EventLine& line : grown_) {
      EventLines::Wire told;
      lines_.write(line, kBeyondTold, told);
      for (const proto::EventProgress& progress : told) {
        outbox_.progress(entry->address(), progress);
      }
    }
  }
  queue_.clear();
  grown_.clear();
}

}  // namespace starling::membership
