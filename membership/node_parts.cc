// SPDX-License-Identifier: Apache-2.0
#include "membership/node_parts.h"

#include <algorithm>
#include <functional>
#include <string>

#include "membership/limits.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

// Being called this much later than asked counts as a stall of this process.
constexpr Duration kStallLeast = 100ms;
constexpr size_t kRejoinAtOnce = 3;
// Between two attempts at any of the members that are missing; of the second, when all of them have
// been missing for so long that they were forgotten.
constexpr Duration kLongestRejoinWait = 5min;
constexpr Duration kLongestLostWait = 30min;
// Within one round trip; others find the refutation on packets and in the tree.
constexpr size_t kMaxAnsweredAccusers = 1024;

}  // namespace

// --- turns -------------------------------------------------------------------------------------

void Node::Parts::enter(TimePoint now) {
  STARLING_ASSERT(now >= context.now);
  const TimePoint promised = next_deadline();
  context.now = now;
  context.from = Address();
  context.from_stream = false;
  accused = false;
  if (promised == kNever || now <= promised || !context.options.guards.stall) return;
  // The stall rule: time in which this process did not run is not held against others.
  const Duration late = now - promised;
  if (late <= std::max<Duration>(kStallLeast, context.options.probe_interval / 4)) {
    stalled_checked = false;
    return;
  }
  if (stalled_checked) return;  // the same stall, seen again before advance()
  stalled_checked = true;
  context.trace(
      TraceLevel::kDebug,
      "this agent did not run for " +
          std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(late).count()) +
          " ms: giving others that much more time");
  health.worsen();
  prober.forgive(late);
  members.forgive(late);
  events.present_since(now);
  events.hold_gaps();
  // What came meanwhile waits in the socket. Who stands still again and again because too much is
  // going on would add to it with exchanges that do not settle anything.
  if (late >= context.options.sync_after) sync.hurry();
}

void Node::Parts::finish_turn() {
  look_through_actions();
  check_leave();
  const uint64_t member_print = table.fingerprint() ^ members.own_fingerprint();
  outbox.flush(member_print, events.fingerprint(),
               [this](const Address&, proto::Packet& packet, size_t free) {
                 piggyback.fill(packet, free,
                                [this](const NodeId& id) { return members.encode(id); });
               });
}

/// What happened in this turn may concern other parts. The list may grow on the way.
void Node::Parts::look_through_actions() {
  for (; actions_seen < context.actions.size(); ++actions_seen) {
    Action& action = context.actions[actions_seen];
    translate_confirm(action);
    if (const auto* arrived = std::get_if<UserEventArrived>(&action)) {
      const MessageId id = arrived->id;
      event_delivered(id);
    } else if (const auto* event = std::get_if<MemberEvent>(&action)) {
      const NodeId id = event->member.id;
      const bool gone =
          event->change == MemberChange::kFailed || event->change == MemberChange::kLeave;
      if (event->change == MemberChange::kJoin && id != context.identity.id) {
        events.joined(restored);
      }
      if (event->change == MemberChange::kReap) {
        coordinates.forget(id);
        look_for(event->member);
      }
      if (gone)
        queries.member_gone(id, event->change == MemberChange::kLeave);  // they stop waiting
    }
  }
}

TimePoint Node::Parts::next_deadline() const {
  // What became possible only now (a first member to probe) was not due before now.
  return std::max(context.now, earliest_deadline());
}

TimePoint Node::Parts::earliest_deadline() const {
  return std::min({prober.next_deadline(), members.next_deadline(), tree.next_deadline(),
                   announcements.next_deadline(), events.next_deadline(), queries.next_deadline(),
                   messenger.next_deadline(), sync.next_deadline(), streams.next_deadline(),
                   payloads.next_deadline(), outbox.next_deadline(), rejoin_at, leave_by});
}

void Node::Parts::rejoin() {
  rejoin_at = kNever;
  std::erase_if(to_rejoin, [this](const Restored::KnownMember& known) {
    return table.find(known.id) != nullptr || !context.admitted(known.id, known.name);
  });
  if (to_rejoin.empty() || members.leaving()) return;
  const auto is_lost = [](const Restored::KnownMember& known) { return known.lost; };
  const auto lost = std::partition(to_rejoin.begin(), to_rejoin.end(), std::not_fn(is_lost));
  const auto end = to_rejoin.end();
  const bool all_lost = lost == to_rejoin.begin() && table.up_count() > 0;
  rejoin_wait = std::clamp<Duration>(2 * rejoin_wait, context.options.probe_interval * 2,
                                     all_lost ? kLongestLostWait : kLongestRejoinWait);
  rejoin_at = context.now + rejoin_wait;
  if (table.up_count() > 0) {
    // Back in a cluster, but these are not in it: perhaps the other side of a partition. A ping's
    // acknowledgement shows their fingerprints, and synchronisation does the rest.
    const Restored::KnownMember& known = to_rejoin[context.random.below(to_rejoin.size())];
    proto::Ping ping;
    ping.set_target(std::string(known.id.wire()));
    outbox.ping(known.address, ping);
    return;
  }
  // Alone: those of late are the likeliest to be there, and one of the others.
  const auto call_some = [this](auto first, auto last, size_t count) {
    const std::vector<Restored::KnownMember> some(first, last);
    for (const auto& known : context.random.sample(some, count)) sync.rejoin(known.address);
  };
  call_some(to_rejoin.begin(), lost, kRejoinAtOnce);
  call_some(lost, end, 1);
}

size_t Node::Parts::not_met_again(size_t most) const {
  size_t count = 0;
  for (const Restored::KnownMember& known : to_rejoin) {
    if (count == most) break;
    if (!known.lost && table.find(known.id) == nullptr) ++count;
  }
  return count;
}

/// A member that failed is forgotten by now, but a partition may last longer than that.
void Node::Parts::look_for(const Member& lost) {
  if (lost.status == Status::kLeft || members.leaving()) return;
  Restored::KnownMember known{lost.id, lost.name, lost.address, true};
  if (to_rejoin.size() >= kMaxMembers + kMaxMissing) {
    ++context.statistics.dropped_lost;
    to_rejoin[context.random.below(to_rejoin.size())] = std::move(known);
  } else {
    to_rejoin.push_back(std::move(known));
  }
  if (rejoin_at == kNever) {
    rejoin_wait = Duration{0};
    rejoin_at = context.now + context.options.probe_interval * 2;
  }
}

void Node::Parts::check_leave() {
  if (!members.leaving() || left_told) return;
  if (tree.pending() > 0 && context.now < leave_by) return;
  left_told = true;
  leave_by = kNever;
  context.emit(LeaveDone{});
}

// --- datagrams ---------------------------------------------------------------------------------

void Node::Parts::receive(const Address& from, const NodeId& sender, const proto::Packet& packet) {
  note_contact(sender);
  if (members.heard_from(sender)) {
    if (auto record = members.encode(sender)) outbox.record(from, std::move(*record));
  }
  routes.heard(sender);
  receive_probe(from, sender, packet);
  for (const proto::Record& record : packet.records()) {
    NodeId origin;
    const Verdict verdict = apply(record, Heard::kRode, sender, origin);
    if (verdict == Verdict::kInvalid) ++context.statistics.malformed_packets;
  }
  for (const proto::Push& push : packet.pushes()) receive_push(from, sender, push);
  if (accused) answer_accuser(from);
  for (const uint32_t hop : packet.push_acks()) tree.acknowledged(hop);
  for (const proto::RecordId& id : packet.announcements()) {
    if (!has(id)) announcements.heard(from, id);
  }
  for (const proto::EventProgress& told : packet.progress()) heard_progress(from, sender, told);
  for (const proto::RecordId& id : packet.pulls()) answer_pull(from, id);
  for (const proto::DirectMessage& message : packet.direct()) messenger.receive(from, message);
  for (const proto::MessageId& id : packet.direct_acks()) messenger.acknowledged(id);
  if (packet.member_fingerprint() != 0) {
    sync.compare(sender, from, packet.member_fingerprint(), packet.event_fingerprint());
  }
}

/// An acknowledgement has room for little of what could ride along, and ways may be cut. What
/// waited for a slow process says the same many times: to that, one answer is enough.
void Node::Parts::answer_accuser(const Address& from) {
  const Incarnation incarnation = members.incarnation();
  if (context.now >= answered_until || answered_with != incarnation) {
    answered_accusers.clear();
    answered_with = incarnation;
    answered_until = context.now + context.options.round_trip_max;
  }
  if (answered_accusers.size() >= kMaxAnsweredAccusers) return;
  if (!answered_accusers.insert(from).second) return;
  outbox.record(from, *members.encode(context.identity.id));
}

/// Who has spoken of a member can tell what that member says itself.
void Node::Parts::fetch(const NodeId& member) {
  if (context.from_stream || context.from == Address()) return;
  proto::RecordId id;
  id.set_kind(proto::RECORD_MEMBER);
  id.set_key(std::string(member.wire()));
  outbox.pull(context.from, id);
}

void Node::Parts::answer_pull(const Address& from, const proto::RecordId& id) {
  if (id.kind() != proto::RECORD_MEMBER) {
    if (auto record = find(id)) outbox.record(from, std::move(*record));
    return;
  }
  const auto member = NodeId::from_wire(id.key());
  if (!member) return;
  for (proto::Record& record : members.introduce(*member)) {
    outbox.record(from, std::move(record));
  }
}

void Node::Parts::receive_probe(const Address& from, const NodeId& sender,
                                const proto::Packet& packet) {
  if (packet.has_ping()) prober.receive_ping(from, packet.ping());
  if (packet.has_ping_request()) prober.receive_ping_request(from, packet.ping_request());
  if (packet.has_ack()) prober.receive_ack(sender, packet.ack());
  if (packet.has_nack()) prober.receive_nack(from, sender, packet.nack());
  if (!packet.has_ping() && !packet.has_ack()) return;
  // Somebody whom we hold for failed is talking to us: let it hear that, so that it refutes.
  const Entry* entry = table.find(sender);
  if (entry != nullptr && entry->status == Status::kFailed) {
    if (auto record = members.encode(sender)) outbox.record(from, std::move(*record));
  }
}

void Node::Parts::receive_push(const Address& from, const NodeId& sender, const proto::Push& push) {
  // The freshest of its records decides whether it is passed on.
  NodeId origin = sender;
  Verdict freshest = Verdict::kInvalid;
  std::vector<int> forged;
  for (int i = 0; i < push.records_size(); ++i) {
    const Verdict verdict = apply(push.records(i), Heard::kPushed, sender, origin);
    if (verdict == Verdict::kInvalid) ++context.statistics.malformed_packets;
    if (verdict == Verdict::kForged) forged.push_back(i);
    freshest = std::min(freshest, verdict);  // in the order of Verdict
  }
  const NodeId has = push.records_size() == 1 ? origin : sender;
  if (forged.empty()) return tree.receive(from, sender, push, freshest, has);
  // Nobody is sent a forgery from here, in whatever company it came.
  proto::Push honest = push;
  for (auto i = forged.rbegin(); i != forged.rend(); ++i) {
    honest.mutable_records()->DeleteSubrange(*i, 1);
  }
  tree.receive(from, sender, honest, freshest, has);
}

/// Hands a record to the part that owns its kind. `origin` becomes who has it for certain.
Verdict Node::Parts::apply(const proto::Record& record, Heard how, const NodeId& sender,
                           NodeId& origin) {
  Verdict verdict = Verdict::kInvalid;
  switch (record.kind()) {
    case proto::RECORD_MEMBER:
      return members.apply(record, how);
    case proto::RECORD_USER_EVENT:
      verdict = events.apply(record, sender);
      break;
    case proto::RECORD_QUERY:
      verdict = queries.apply(record);
      break;
    case proto::RECORD_QUERY_OVER:
      verdict = queries.apply_over(record);
      break;
    default:
      return Verdict::kInvalid;
  }
  if (verdict == Verdict::kInvalid || verdict == Verdict::kForged) return verdict;
  const auto id = read_message_key(record.key());
  if (id) origin = id->origin;
  if (verdict == Verdict::kFresh && record.kind() == proto::RECORD_USER_EVENT) {
    announcements.arrived(*id);
  } else if (verdict == Verdict::kFresh) {
    proto::RecordId announced;
    announced.set_kind(record.kind());
    announced.set_key(record.key());
    announcements.arrived(announced);
  }
  return verdict;
}

bool Node::Parts::has(const proto::RecordId& id) const {
  const auto message = read_message_key(id.key());
  if (!message) return true;  // nothing that could be pulled
  if (id.kind() == proto::RECORD_USER_EVENT) return events.has(*message);
  if (id.kind() == proto::RECORD_QUERY) return queries.has(*message);
  if (id.kind() == proto::RECORD_QUERY_OVER) return queries.knows_over(*message);
  return true;
}

std::optional<proto::Record> Node::Parts::find(const proto::RecordId& id) const {
  const auto message = read_message_key(id.key());
  if (!message) return std::nullopt;
  if (id.kind() == proto::RECORD_USER_EVENT) return events.find(*message);
  if (id.kind() == proto::RECORD_QUERY) return queries.find(*message);
  if (id.kind() == proto::RECORD_QUERY_OVER) return queries.find_over(*message);
  return std::nullopt;
}

// --- streams -----------------------------------------------------------------------------------

void Node::Parts::receive_stream(StreamId id, const proto::StreamMessage& message) {
  Streams::Stream* stream = streams.find(id);
  if (stream == nullptr) return;
  context.from = stream->peer;
  context.from_stream = true;
  streams.touch(id);
  if (stream->use == StreamUse::kUndecided) {
    if (message.has_ping()) stream->use = StreamUse::kProbe;
    if (message.has_sync_request()) stream->use = StreamUse::kSync;
    if (message.has_direct()) stream->use = StreamUse::kMessage;
    if (message.has_payload_request()) stream->use = StreamUse::kPayload;
  }
  members.heard_from(NodeId::from_wire(message.sender()).value_or(NodeId()));
  switch (stream->use) {
    case StreamUse::kProbe:
      if (message.has_ack()) prober.stream_ack(message.ack());
      if (message.has_ping() && message.ping().target() == context.identity.id.wire()) {
        proto::StreamMessage answer;
        answer.mutable_ack()->set_sequence(message.ping().sequence());
        answer.mutable_ack()->set_target(message.ping().target());
        answer.mutable_ack()->set_left(members.leaving());
        streams.send(id, std::move(answer));
      } else if (message.has_ping()) {
        stream_closed(id, StreamEnd::kClosed);  // meant for another agent
        context.emit(CloseStream{id});
      }
      return;
    case StreamUse::kSync:
      sync.receive(id, message);
      return;
    case StreamUse::kMessage:
      if (message.has_direct()) messenger.receive(id, message.direct());
      if (message.has_direct_ack()) messenger.stream_acknowledged(id, message.direct_ack());
      return;
    case StreamUse::kPayload:
      if (message.has_payload_request()) {
        payloads.receive(id, NodeId::from_wire(message.sender()).value_or(NodeId()),
                         message.payload_request());
      } else if (message.has_payload_reply()) {
        payloads.receive(id, message.payload_reply());
      } else {
        stream_closed(id, StreamEnd::kClosed);  // it is busy
        context.emit(CloseStream{id});
      }
      return;
    case StreamUse::kCheck:
    case StreamUse::kUndecided:
      ++context.statistics.malformed_streams;
      streams.close(id);
      return;
  }
}

void Node::Parts::refuse_stream(StreamId id, const proto::StreamMessage& message) {
  ++context.statistics.unadmitted_packets;
  if (streams.find(id) == nullptr) return;
  if (message.has_sync_request()) {
    proto::StreamMessage answer;
    answer.mutable_sync_reply()->set_refusal("does not admit node " +
                                             NodeId::from_wire(message.sender())->to_string());
    streams.send(id, std::move(answer));
  }
  stream_closed(id, StreamEnd::kClosed);
  context.emit(CloseStream{id});
}

void Node::Parts::stream_closed(StreamId id, StreamEnd end) {
  const auto stream = streams.forget(id);
  if (!stream) return;
  if (!stream->open) routes.stream_failed(stream->peer, end, stream->patient);
  switch (stream->use) {
    case StreamUse::kProbe:
    case StreamUse::kCheck:
      prober.stream_closed(id, end);
      return;
    case StreamUse::kSync:
      sync.stream_closed(id, end);
      return;
    case StreamUse::kMessage:
      messenger.stream_closed(id);
      return;
    case StreamUse::kPayload:
      payloads.stream_closed(id);
      return;
    case StreamUse::kUndecided:
      return;
  }
}

}  // namespace starling::membership
