// SPDX-License-Identifier: Apache-2.0
//
// Outbox: gathers what one turn of the node has to say to each address into as few packets as fit,
// and turns them into SendDatagram actions at the end of the turn.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "membership/address.h"
#include "membership/context.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Outbox {
 public:
  explicit Outbox(Context& context) : context_(context) {}

  void ping(const Address& to, const proto::Ping& ping);
  void ping_request(const Address& to, const proto::PingRequest& request);
  void ack(const Address& to, const proto::Ack& ack);
  void nack(const Address& to, const proto::Nack& nack);
  void push(const Address& to, proto::Push push);
  void push_ack(const Address& to, uint32_t hop);
  void announce(const Address& to, const proto::RecordId& id);
  void progress(const Address& to, const proto::EventProgress& progress);
  void pull(const Address& to, const proto::RecordId& id);
  void record(const Address& to, proto::Record record);
  void direct(const Address& to, proto::DirectMessage message);
  void direct_ack(const Address& to, const proto::MessageId& id);

  /// Sends all. `fill` may add records to the free space of packets that carry a probe or an ack;
  /// it is given the packet and the bytes that are free.
  using Fill = std::function<void(const Address& to, proto::Packet& packet, size_t free)>;
  void flush(uint64_t member_fingerprint, uint64_t event_fingerprint, const Fill& fill);

 private:
  struct Pending {
    Address to;
    proto::Packet packet;
    size_t size;         // estimate of the serialised size, never too small
    bool probe = false;  // carries a ping, ack, nack or ping request: each packet at most one
  };
  /// A packet to `to` with room for `bytes`; a fresh one when it `needs_probe_slot` and the open
  /// one's is taken.
  Pending& packet_for(const Address& to, size_t bytes, bool needs_probe_slot);

  Context& context_;
  std::vector<Pending> pending_;
};

}  // namespace starling::membership
