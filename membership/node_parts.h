// SPDX-License-Identifier: Apache-2.0
//
// Node::Parts: what is behind the door. Owns the parts of one node, keeps their shared time, and
// routes what arrives to the part that owns it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "membership/context.h"
#include "membership/gossip/announcements.h"
#include "membership/gossip/broadcast_tree.h"
#include "membership/gossip/event_log.h"
#include "membership/gossip/messenger.h"
#include "membership/gossip/outbox.h"
#include "membership/gossip/payloads.h"
#include "membership/gossip/piggyback.h"
#include "membership/gossip/queries.h"
#include "membership/gossip/sync.h"
#include "membership/node.h"
#include "membership/rate_limit.h"
#include "membership/streams.h"
#include "membership/swim/coordinates.h"
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
        events(context),
        announcements(context, table, outbox, events.lines()),
        members(context, table, tree, piggyback, health),
        streams(context),
        routes(context, table),
        coordinates(context),
        prober(context, table, members, outbox, streams, health, routes, coordinates),
        payloads(context, table, events, streams, outbox),
        messenger(context, table, outbox, streams),
        rates(context.options, now),
        queries(context, table, members, messenger, rates),
        sync(Sync::Parts{context, table, members, tree, announcements, events, payloads, outbox,
                         streams}) {
    connect_events();
    members.probe_soon = [this](const NodeId& id) { prober.probe_soon(id); };
    members.look = [this](const NodeId& id) { prober.look(id); };
    members.fetch = [this](const NodeId& id) { fetch(id); };
    members.tell_accused = [this](const NodeId& id) { prober.tell(id); };
    prober.learn_round_trip = [this](const Entry& member, Duration took, bool at_least) {
      tree.learn_round_trip(member, took, at_least);
    };
    members.answer_accuser = [this] { accused = true; };
    messenger.deliver = [this](const NodeId& from, const proto::DirectMessage& message) {
      if (message.has_query_reply()) queries.receive_reply(from, message.query_reply());
    };
    queries.tell_over = [this](const proto::Record& record) {
      NodeId origin = context.identity.id;
      apply(record, Heard::kPushed, origin, origin);
      tree.publish(record, origin);
    };
  }

  Context context;
  MemberTable table;
  Piggyback piggyback;
  LocalHealth health;
  Outbox outbox;
  BroadcastTree tree;
  EventLog events;
  Announcements announcements;
  Members members;
  Streams streams;
  Routes routes;
  Coordinates coordinates;
  Prober prober;
  Payloads payloads;
  Messenger messenger;
  RateLimit rates;
  Queries queries;
  Sync sync;

  uint64_t next_join = 1;
  bool restored = false;
  TimePoint heard_at = TimePoint::min();    // anybody
  std::map<MessageId, MessageId> confirms;  // own queries for the reach of an event
  // Others' of events that are not here yet.
  std::map<MessageId, std::vector<MessageId>> asked_reach;
  size_t asked_reach_count = 0;
  bool stalled_checked = false;
  bool accused = false;  // wrongly, by what came in this turn
  // Who was answered so, with which incarnation, in the round trip that ends then.
  std::set<Address> answered_accusers;
  Incarnation answered_with;
  TimePoint answered_until = TimePoint::min();
  std::vector<Restored::KnownMember> to_rejoin;
  TimePoint rejoin_at = kNever;
  Duration rejoin_wait{0};
  TimePoint leave_by = kNever;
  bool left_told = false;
  size_t actions_seen = 0;
  Actions spare_actions;   // empty, with memory
  proto::Packet incoming;  // the last one that arrived
  size_t incoming_size = 0;

  void enter(TimePoint now);
  void finish_turn();
  void look_through_actions();
  void connect_events();
  void translate_confirm(Action& action);
  bool hold_confirm(const MessageId& query, const proto::Query& question);
  void event_delivered(const MessageId& id);
  void note_contact(const NodeId& sender);
  void fetch(const NodeId& member);
  void answer_accuser(const Address& from);
  void answer_pull(const Address& from, const proto::RecordId& id);
  void heard_progress(const Address& from, const NodeId& sender, const proto::EventProgress& told);
  void receive(const Address& from, const NodeId& sender, const proto::Packet& packet);
  void receive_probe(const Address& from, const NodeId& sender, const proto::Packet& packet);
  void receive_push(const Address& from, const NodeId& sender, const proto::Push& push);
  Verdict apply(const proto::Record& record, Heard how, const NodeId& sender, NodeId& origin);
  [[nodiscard]] bool has(const proto::RecordId& id) const;
  [[nodiscard]] std::optional<proto::Record> find(const proto::RecordId& id) const;
  void receive_stream(StreamId id, const proto::StreamMessage& message);
  /// Its sender is not admitted.
  void refuse_stream(StreamId id, const proto::StreamMessage& message);
  void stream_closed(StreamId id, StreamEnd end);
  void rejoin();
  void look_for(const Member& lost);
  /// Members known from before the restart that have not been met since; no more than `most`.
  [[nodiscard]] size_t not_met_again(size_t most) const;
  void check_leave();
  [[nodiscard]] TimePoint next_deadline() const;
  [[nodiscard]] TimePoint earliest_deadline() const;
};

}  // namespace starling::membership
