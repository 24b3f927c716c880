// SPDX-License-Identifier: Apache-2.0
//
// Sync: anti-entropy, and the join. Probes and acks carry fingerprints; a difference with one peer
// that lasts for `sync_after` is settled over a stream, at the price of the difference:
//
//   opener     SyncRequest   own record, bucket fingerprints of members and of events
//   responder  SyncReply     digests of the members and progress of the events in differing buckets
//   opener     SyncBatch     what the responder lacks; ids of what the opener lacks
//   responder  SyncBatch     that
//
// A first join is the same exchange by somebody who has nothing yet: the reply names no digests,
// and batches with everything follow at once, from a snapshot that joiners of one moment share.
//
// Who comes back after an absence, or hears from somebody who does, does not wait: hurry().
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "membership/context.h"
#include "membership/gossip/announcements.h"
#include "membership/gossip/broadcast_tree.h"
#include "membership/gossip/event_log.h"
#include "membership/gossip/outbox.h"
#include "membership/gossip/payloads.h"
#include "membership/streams.h"
#include "membership/swim/member_table.h"
#include "membership/swim/members.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Sync {
 public:
  struct Parts {
    Context& context;
    MemberTable& table;
    Members& members;
    BroadcastTree& tree;
    Announcements& announcements;
    EventLog& events;
    Payloads& payloads;
    Outbox& outbox;
    Streams& streams;
  };
  explicit Sync(const Parts& parts) : parts_(parts), context_(parts.context) {}

  /// Contacts `peer`; JoinTried(join) follows. With `skip_past`, events that `peer` has had are
  /// taken as had instead of fetched.
  void join(const Address& peer, uint64_t join, bool skip_past);
  /// Contacts `peer` as an old member that wants to catch up. Nobody is told how it went.
  void rejoin(const Address& peer);
  /// A packet said what its sender holds.
  void compare(const NodeId& peer, const Address& from, uint64_t members, uint64_t events);
  /// This node was away, or somebody is back: for a while differences are settled at once.
  void hurry();
  /// When this member was last known to have all events that this node had; none: never.
  [[nodiscard]] std::optional<TimePoint> agreed_at(const NodeId& peer) const;

  /// Members that are known but not in the table, since they have not been met after a restart; no
  /// more than `most`.
  std::function<size_t(size_t most)> away;

  void stream_opened(StreamId stream);
  void receive(StreamId stream, const proto::StreamMessage& message);
  void stream_closed(StreamId stream, StreamEnd end);

  [[nodiscard]] bool joining() const;
  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  struct Session {
    Address peer;
    NodeId peer_id;  // as soon as it has introduced itself
    std::optional<uint64_t> join;
    bool opener = false;
    bool newcomer = false;  // the opener has nothing yet
    bool skip_past = false;
    size_t known = 0;          // members that this node knew when it began
    bool in_majority = false;  // most of those heard lately agreed with this node
    bool news = false;         // brought or gave something
    bool some_missed = false;  // was told that events are gone
    unsigned tries = 1;
    size_t published = 0;  // records passed on at once
    // Wanted by the opener; the responder gathers it until the opener's last batch.
    std::vector<NodeId> want_members;
    std::set<MessageId> want_events;
  };
  struct Retry {
    TimePoint due;
    Session session;
  };
  struct Check {
    Address peer;
    TimePoint due;
    bool pinged = false;
  };

  using Versions = std::unordered_map<NodeId, uint64_t>;

  bool open(const Address& peer, Session session);
  void could_not_open(uint64_t join, const Address& peer, bool skip_past);
  void open_unless_busy(const Address& peer);
  void ask_others(const Session& session);
  /// The peer has signed the address at which it was reached: it speaks for itself.
  [[nodiscard]] bool is_itself(const Session& session) const;
  /// The origin of this line if it runs, and is still in the boot of the line.
  [[nodiscard]] const Entry* running_origin(const EventLine& line) const;
  void hear_origin(const Session& session, const proto::SyncReply& reply);
  void doubt_skipped(const Session& session, const proto::SyncReply& reply);
  void retry_later(Session session);
  [[nodiscard]] bool in_majority() const;
  [[nodiscard]] static uint64_t version_of(const Entry& entry);
  [[nodiscard]] std::vector<proto::SyncBatch> introductions(const Versions& but) const;
  void send_snapshot(StreamId stream);
  void write_digests(const proto::SyncRequest& request, proto::SyncReply& reply) const;
  void on_request(StreamId stream, const proto::SyncRequest& request);
  void on_reply(StreamId stream, Session& session, const proto::SyncReply& reply);
  void on_batch(StreamId stream, Session& session, const proto::SyncBatch& batch);
  void apply_records(Session& session, const proto::SyncBatch& batch);
  void compare_members(const Session& session, const proto::SyncReply& reply,
                       std::vector<NodeId>& give, std::vector<NodeId>& want) const;
  void take_progress(Session& session, const proto::SyncReply& reply);
  void send_batches(StreamId stream, const std::vector<NodeId>& members,
                    const std::vector<MessageId>& events, proto::SyncBatch rest);
  void send_batch(StreamId stream, proto::SyncBatch batch, bool paced);
  void take_wants(Session& session, const proto::SyncBatch& batch);
  void note_missed(Session& session, const proto::SyncBatch& batch);
  void finish(StreamId stream, bool ok, const std::string& error);
  void spread_if_fresh(Session& session, const proto::Record& record, Verdict verdict);

  Parts parts_;
  Context& context_;
  std::map<StreamId, Session> sessions_;
  std::map<NodeId, Check> checks_;
  std::vector<Retry> retries_;
  uint8_t agreed_ = 0;  // the last eight comparisons: a bit for each that was equal
  // What joiners are sent, and when and from what it was made. What has changed since follows it.
  std::vector<proto::SyncBatch> snapshot_;
  Versions snapshot_versions_;
  uint64_t snapshot_print_ = 0;
  TimePoint snapshot_made_ = TimePoint::min();
  TimePoint quiet_until_;
  Duration backoff_{0};
  TimePoint hurry_until_ = TimePoint::min();
  std::unordered_map<NodeId, TimePoint> agreed_events_;
};

}  // namespace starling::membership
