// SPDX-License-Identifier: Apache-2.0
//
// Node: routes what arrives to the part that owns it, and keeps the parts' shared time.
#include "membership/node.h"

#include <algorithm>
#include <utility>

#include "membership/context.h"
#include "membership/gossip/announcements.h"
#include "membership/gossip/broadcast_tree.h"
#include "membership/gossip/event_log.h"
#include "membership/gossip/messenger.h"
#include "membership/gossip/outbox.h"
#include "membership/gossip/piggyback.h"
#include "membership/gossip/queries.h"
#include "membership/gossip/sync.h"
#include "membership/limits.h"
#include "membership/streams.h"
#include "membership/swim/local_health.h"
#include "membership/swim/member_table.h"
#include "membership/swim/members.h"
#include "membership/swim/prober.h"
#include "membership/wire.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

namespace {

// Being called this much later than asked counts as a stall of this process.
constexpr Duration kStallLeast = 100ms;
constexpr size_t kRejoinAtOnce = 3;
constexpr Duration kLongestRejoinWait = 5min;

}  // namespace

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
        prober(context, table, members, outbox, streams, health),
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

// --- turns -------------------------------------------------------------------------------------

void Node::Parts::enter(TimePoint now) {
  STARLING_ASSERT(now >= context.now);
  const TimePoint promised = next_deadline();
  context.now = now;
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
}

void Node::Parts::finish_turn() {
  note_gone_members();
  check_leave();
  const uint64_t member_print = table.fingerprint() ^ members.own_fingerprint();
  outbox.flush(member_print, events.fingerprint(),
               [this](const Address&, proto::Packet& packet, size_t free) {
                 piggyback.fill(packet, free,
                                [this](const NodeId& id) { return members.encode(id); });
               });
}

void Node::Parts::note_gone_members() {
  // Queries stop waiting for members that failed or left in this turn.
  for (; actions_seen < context.actions.size(); ++actions_seen) {
    const auto* event = std::get_if<MemberEvent>(&context.actions[actions_seen]);
    if (event == nullptr) continue;
    if (event->change == MemberChange::kFailed || event->change == MemberChange::kLeave) {
      const NodeId id = event->member.id;  // the list may grow below
      queries.member_gone(id);
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
                   rejoin_at, leave_by});
}

void Node::Parts::rejoin() {
  rejoin_at = kNever;
  std::erase_if(to_rejoin, [this](const Restored::KnownMember& known) {
    return table.find(known.id) != nullptr;
  });
  if (to_rejoin.empty() || members.leaving()) return;
  rejoin_wait =
      std::clamp<Duration>(2 * rejoin_wait, context.options.probe_interval * 2, kLongestRejoinWait);
  rejoin_at = context.now + rejoin_wait;
  if (table.up_count() > 0) {
    // Back in a cluster, but these are not in it: perhaps the other side of a partition. A ping's
    // acknowledgement shows their fingerprints, and synchronisation does the rest.
    const Restored::KnownMember& known = to_rejoin[context.random.below(to_rejoin.size())];
    proto::Ping ping;
    ping.set_target(std::string(known.id.wire()));
    ping.set_sender_incarnation(members.incarnation().value);
    outbox.ping(known.address, ping);
    return;
  }
  for (const Restored::KnownMember& known : context.random.sample(to_rejoin, kRejoinAtOnce)) {
    sync.rejoin(known.address);
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
  if (members.heard_from(sender)) {
    if (auto record = members.encode(sender)) outbox.record(from, std::move(*record));
  }
  receive_probe(from, sender, packet);
  for (const proto::Record& record : packet.records()) {
    NodeId origin;
    const Verdict verdict = apply(record, Heard::kRode, origin);
    if (verdict == Verdict::kInvalid) ++context.statistics.malformed_packets;
    if (verdict == Verdict::kFresh && record.kind() == proto::RECORD_QUERY) {
      proto::RecordId id;
      id.set_kind(record.kind());
      id.set_key(record.key());
      announcements.arrived(id);
    }
  }
  for (const proto::Push& push : packet.pushes()) receive_push(from, sender, push);
  for (const uint32_t hop : packet.push_acks()) tree.acknowledged(hop);
  for (const proto::RecordId& id : packet.announcements()) {
    if (!has(id)) announcements.heard(from, id);
  }
  for (const proto::RecordId& id : packet.pulls()) {
    if (auto record = find(id)) outbox.record(from, std::move(*record));
  }
  for (const proto::DirectMessage& message : packet.direct()) messenger.receive(from, message);
  for (const proto::MessageId& id : packet.direct_acks()) messenger.acknowledged(id);
  if (packet.member_fingerprint() != 0) {
    sync.compare(sender, from, packet.member_fingerprint(), packet.event_fingerprint());
  }
}

void Node::Parts::receive_probe(const Address& from, const NodeId& sender,
                                const proto::Packet& packet) {
  if (packet.has_ping()) prober.receive_ping(from, packet.ping());
  if (packet.has_ping_request()) prober.receive_ping_request(from, packet.ping_request());
  if (packet.has_ack()) prober.receive_ack(sender, packet.ack());
  if (packet.has_nack()) prober.receive_nack(sender, packet.nack());
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
  for (const proto::Record& record : push.records()) {
    const Verdict verdict = apply(record, Heard::kPushed, origin);
    if (verdict == Verdict::kInvalid) ++context.statistics.malformed_packets;
    freshest = std::min(freshest, verdict);  // in the order of Verdict
  }
  tree.receive(from, sender, push, freshest, push.records_size() == 1 ? origin : sender);
}

/// Hands a record to the part that owns its kind. `origin` becomes who has it for certain.
Verdict Node::Parts::apply(const proto::Record& record, Heard how, NodeId& origin) {
  Verdict verdict = Verdict::kInvalid;
  switch (record.kind()) {
    case proto::RECORD_MEMBER:
      return members.apply(record, how);
    case proto::RECORD_USER_EVENT:
      verdict = events.apply(record);
      break;
    case proto::RECORD_QUERY:
      verdict = queries.apply(record);
      break;
    default:
      return Verdict::kInvalid;
  }
  if (verdict == Verdict::kInvalid) return verdict;
  if (const auto id = read_message_key(record.key())) origin = id->origin;
  if (verdict == Verdict::kFresh) {
    proto::RecordId id;
    id.set_kind(record.kind());
    id.set_key(record.key());
    announcements.arrived(id);
  }
  return verdict;
}

bool Node::Parts::has(const proto::RecordId& id) const {
  const auto message = read_message_key(id.key());
  if (!message) return true;  // nothing that could be pulled
  if (id.kind() == proto::RECORD_USER_EVENT) return events.has(*message);
  if (id.kind() == proto::RECORD_QUERY) return queries.has(*message);
  return true;
}

std::optional<proto::Record> Node::Parts::find(const proto::RecordId& id) const {
  const auto message = read_message_key(id.key());
  if (!message) return std::nullopt;
  if (id.kind() == proto::RECORD_USER_EVENT) return events.find(*message);
  if (id.kind() == proto::RECORD_QUERY) return queries.find(*message);
  return std::nullopt;
}

// --- streams -----------------------------------------------------------------------------------

void Node::Parts::receive_stream(StreamId id, const proto::StreamMessage& message) {
  Streams::Stream* stream = streams.find(id);
  if (stream == nullptr) return;
  streams.touch(id);
  if (stream->use == StreamUse::kUndecided) {
    if (message.has_ping()) stream->use = StreamUse::kProbe;
    if (message.has_sync_request()) stream->use = StreamUse::kSync;
    if (message.has_direct()) stream->use = StreamUse::kMessage;
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
      }
      return;
    case StreamUse::kSync:
      sync.receive(id, message);
      return;
    case StreamUse::kMessage:
      if (message.has_direct()) messenger.receive(id, message.direct());
      if (message.has_direct_ack()) messenger.stream_acknowledged(id, message.direct_ack());
      return;
    case StreamUse::kUndecided:
      ++context.statistics.malformed_streams;
      streams.close(id);
      return;
  }
}

void Node::Parts::stream_closed(StreamId id, StreamEnd end) {
  const auto stream = streams.forget(id);
  if (!stream) return;
  switch (stream->use) {
    case StreamUse::kProbe:
      prober.stream_closed(id, end);
      return;
    case StreamUse::kSync:
      sync.stream_closed(id, end);
      return;
    case StreamUse::kMessage:
      messenger.stream_closed(id);
      return;
    case StreamUse::kUndecided:
      return;
  }
}

// --- the door ----------------------------------------------------------------------------------

Node::Node(const Options& options, Identity identity, Random random, TimePoint now,
           Restored restored, std::shared_ptr<DescriptionPool> descriptions)
    : parts_(std::make_unique<Parts>(options, std::move(identity), random, now,
                                     std::move(descriptions))) {
  Parts& p = *parts_;
  p.context.member_clock.witness(restored.member_ltime);
  p.context.event_clock.witness(restored.event_ltime);
  p.context.query_clock.witness(restored.query_ltime);
  p.events.restore(restored);
  p.queries.restore(restored.queries);
  p.restored = !restored.progress.empty() || !restored.members.empty();
  p.to_rejoin = std::move(restored.members);
  if (!p.to_rejoin.empty()) p.rejoin_at = now;
  p.members.start();
}

Node::~Node() = default;

Result<void> Node::validate_identity(const Identity& identity) {
  if (!valid_name(identity.name)) {
    return fail(ErrorKind::kInvalid,
                "a node name must have 1 to 128 bytes of UTF-8 and no control characters");
  }
  if (identity.address.port() == 0 || identity.address.is_unspecified()) {
    return fail(ErrorKind::kInvalid, "the advertised address " + identity.address.to_string() +
                                         " cannot be reached: use -advertise");
  }
  proto::MemberRecord record;
  write_tags(pack_tags(identity.tags), record);
  if (const size_t size = pack_tags(identity.tags).size(); size <= kMaxTags && !read_tags(record)) {
    return fail(ErrorKind::kInvalid, "tags must be UTF-8 without NUL, and their names not empty");
  }
  if (read_tags(record) != pack_tags(identity.tags)) {
    return fail(ErrorKind::kTooLarge, "Encoded length of tags exceeds limit of 512 bytes");
  }
  return {};
}

void Node::receive_datagram(TimePoint now, const Address& from, std::string_view bytes) {
  Parts& p = *parts_;
  p.enter(now);
  ++p.context.statistics.packets_received;
  p.context.statistics.bytes_received += bytes.size();
  proto::Packet packet;
  const bool parsed = bytes.size() <= kMaxPacket &&
                      packet.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  const auto sender = NodeId::from_wire(packet.sender());
  if (!parsed || !sender || *sender == p.context.identity.id) {
    ++p.context.statistics.malformed_packets;
  } else {
    p.receive(from, *sender, packet);
  }
  p.finish_turn();
}

void Node::datagram_refused(TimePoint now, const Address& peer) {
  parts_->enter(now);
  parts_->prober.refused(peer);
  parts_->finish_turn();
}

void Node::stream_opened(TimePoint now, StreamId stream) {
  Parts& p = *parts_;
  p.enter(now);
  if (const Streams::Stream* found = p.streams.find(stream)) {
    const StreamUse use = found->use;
    p.streams.opened(stream);
    if (use == StreamUse::kProbe) p.prober.stream_opened(stream);
    if (use == StreamUse::kSync) p.sync.stream_opened(stream);
    if (use == StreamUse::kMessage) p.messenger.stream_opened(stream);
  }
  p.finish_turn();
}

void Node::stream_accepted(TimePoint now, StreamId stream, const Address& from) {
  STARLING_ASSERT(stream >= kFirstAcceptedStream);
  parts_->enter(now);
  parts_->streams.accept(stream, from);
  parts_->finish_turn();
}

void Node::receive_stream(TimePoint now, StreamId stream, std::string_view bytes) {
  Parts& p = *parts_;
  p.enter(now);
  proto::StreamMessage message;
  const bool parsed = bytes.size() <= kMaxStreamMessage &&
                      message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  if (!parsed || !NodeId::from_wire(message.sender()) ||
      message.body_case() == proto::StreamMessage::BODY_NOT_SET) {
    ++p.context.statistics.malformed_streams;
    if (p.streams.find(stream) != nullptr) {
      p.stream_closed(stream, StreamEnd::kProtocol);
      p.context.emit(CloseStream{stream});
    }
  } else {
    p.receive_stream(stream, message);
  }
  p.finish_turn();
}

void Node::stream_closed(TimePoint now, StreamId stream, StreamEnd end) {
  parts_->enter(now);
  parts_->stream_closed(stream, end);
  parts_->finish_turn();
}

void Node::advance(TimePoint now) {
  Parts& p = *parts_;
  p.enter(now);
  p.stalled_checked = false;
  p.prober.advance();
  p.members.advance();
  p.tree.advance();
  p.announcements.advance();
  p.events.advance();
  p.queries.advance();
  p.messenger.advance();
  p.sync.advance();
  while (const auto idle = p.streams.pop_idle()) {
    p.stream_closed(*idle, StreamEnd::kUnreachable);
    p.context.emit(CloseStream{*idle});
  }
  if (now >= p.rejoin_at) p.rejoin();
  p.finish_turn();
}

TimePoint Node::next_deadline() const {
  return parts_->next_deadline();
}

Actions Node::take_actions() {
  parts_->actions_seen = 0;
  return std::exchange(parts_->context.actions, {});
}

// --- commands ----------------------------------------------------------------------------------

uint64_t Node::join(TimePoint now, const std::vector<Address>& addresses, bool replay) {
  Parts& p = *parts_;
  p.enter(now);
  const uint64_t id = p.next_join++;
  for (const Address& address : addresses) {
    p.sync.join(address, id, !replay && !p.restored);
  }
  p.finish_turn();
  return id;
}

void Node::leave(TimePoint now) {
  Parts& p = *parts_;
  p.enter(now);
  if (!p.members.leaving()) {
    p.members.leave();
    p.prober.stop();
    p.rejoin_at = kNever;
    p.leave_by = now + p.context.options.leave_timeout;
  }
  p.finish_turn();
}

Result<void> Node::force_leave(TimePoint now, std::string_view name, bool prune) {
  parts_->enter(now);
  auto result = parts_->members.force_leave(name, prune);
  parts_->finish_turn();
  return result;
}

Result<void> Node::set_tags(TimePoint now, std::map<std::string, std::string> tags) {
  Parts& p = *parts_;
  p.enter(now);
  Identity changed = p.context.identity;
  changed.tags = std::move(tags);
  if (auto valid = validate_identity(changed); !valid) return valid;
  if (changed.tags != p.context.identity.tags) p.members.set_tags(pack_tags(changed.tags));
  p.finish_turn();
  return {};
}

Result<MessageId> Node::send_event(TimePoint now, std::string_view name, std::string_view payload,
                                   bool coalesce) {
  Parts& p = *parts_;
  p.enter(now);
  if (!valid_name(name)) {
    return fail(ErrorKind::kInvalid,
                "a user event's name must have 1 to 128 bytes of UTF-8 and no control characters");
  }
  const size_t limit = p.context.options.user_event_size_limit;
  if (name.size() + payload.size() > limit) {
    return fail(ErrorKind::kTooLarge, "user event exceeds configured limit of " +
                                          std::to_string(limit) + " bytes before encoding");
  }
  MessageId id;
  const proto::Record record =
      p.events.create(std::string(name), std::string(payload), coalesce, id);
  proto::RecordId announced;
  announced.set_kind(record.kind());
  announced.set_key(record.key());
  p.announcements.arrived(announced);
  p.tree.publish(record, p.context.identity.id);
  p.finish_turn();
  return id;
}

Result<QueryHandle> Node::send_query(TimePoint now, const QueryOptions& query) {
  Parts& p = *parts_;
  p.enter(now);
  auto started = p.queries.start(query);
  if (!started) return tl::unexpected(started.error());
  NodeId origin = p.context.identity.id;
  p.apply(started->record, Heard::kPushed, origin);
  p.tree.publish(started->record, origin);
  p.finish_turn();
  return started->handle;
}

void Node::cancel_query(TimePoint now, const MessageId& query) {
  parts_->enter(now);
  parts_->queries.cancel(query);
  parts_->finish_turn();
}

Result<void> Node::answer_query(TimePoint now, const MessageId& query, Answer answer) {
  parts_->enter(now);
  auto result = parts_->queries.answer(query, std::move(answer));
  parts_->finish_turn();
  return result;
}

// --- views -------------------------------------------------------------------------------------

const Identity& Node::identity() const {
  return parts_->context.identity;
}
const Options& Node::options() const {
  return parts_->context.options;
}
Member Node::self() const {
  return parts_->members.self();
}

std::vector<Member> Node::members() const {
  std::vector<Member> list;
  list.push_back(self());
  for (const Entry* entry : parts_->table.all()) {
    // A host that was replaced under its own name and is gone is nobody any more.
    if (entry->displaced && !entry->up()) continue;
    list.push_back(parts_->members.view(*entry));
  }
  std::sort(list.begin(), list.end(), [](const Member& a, const Member& b) {
    return a.name != b.name ? a.name < b.name : a.id < b.id;
  });
  return list;
}

std::optional<Member> Node::member(std::string_view name) const {
  if (name == self().name) return self();
  const Entry* entry = parts_->table.find_name(name);
  if (entry == nullptr) return std::nullopt;
  return parts_->members.view(*entry);
}

void Node::visit_members(const std::function<void(const MemberState&)>& visit) const {
  for (const Entry* entry : parts_->table.all()) {
    visit({entry->id(), entry->incarnation, entry->status});
  }
}

size_t Node::up_count() const {
  return parts_->members.up_count();
}

std::optional<Duration> Node::round_trip(const NodeId& id) const {
  const Entry* entry = parts_->table.find(id);
  if (entry == nullptr || !entry->measured()) return std::nullopt;
  return entry->srtt();
}

Clocks Node::clocks() const {
  const Context& context = parts_->context;
  return {context.member_clock.now(), context.event_clock.now(), context.query_clock.now()};
}

unsigned Node::local_health() const {
  return parts_->health.score();
}
const Statistics& Node::statistics() const {
  return parts_->context.statistics;
}
uint64_t Node::member_fingerprint() const {
  return parts_->table.fingerprint() ^ parts_->members.own_fingerprint();
}
uint64_t Node::event_fingerprint() const {
  return parts_->events.fingerprint();
}
size_t Node::events_held() const {
  return parts_->events.held();
}
Sizes Node::sizes() const {
  const Parts& p = *parts_;
  Sizes sizes;
  sizes.members = p.table.size() + 1;
  sizes.failed = p.table.failed_count();
  sizes.suspicions = p.members.suspicion_count();
  sizes.degraded = p.members.degraded_count();
  sizes.member_timers = p.members.timer_count();
  sizes.probes = p.prober.running();
  sizes.relays = p.prober.relaying();
  sizes.piggybacked = p.piggyback.size();
  sizes.hops = p.tree.pending();
  sizes.gathered = p.tree.gathered();
  sizes.streams = p.streams.size();
  sizes.events = p.events.held();
  return sizes;
}

bool Node::consistent() const {
  return parts_->table.consistent();
}

bool Node::leaving() const {
  return parts_->members.leaving();
}

}  // namespace starling::membership
