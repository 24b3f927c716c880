// SPDX-License-Identifier: Apache-2.0
//
// Payloads: gets what does not fit a packet. A large event spreads as a head (id, size, digest);
// its payload is pulled over a stream, in pieces, from the member that told of it, or from others.
// A member serves each payload a few times and sends whoever else asks on to those that it served:
// so a payload spreads as a tree, and nobody uploads it more than kServes times. Who is still
// fetching takes places in that tree too, and serves when it has the payload.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/event_log.h"
#include "membership/gossip/outbox.h"
#include "membership/streams.h"
#include "membership/swim/member_table.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Payloads {
 public:
  /// Members that one member serves a payload to, unless others were asked in vain.
  static constexpr size_t kServes = 3;

  Payloads(Context& context, MemberTable& table, EventLog& events, Streams& streams, Outbox& outbox)
      : context_(context), table_(table), events_(events), streams_(streams), outbox_(outbox) {}

  /// `from` has told us of a large event: kFresh when that is news.
  Verdict want(const MessageId& id, const proto::Record& head, const NodeId& from);
  /// `holder` says that it has this event. False when its payload is not being fetched.
  bool offer(const MessageId& id, const NodeId& holder);
  [[nodiscard]] bool fetching(const MessageId& id) const { return fetches_.contains(id); }
  /// The event is here with its payload.
  std::function<void(const MessageId& id)> arrived;

  void stream_opened(StreamId stream);
  void stream_closed(StreamId stream);
  void receive(StreamId stream, const NodeId& from, const proto::PayloadRequest& request);
  void receive(StreamId stream, const proto::PayloadReply& reply);

  [[nodiscard]] size_t size() const { return fetches_.size(); }
  [[nodiscard]] TimePoint next_deadline() const { return std::min(due_.next(), forget_.next()); }
  void advance();

 private:
  struct Fetch {
    proto::UserEvent head;
    TimePoint sent;
    std::deque<NodeId> sources;  // to be asked
    std::set<NodeId> asked;      // in this round
    NodeId source;               // being asked
    StreamId stream = 0;
    std::string data;
    unsigned rounds = 0;
  };
  // Who has had a payload from us, or will.
  struct Served {
    std::set<NodeId> members;
    std::set<StreamId> waiting;  // until we have it
  };
  struct Upload {
    MessageId id;
    NodeId to;
    bool running = false;  // holds one of kMaxUploads places
    bool queued = false;   // a piece waits for room in what this node may send
    bool done = false;
  };

  void start_some();
  /// Asks the next source, or waits for another round.
  void ask_next(const MessageId& id, Fetch& fetch);
  void next_round(const MessageId& id, Fetch& fetch);
  void stop_asking(Fetch& fetch);
  void take_piece(const MessageId& id, Fetch& fetch, const proto::PayloadReply& reply);
  void request_piece(const MessageId& id, const Fetch& fetch);
  void complete(const MessageId& id);
  void drop(const MessageId& id);

  void serve_waiting(const MessageId& id);
  void start_upload(StreamId stream, Upload& upload, uint64_t offset);
  void start_uploads();
  void queue_piece(StreamId stream, Upload& upload, uint64_t offset);
  void send_piece(StreamId stream, Upload& upload, uint64_t offset);
  void pass_on(StreamId stream, const MessageId& id, const NodeId& asker);
  Served& served(const MessageId& id);

  Context& context_;
  MemberTable& table_;
  EventLog& events_;
  Streams& streams_;
  Outbox& outbox_;
  std::map<MessageId, Fetch> fetches_;
  std::deque<MessageId> queue_;  // fetches that have not begun
  size_t running_ = 0;
  std::map<StreamId, MessageId> asking_;
  Deadlines<MessageId> due_;  // fetches that wait for another round
  std::map<MessageId, Served> served_;
  Deadlines<MessageId> forget_;
  std::map<StreamId, Upload> uploads_;
  std::deque<StreamId> backlog_;
  size_t uploading_ = 0;
};

}  // namespace starling::membership
