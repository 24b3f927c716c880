// SPDX-License-Identifier: Apache-2.0
//
// Makes messages that parse and make little sense: every kind of packet and stream message with
// random fields, ids and addresses of wrong sizes, extreme numbers, long lists; and damages bytes.
// The same seed makes the same messages.
//
// Addresses are of 127.0.0.0/8, so that an agent that acts on a message troubles nobody else.
#pragma once

#include <string>

#include "membership/random.h"
#include "proto/gossip.pb.h"

namespace starling::fuzz {

/// Protobuf prints a line for every text that is not UTF-8, of which there are many here.
void silence_protobuf();

class MessageMaker {
 public:
  enum class Claims {
    kAbsurd,     ///< no record or progress has a valid key: nothing is there to be believed
    kPlausible,  ///< records about members that do not exist may be well-formed
  };

  MessageMaker(membership::Random random, Claims claims) : random_(random), claims_(claims) {}

  /// A serialised proto::Packet; not bounded in size.
  std::string packet();
  /// A serialised proto::StreamMessage.
  std::string stream_message();
  /// Random bytes.
  std::string bytes(size_t size);
  /// Flips, overwrites, cuts, repeats or inserts some bytes, mostly few.
  void damage(std::string& text);

  membership::Random& random() { return random_; }

 private:
  bool often() { return random_.chance(0.5); }
  bool seldom() { return random_.chance(0.1); }
  /// Mostly small, sometimes at the edges of the varint encoding.
  uint64_t number();
  uint32_t number32() { return static_cast<uint32_t>(number()); }
  /// How many of something: mostly a few, seldom many.
  size_t count();
  std::string text();
  /// A node id, of a wrong size now and then.
  std::string id();
  /// The same for what a record is about: see Claims.
  std::string subject();
  std::string address();
  uint32_t port();

  /// As the one whose it is said to be, mostly.
  template <typename Message>
  void sign(const proto::MessageId& id, Message& message);

  void fill(proto::MessageId& message, bool about);
  void fill(proto::MemberRecord& record);
  void fill(proto::UserEvent& event);
  void fill(proto::Query& query);
  void fill(proto::Record& record);
  void fill(proto::RecordId& record);
  void fill(proto::DirectMessage& direct);
  void fill(proto::Ping& ping);
  void fill(proto::Ack& ack);
  void fill(proto::PingRequest& request);
  void fill(proto::EventProgress& progress);
  void fill(proto::SyncRequest& request);
  void fill(proto::SyncReply& reply);
  void fill(proto::SyncBatch& batch);
  void fill(proto::PayloadRequest& request);
  void fill(proto::PayloadReply& reply);
  void fill_probes(proto::Packet& packet);

  membership::Random random_;
  Claims claims_;
};

}  // namespace starling::fuzz
