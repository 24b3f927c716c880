// SPDX-License-Identifier: Apache-2.0
//
// Messenger: messages addressed to one member. Each is acknowledged by its receiver and repeated
// until then: first straight to the member, by datagram when it is small and by stream otherwise;
// when that does not work, through other members (carriers), as an indirect probe does. A carrier
// passes a message on once and hands the acknowledgement back; the sender keeps the responsibility.
// Since a carrier could change it or make one up, a message is signed by who has written it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/origins.h"
#include "membership/gossip/outbox.h"
#include "membership/streams.h"
#include "membership/swim/member_table.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Messenger {
 public:
  Messenger(Context& context, MemberTable& table, Outbox& outbox, Streams& streams)
      : context_(context), table_(table), outbox_(outbox), streams_(streams), origins_(context) {}

  /// Sends `body` to a member until it is acknowledged or `deadline` has passed. With
  /// `extra_carriers` it goes through that many other members at once as well. False when too much
  /// waits already: nothing is sent.
  bool send(const NodeId& to, proto::DirectMessage body, TimePoint deadline,
            unsigned extra_carriers);
  /// Sends it once, straight and through another member, and forgets it.
  void send_once(const NodeId& to, proto::DirectMessage body);
  /// The asker of `query` wants no more: what waits for it, or is under way, is given up.
  void drop_answers(const MessageId& query);
  [[nodiscard]] size_t waiting() const { return letters_.size(); }
  [[nodiscard]] size_t waiting_bytes() const { return letter_bytes_; }

  /// A message has come by datagram from `from`.
  void receive(const Address& from, const proto::DirectMessage& message);
  void receive(StreamId stream, const proto::DirectMessage& message);
  void acknowledged(const proto::MessageId& id);
  void stream_opened(StreamId stream);
  void stream_acknowledged(StreamId stream, const proto::MessageId& id);
  void stream_closed(StreamId stream);

  /// Takes a message that is meant for this node and signed by `from`, once.
  std::function<void(const NodeId& from, const proto::DirectMessage& message)> deliver;

  [[nodiscard]] TimePoint next_deadline() const {
    return std::min(due_.next(), carried_due_.next());
  }
  void advance();

 private:
  struct Letter {
    proto::DirectMessage message;
    NodeId to;
    TimePoint deadline;
    size_t bytes;
    bool large;
    unsigned tries = 0;
    Duration wait{};
  };
  // What a carrier remembers, to hand the acknowledgement back.
  struct Carried {
    std::optional<Address> from;     // came by datagram
    std::optional<StreamId> stream;  // came by stream
  };

  // A message on its way over a stream that this node has opened.
  struct Outgoing {
    MessageId id;
    std::optional<proto::DirectMessage> message;  // until it has been sent
  };

  MessageId address(const NodeId& to, proto::DirectMessage& body);
  void attempt(const MessageId& id);
  void through_others(const NodeId& to, const proto::DirectMessage& message, bool large,
                      unsigned carriers);
  void forget(const MessageId& id);
  void transmit(const Entry& hop, const proto::DirectMessage& message, bool large);
  bool take(const proto::DirectMessage& message, const Carried& source);
  void carry(const MessageId& id, const proto::DirectMessage& message, const Carried& source);
  void acknowledge(const Carried& source, const proto::MessageId& id);
  bool remember(const MessageId& id);

  Context& context_;
  MemberTable& table_;
  Outbox& outbox_;
  Streams& streams_;
  Origins origins_;
  uint64_t next_sequence_ = 1;
  std::map<MessageId, Letter> letters_;
  size_t letter_bytes_ = 0;
  Deadlines<MessageId> due_;
  std::map<StreamId, Outgoing> outgoing_;
  std::map<MessageId, Carried> carried_;
  Deadlines<MessageId> carried_due_;
  std::unordered_set<MessageId> seen_;
  std::deque<MessageId> seen_order_;
};

}  // namespace starling::membership
