// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/outbox.h"

#include <utility>

#include "membership/limits.h"

namespace starling::membership {

namespace {

// Sender id (18) and two fingerprints (9 each), with some slack.
constexpr size_t kEnvelope = 40;
// Field tag and length of an embedded message.
constexpr size_t kFieldOverhead = 5;

}  // namespace

Outbox::Pending& Outbox::packet_for(const Address& to, size_t bytes, bool needs_probe_slot) {
  for (size_t i = pending_.size(); i > 0; --i) {
    Pending& open = pending_[i - 1];
    if (open.to != to) continue;
    if (open.size + bytes > kMaxPacket || (needs_probe_slot && open.probe)) continue;
    open.size += bytes;
    open.probe = open.probe || needs_probe_slot;
    return open;
  }
  return pending_.emplace_back(Pending{to, {}, kEnvelope + bytes, needs_probe_slot});
}

void Outbox::ping(const Address& to, const proto::Ping& ping) {
  *packet_for(to, ping.ByteSizeLong() + kFieldOverhead, true).packet.mutable_ping() = ping;
}

void Outbox::ping_request(const Address& to, const proto::PingRequest& request) {
  *packet_for(to, request.ByteSizeLong() + kFieldOverhead, true).packet.mutable_ping_request() =
      request;
}

void Outbox::ack(const Address& to, const proto::Ack& ack) {
  *packet_for(to, ack.ByteSizeLong() + kFieldOverhead, true).packet.mutable_ack() = ack;
}

void Outbox::nack(const Address& to, const proto::Nack& nack) {
  *packet_for(to, nack.ByteSizeLong() + kFieldOverhead, true).packet.mutable_nack() = nack;
}

void Outbox::push(const Address& to, proto::Push push) {
  const size_t size = push.ByteSizeLong() + kFieldOverhead;
  *packet_for(to, size, false).packet.add_pushes() = std::move(push);
}

void Outbox::push_ack(const Address& to, uint32_t hop) {
  packet_for(to, 4 + kFieldOverhead, false).packet.add_push_acks(hop);
}

void Outbox::announce(const Address& to, const proto::RecordId& id) {
  *packet_for(to, id.ByteSizeLong() + kFieldOverhead, false).packet.add_announcements() = id;
}

void Outbox::progress(const Address& to, const proto::EventProgress& progress) {
  *packet_for(to, progress.ByteSizeLong() + kFieldOverhead, false).packet.add_progress() = progress;
}

void Outbox::pull(const Address& to, const proto::RecordId& id) {
  *packet_for(to, id.ByteSizeLong() + kFieldOverhead, false).packet.add_pulls() = id;
}

void Outbox::record(const Address& to, proto::Record record) {
  const size_t size = record.ByteSizeLong() + kFieldOverhead;
  *packet_for(to, size, false).packet.add_records() = std::move(record);
}

void Outbox::direct(const Address& to, proto::DirectMessage message) {
  const size_t size = message.ByteSizeLong() + kFieldOverhead;
  *packet_for(to, size, false).packet.add_direct() = std::move(message);
}

void Outbox::direct_ack(const Address& to, const proto::MessageId& id) {
  *packet_for(to, id.ByteSizeLong() + kFieldOverhead, false).packet.add_direct_acks() = id;
}

void Outbox::flush(uint64_t member_fingerprint, uint64_t event_fingerprint, const Fill& fill) {
  for (Pending& pending : pending_) {
    pending.packet.set_sender(std::string(context_.identity.id.wire()));
    if (pending.probe) {
      // 0 means "not said"; a fingerprint that happens to be 0 is not worth a field.
      pending.packet.set_member_fingerprint(member_fingerprint);
      pending.packet.set_event_fingerprint(event_fingerprint);
      if (pending.size < kMaxPacket) fill(pending.to, pending.packet, kMaxPacket - pending.size);
    }
    std::string bytes = pending.packet.SerializeAsString();
    ++context_.statistics.packets_sent;
    context_.statistics.bytes_sent += bytes.size();
    context_.emit(SendDatagram{pending.to, std::move(bytes)});
  }
  pending_.clear();
}

}  // namespace starling::membership
