// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/outbox.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "membership/limits.h"

namespace starling::membership {

namespace {

// Sender id (18) and two fingerprints (9 each), with some slack.
constexpr size_t kEnvelope = 40;
// Field tag and length of an embedded message.
constexpr size_t kFieldOverhead = 5;
// What a packet costs on the wire beside itself: seal, UDP and IP.
constexpr size_t kWireOverhead = 80;
// Packets of so many bytes are kept to be filled again, so many of them.
constexpr size_t kKeptPacket = 256;
constexpr size_t kMaxSpare = 4;
constexpr size_t kSmallestPiece = 16U << 10;
constexpr size_t kLargestPiece = 256U << 10;

}  // namespace

TrafficClass traffic_of(proto::RecordKind kind) {
  switch (kind) {
    case proto::RECORD_MEMBER:
      return TrafficClass::kMembers;
    case proto::RECORD_QUERY:
    case proto::RECORD_QUERY_OVER:
      return TrafficClass::kQueries;
    default:
      return TrafficClass::kEvents;
  }
}

TrafficClass traffic_of(const proto::Push& push) {
  if (push.refutation()) return TrafficClass::kRefutations;
  return push.records().empty() ? TrafficClass::kEvents : traffic_of(push.records(0).kind());
}

// --- what there is to say ----------------------------------------------------------------------

proto::Packet& Outbox::packet_for(const Address& to, size_t bytes, TrafficClass traffic) {
  const bool probe = traffic == TrafficClass::kProbes;
  for (size_t i = pending_.size(); i > 0; --i) {
    Pending& open = *pending_[i - 1];
    if (open.to != to) continue;
    if (open.size + bytes > kMaxPacket || (probe && open.probe)) continue;
    open.size += bytes;
    open.probe = open.probe || probe;
    open.traffic = std::min(open.traffic, traffic);
    return open.packet;
  }
  return pending_.emplace_back(new_packet(to, kEnvelope + bytes, traffic, probe))->packet;
}

Outbox::PendingPacket Outbox::new_packet(const Address& to, size_t size, TrafficClass traffic,
                                         bool probe) {
  PendingPacket packet;
  if (spare_.empty()) {
    packet = std::make_unique<Pending>();
  } else {
    packet = std::move(spare_.back());
    spare_.pop_back();
  }
  packet->to = to;
  packet->size = size;
  packet->traffic = traffic;
  packet->probe = probe;
  return packet;
}

void Outbox::done_with(PendingPacket packet) {
  if (packet->size > kKeptPacket || spare_.size() >= kMaxSpare) return;
  packet->packet.Clear();
  spare_.push_back(std::move(packet));
}

Outbox::PendingPacket Outbox::Queue::pop() {
  PendingPacket packet = std::move(packets_[first_++]);
  // What has gone makes room as soon as it is half of all.
  if (2 * first_ >= packets_.size()) {
    packets_.erase(packets_.begin(), packets_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
  return packet;
}

void Outbox::ping(const Address& to, const proto::Ping& ping) {
  *packet_for(to, ping.ByteSizeLong() + kFieldOverhead, TrafficClass::kProbes).mutable_ping() =
      ping;
}

void Outbox::ping_request(const Address& to, const proto::PingRequest& request) {
  *packet_for(to, request.ByteSizeLong() + kFieldOverhead, TrafficClass::kProbes)
       .mutable_ping_request() = request;
}

void Outbox::ack(const Address& to, const proto::Ack& ack) {
  *packet_for(to, ack.ByteSizeLong() + kFieldOverhead, TrafficClass::kProbes).mutable_ack() = ack;
}

void Outbox::nack(const Address& to, const proto::Nack& nack) {
  *packet_for(to, nack.ByteSizeLong() + kFieldOverhead, TrafficClass::kProbes).mutable_nack() =
      nack;
}

void Outbox::push(const Address& to, proto::Push push) {
  const size_t size = push.ByteSizeLong() + kFieldOverhead;
  *packet_for(to, size, traffic_of(push)).add_pushes() = std::move(push);
}

void Outbox::push_ack(const Address& to, uint32_t hop, TrafficClass traffic) {
  packet_for(to, 4 + kFieldOverhead, traffic).add_push_acks(hop);
}

void Outbox::announce(const Address& to, const proto::RecordId& id) {
  *packet_for(to, id.ByteSizeLong() + kFieldOverhead, traffic_of(id.kind())).add_announcements() =
      id;
}

void Outbox::progress(const Address& to, const proto::EventProgress& progress) {
  *packet_for(to, progress.ByteSizeLong() + kFieldOverhead, TrafficClass::kEvents).add_progress() =
      progress;
}

void Outbox::pull(const Address& to, const proto::RecordId& id) {
  *packet_for(to, id.ByteSizeLong() + kFieldOverhead, traffic_of(id.kind())).add_pulls() = id;
}

void Outbox::record(const Address& to, proto::Record record) {
  const size_t size = record.ByteSizeLong() + kFieldOverhead;
  const TrafficClass traffic = record.kind() == proto::RECORD_MEMBER ? TrafficClass::kRefutations
                                                                     : traffic_of(record.kind());
  *packet_for(to, size, traffic).add_records() = std::move(record);
}

void Outbox::direct(const Address& to, proto::DirectMessage message) {
  const size_t size = message.ByteSizeLong() + kFieldOverhead;
  *packet_for(to, size, TrafficClass::kQueries).add_direct() = std::move(message);
}

void Outbox::direct_ack(const Address& to, const proto::MessageId& id) {
  *packet_for(to, id.ByteSizeLong() + kFieldOverhead, TrafficClass::kQueries).add_direct_acks() =
      id;
}

bool Outbox::bulk(size_t bytes, std::function<void()> send) {
  if (bulk_bytes_ + bytes > kMaxBulkBytes) {
    ++context_.statistics.dropped_bulk;
    return false;
  }
  bulk_bytes_ += bytes;
  bulk_.push_back({bytes, std::move(send)});
  return true;
}

size_t Outbox::bulk_piece() const {
  const size_t rate = context_.options.egress_rate;
  return rate == 0 ? kLargestPiece : std::clamp(rate / 10, kSmallestPiece, kLargestPiece);
}

// --- sending it --------------------------------------------------------------------------------

void Outbox::queue_pending() {
  uint64_t* const drops[] = {
      &context_.statistics.dropped_probe_packets,  &context_.statistics.dropped_refutation_packets,
      &context_.statistics.dropped_member_packets, &context_.statistics.dropped_query_packets,
      &context_.statistics.dropped_event_packets,
  };
  for (PendingPacket& pending : pending_) {
    const auto index = static_cast<size_t>(pending->traffic);
    const size_t bytes = pending->size + kWireOverhead;
    if (bytes_[index] + bytes > kMaxOutboundBytes) {
      ++*drops[index];
      done_with(std::move(pending));
      continue;
    }
    bytes_[index] += bytes;
    waiting_[index].push(std::move(pending));
  }
  pending_.clear();
}

void Outbox::flush(uint64_t member_fingerprint, uint64_t event_fingerprint, const Fill& fill) {
  queue_pending();
  Traffic::Waiting waiting{};
  for (;;) {
    for (size_t i = 0; i < waiting_.size(); ++i) waiting[i] = !waiting_[i].empty();
    waiting.back() = !bulk_.empty();
    const auto next = traffic_.next(waiting, context_.now);
    if (!next) break;
    if (*next == TrafficClass::kBulk) {
      const Bulk bulk = std::move(bulk_.front());
      bulk_.pop_front();
      bulk_bytes_ -= bulk.bytes;
      traffic_.spend(*next, bulk.bytes);
      bulk.send();
      continue;
    }
    const auto index = static_cast<size_t>(*next);
    PendingPacket pending = waiting_[index].pop();
    const size_t bytes = pending->size + kWireOverhead;
    bytes_[index] -= bytes;
    traffic_.spend(*next, bytes);
    send(*pending, member_fingerprint, event_fingerprint, fill);
    done_with(std::move(pending));
  }
  const bool any = std::ranges::find(waiting, true) != waiting.end();
  ready_at_ = any ? traffic_.ready_at(waiting, context_.now) : kNever;
}

void Outbox::send(Pending& pending, uint64_t member_fingerprint, uint64_t event_fingerprint,
                  const Fill& fill) {
  pending.packet.mutable_sender()->assign(context_.identity.id.wire());
  if (pending.probe) {
    // 0 means "not said"; a fingerprint that happens to be 0 is not worth a field.
    pending.packet.set_member_fingerprint(member_fingerprint);
    pending.packet.set_event_fingerprint(event_fingerprint);
    if (pending.size < kMaxPacket) fill(pending.to, pending.packet, kMaxPacket - pending.size);
  }
  std::string bytes = context_.bytes_of_datagram();
  pending.packet.SerializeToString(&bytes);
  pending.size = bytes.size();
  ++context_.statistics.packets_sent;
  context_.statistics.bytes_sent += bytes.size();
  context_.emit(SendDatagram{pending.to, std::move(bytes)});
}

size_t Outbox::waiting_bytes() const {
  return std::accumulate(bytes_.begin(), bytes_.end(), bulk_bytes_);
}

}  // namespace starling::membership
