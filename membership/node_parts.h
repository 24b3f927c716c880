// SPDX-License-Identifier: Apache-2.0
//
// Node::Parts: what is behind the door. Owns the parts of one node, keeps their shared time, and
// routes what arrives to the part that owns it.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "membership/context.h"
#include "membership/gossip/announcements.h"
#include "membership/gossip/broadcast_tree.h"
#include "membership/gossip/event_log.h"
#include "membership/gossip/messenger.h"
#include "membership/gossip/outbox.h"
#include "membership/gossip/piggyback.h"
#include "membership/gossip/queries.h"
#include "membership/gossip/sync.h"
#include "membership/node.h"
#include "membership/streams.h"
#include "membership/swim/local_health.h"
#include "membership/swim/member_table.h"
#include "membership/swim/members.h"
#include "membership/swim/prober.h"
#include "membership/swim/routes.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

struct Node::Parts {
  Parts(const Options& options, Identity identity, Random random, TimePoint now,
        std::shared_ptr<DescriptionPool> descriptions)
      : context{options, std::move(identity), random, now, {}, {}, {}, {}, {}},
        table(std::move(descriptions)),
        health(options.local_health_max),
        outbox(context),
        tree(context, table, outbox),
        announcements(context, table, outbox),
        members(context, table, tree, piggyback, health),
        streams(context),
        routes(context, table),
        prober(context, table, members, outbox, streams, health, routes),
        events(context),
        messenger(context, table, outbox, streams),
        queries(context, table, members, messenger),
        sync(Sync::Parts{context, table, members, tree, announcements, events, outbox, streams}) {
    members.probe_soon = [this](const NodeId& id) { prober.probe_soon(id); };
    members.tell_accused = [this](const NodeId& id) { prober.tell(id); };
    messenger.deliver = [this](const NodeId& from, const proto::DirectMessage& message) {
      if (message.has_query_reply()) queries.receive_reply(from, message.query_reply());
    };
  }

  Context context;
  MemberTable table;
  Piggyback piggyback;
  LocalHealth health;
  Outbox outbox;
  BroadcastTree tree;
  Announcements announcements;
  Members members;
  Streams streams;
  Routes routes;
  Prober prober;
  EventLog events;
  Messenger messenger;
  Queries queries;
  Sync sync;

  uint64_t next_join = 1;
  bool restored = false;
  bool stalled_checked = false;
  std::vector<Restored::KnownMember> to_rejoin;
  TimePoint rejoin_at = kNever;
  Duration rejoin_wait{0};
  TimePoint leave_by = kNever;
  bool left_told = false;
  size_t actions_seen = 0;

  void enter(TimePoint now);
  void finish_turn();
  void note_gone_members();
  void receive(const Address& from, const NodeId& sender, const proto::Packet& packet);
  void receive_probe(const Address& from, const NodeId& sender, const proto::Packet& packet);
  void receive_push(const Address& from, const NodeId& sender, const proto::Push& push);
  Verdict apply(const proto::Record& record, Heard how, NodeId& origin);
  [[nodiscard]] bool has(const proto::RecordId& id) const;
  [[nodiscard]] std::optional<proto::Record> find(const proto::RecordId& id) const;
  void receive_stream(StreamId id, const proto::StreamMessage& message);
  void stream_closed(StreamId id, StreamEnd end);
  void rejoin();
  void check_leave();
  [[nodiscard]] TimePoint next_deadline() const;
  [[nodiscard]] TimePoint earliest_deadline() const;
};

}  // namespace starling::membership
