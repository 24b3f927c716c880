// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/messenger.h"

#include <algorithm>
#include <utility>

#include "membership/limits.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

// Straight tries before others are asked to carry the message.
constexpr unsigned kStraightTries = 2;
constexpr uint32_t kMaxCarriers = 1;
constexpr size_t kMaxSeen = 8192;
constexpr Duration kCarriedFor = std::chrono::seconds(30);
// Leaves room for sender, fingerprints and field overheads in one packet.
constexpr size_t kLargestDatagram = kMaxPacket - 64;

}  // namespace

bool Messenger::send(const NodeId& to, proto::DirectMessage body, TimePoint deadline,
                     unsigned extra_carriers) {
  const MessageId id = address(to, body);
  const size_t bytes = body.ByteSizeLong();
  if (letters_.size() >= kMaxDirect || letter_bytes_ + bytes > kMaxDirectBytes) {
    ++context_.statistics.dropped_direct;
    return false;
  }
  const bool large = bytes > kLargestDatagram;
  Letter letter{std::move(body), to, deadline, bytes, large};
  if (extra_carriers > 0) through_others(to, letter.message, large, extra_carriers);
  letters_.emplace(id, std::move(letter));
  letter_bytes_ += bytes;
  attempt(id);
  return true;
}

void Messenger::send_once(const NodeId& to, proto::DirectMessage body) {
  address(to, body);
  const bool large = body.ByteSizeLong() > kLargestDatagram;
  if (const Entry* target = table_.find(to)) transmit(*target, body, large);
  through_others(to, body, large, 1);
}

MessageId Messenger::address(const NodeId& to, proto::DirectMessage& body) {
  const MessageId id{context_.identity.id, context_.identity.epoch, next_sequence_++};
  write_id(id, *body.mutable_id());
  body.set_to(std::string(to.wire()));
  body.set_hops_left(kMaxCarriers);
  origins_.sign(id, body);
  return id;
}

void Messenger::through_others(const NodeId& to, const proto::DirectMessage& message, bool large,
                               unsigned carriers) {
  const auto able = [&](const Entry& entry) {
    return entry.id() != to && entry.status == Status::kAlive;
  };
  for (const Entry* carrier : table_.random_up(carriers, context_.random, able)) {
    transmit(*carrier, message, large);
  }
}

void Messenger::drop_answers(const MessageId& query) {
  std::vector<MessageId> ended;
  for (const auto& [id, letter] : letters_) {
    if (read_id(letter.message.query_reply().query()) == query) ended.push_back(id);
  }
  for (const MessageId& id : ended) forget(id);
  std::vector<StreamId> useless;
  for (const auto& [stream, outgoing] : outgoing_) {
    if (std::ranges::binary_search(ended, outgoing.id)) useless.push_back(stream);
  }
  for (const StreamId stream : useless) {
    outgoing_.erase(stream);
    streams_.close(stream);
  }
}

void Messenger::forget(const MessageId& id) {
  const auto letter = letters_.extract(id);
  if (!letter.empty()) letter_bytes_ -= letter.mapped().bytes;
  due_.erase(id);
}

void Messenger::attempt(const MessageId& id) {
  const auto found = letters_.find(id);
  if (found == letters_.end()) return;
  Letter& letter = found->second;
  if (context_.now >= letter.deadline) {
    ++context_.statistics.expired_direct;
    forget(id);
    return;
  }
  if (letter.tries > 0 && !letter.large && outbox_.waits(TrafficClass::kQueries)) {
    due_.set(id, std::min(context_.now + letter.wait, letter.deadline));
    return;  // it may not even have left
  }
  const Entry* target = table_.find(letter.to);
  if (target != nullptr) transmit(*target, letter.message, letter.large);
  if (letter.tries >= kStraightTries || target == nullptr) {
    through_others(letter.to, letter.message, letter.large, 1);
  }
  const Options& options = context_.options;
  if (letter.tries == 0) {
    const bool measured = target != nullptr && target->measured();
    letter.wait =
        std::clamp(measured ? target->srtt() + 4 * target->rttvar() : options.round_trip_min,
                   options.round_trip_min, options.round_trip_max);
    // A stream reports its own failure; this is for one that hangs.
    if (letter.large) letter.wait = 4 * options.probe_interval;
  } else {
    letter.wait = std::min<Duration>(2 * letter.wait, options.probe_interval * 4);
  }
  ++letter.tries;
  due_.set(id, std::min(context_.now + letter.wait, letter.deadline));
}

void Messenger::transmit(const Entry& hop, const proto::DirectMessage& message, bool large) {
  if (!large) {
    outbox_.direct(hop.address(), message);
    return;
  }
  if (const auto stream =
          streams_.open(StreamUse::kMessage, hop.address(), context_.options.probe_interval)) {
    outgoing_[*stream] = Outgoing{*read_id(message.id()), message};
  }
}

void Messenger::stream_opened(StreamId stream) {
  const auto found = outgoing_.find(stream);
  if (found == outgoing_.end() || !found->second.message) return;
  proto::StreamMessage message;
  *message.mutable_direct() = std::move(*found->second.message);
  found->second.message.reset();
  streams_.send(stream, std::move(message));
}

void Messenger::stream_acknowledged(StreamId stream, const proto::MessageId& id) {
  outgoing_.erase(stream);
  acknowledged(id);
  streams_.close(stream);
}

void Messenger::stream_closed(StreamId stream) {
  const auto found = outgoing_.find(stream);
  if (found == outgoing_.end()) return;
  const MessageId id = found->second.id;
  outgoing_.erase(found);
  const auto letter = letters_.find(id);
  if (letter == letters_.end()) return;
  // The straight way is closed: let others carry it, without waiting.
  const bool first = letter->second.tries < kStraightTries;
  letter->second.tries = std::max(letter->second.tries, kStraightTries);
  due_.set(id, first ? context_.now : context_.now + context_.options.round_trip_max);
}

void Messenger::receive(const Address& from, const proto::DirectMessage& message) {
  take(message, Carried{from, std::nullopt});
}

void Messenger::receive(StreamId stream, const proto::DirectMessage& message) {
  if (!take(message, Carried{std::nullopt, stream})) streams_.close(stream);
}

bool Messenger::take(const proto::DirectMessage& message, const Carried& source) {
  const auto id = read_id(message.id());
  const auto to = NodeId::from_wire(message.to());
  if (!id || !to) return false;
  if (*to != context_.identity.id) {
    if (message.hops_left() == 0 || message.hops_left() > kMaxCarriers) return false;
    carry(*id, message, source);
    return true;
  }
  if (!seen_.contains(*id) && origins_.check(*id, message) != Verdict::kFresh) return false;
  acknowledge(source, message.id());
  if (remember(*id) && deliver) deliver(id->origin, message);
  return true;
}

bool Messenger::remember(const MessageId& id) {
  if (!seen_.insert(id).second) return false;
  seen_order_.push_back(id);
  if (seen_order_.size() > kMaxSeen) {
    seen_.erase(seen_order_.front());
    seen_order_.pop_front();
  }
  return true;
}

void Messenger::carry(const MessageId& id, const proto::DirectMessage& message,
                      const Carried& source) {
  const auto to = NodeId::from_wire(message.to());
  const Entry* target = table_.find(*to);
  if (target == nullptr || (carried_.size() >= kMaxDirect && !carried_.contains(id))) {
    ++context_.statistics.uncarried_direct;
    return;
  }
  carried_[id] = source;
  carried_due_.set(id, context_.now + kCarriedFor);
  proto::DirectMessage onward = message;
  onward.set_hops_left(message.hops_left() - 1);
  transmit(*target, onward, onward.ByteSizeLong() > kLargestDatagram);
}

void Messenger::acknowledge(const Carried& source, const proto::MessageId& id) {
  if (source.from) outbox_.direct_ack(*source.from, id);
  if (source.stream) {
    proto::StreamMessage message;
    *message.mutable_direct_ack() = id;
    streams_.send(*source.stream, std::move(message));
  }
}

void Messenger::acknowledged(const proto::MessageId& wire) {
  const auto id = read_id(wire);
  if (!id) return;
  forget(*id);
  const auto carried = carried_.find(*id);
  if (carried == carried_.end()) return;
  acknowledge(carried->second, wire);
  carried_.erase(carried);
  carried_due_.erase(*id);
}

void Messenger::advance() {
  while (const auto id = due_.pop(context_.now)) attempt(*id);
  while (const auto id = carried_due_.pop(context_.now)) carried_.erase(*id);
}

}  // namespace starling::membership
