// SPDX-License-Identifier: Apache-2.0
//
// Outbox: gathers what one turn of the node has to say to each address into as few packets as fit,
// and turns them into SendDatagram actions at the end of the turn. A packet is as urgent as the
// most urgent thing in it. When the budget of this node is used up (Options::egress_rate), packets
// wait, each class in a queue of its own with a bound; see traffic.h for who goes first.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "membership/address.h"
#include "membership/context.h"
#include "membership/gossip/traffic.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

/// Of records of this kind.
[[nodiscard]] TrafficClass traffic_of(proto::RecordKind kind);
[[nodiscard]] TrafficClass traffic_of(const proto::Push& push);

class Outbox {
 public:
  explicit Outbox(Context& context)
      : context_(context),
        traffic_(context.options.egress_rate, context.options.traffic_floors, context.now) {}

  void ping(const Address& to, const proto::Ping& ping);
  void ping_request(const Address& to, const proto::PingRequest& request);
  void ack(const Address& to, const proto::Ack& ack);
  void nack(const Address& to, const proto::Nack& nack);
  void push(const Address& to, proto::Push push);
  /// `traffic`: of the push that is acknowledged.
  void push_ack(const Address& to, uint32_t hop, TrafficClass traffic);
  void announce(const Address& to, const proto::RecordId& id);
  void progress(const Address& to, const proto::EventProgress& progress);
  void pull(const Address& to, const proto::RecordId& id);
  /// Not through the tree. What is told of a member in this way is meant for itself.
  void record(const Address& to, proto::Record record);
  void direct(const Address& to, proto::DirectMessage message);
  void direct_ack(const Address& to, const proto::MessageId& id);
  /// `send` is called when there is room for so many bytes of bulk: in flush(), now or later, in
  /// the order of the calls. False over kMaxBulkBytes: it is not called.
  bool bulk(size_t bytes, std::function<void()> send);
  /// Bytes of bulk that should go at once at most: a tenth of a second's, within bounds.
  [[nodiscard]] size_t bulk_piece() const;

  /// Packets of this class wait for room: repeating them would only make the queue longer.
  [[nodiscard]] bool waits(TrafficClass traffic) const {
    return !waiting_[static_cast<size_t>(traffic)].empty();
  }
  [[nodiscard]] size_t waiting_bytes() const;
  [[nodiscard]] TimePoint next_deadline() const { return ready_at_; }

  /// Sends what there is room for. `fill` may add records to the free space of packets that carry a
  /// probe or an ack; it is given the packet and the bytes that are free.
  using Fill = std::function<void(const Address& to, proto::Packet& packet, size_t free)>;
  void flush(uint64_t member_fingerprint, uint64_t event_fingerprint, const Fill& fill);

 private:
  struct Pending {
    Address to;
    proto::Packet packet;
    size_t size;           // estimate of the serialised size, never too small
    TrafficClass traffic;  // the most urgent in it
    bool probe = false;    // carries a ping, ack, nack or ping request: each packet at most one
  };
  using PendingPacket = std::unique_ptr<Pending>;
  /// First in, first out; keeps its memory.
  class Queue {
   public:
    [[nodiscard]] bool empty() const { return first_ == packets_.size(); }
    void push(PendingPacket packet) { packets_.push_back(std::move(packet)); }
    PendingPacket pop();

   private:
    std::vector<PendingPacket> packets_;
    size_t first_ = 0;
  };
  struct Bulk {
    size_t bytes;
    std::function<void()> send;
  };
  /// A packet to `to` with room for `bytes`; of probes each packet carries one.
  proto::Packet& packet_for(const Address& to, size_t bytes, TrafficClass traffic);
  PendingPacket new_packet(const Address& to, size_t size, TrafficClass traffic, bool probe);
  void queue_pending();
  /// It has been sent, or dropped.
  void done_with(PendingPacket packet);
  void send(Pending& pending, uint64_t member_fingerprint, uint64_t event_fingerprint,
            const Fill& fill);

  Context& context_;
  Traffic traffic_;
  std::vector<PendingPacket> pending_;  // of this turn
  std::array<Queue, kTrafficClasses - 1> waiting_;
  std::vector<PendingPacket> spare_;                 // small ones, cleared
  std::array<size_t, kTrafficClasses - 1> bytes_{};  // of waiting_
  std::deque<Bulk> bulk_;
  size_t bulk_bytes_ = 0;
  TimePoint ready_at_ = kNever;
};

}  // namespace starling::membership
