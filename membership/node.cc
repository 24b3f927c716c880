// SPDX-License-Identifier: Apache-2.0
//
// The door: every input begins a turn and ends it; see node_parts.h for what happens in between.
#include "membership/node.h"

#include <algorithm>
#include <utility>

#include "membership/limits.h"
#include "membership/node_parts.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

constexpr size_t kMaxSpareActions = 64;
// Longer packets are not kept, but for their use.
constexpr size_t kKeptPacket = 256;

/// A host that was replaced under its own name and is gone is nobody any more.
bool listed(const Entry& entry) {
  return entry.up() || !entry.replaced();
}

}  // namespace

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
  p.coordinates.restore(restored.coordinates);
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
  proto::Packet& packet = p.incoming;
  // Fields that this packet does not have keep their memory for later ones; of a probe that is
  // little, of other packets it could become much.
  if (std::exchange(p.incoming_size, bytes.size()) > kKeptPacket) packet = proto::Packet();
  const bool parsed = bytes.size() <= kMaxPacket &&
                      packet.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  const auto sender = NodeId::from_wire(packet.sender());
  if (!parsed || !sender || *sender == p.context.identity.id) {
    ++p.context.statistics.malformed_packets;
  } else if (!p.context.admitted(*sender)) {
    ++p.context.statistics.unadmitted_packets;
  } else {
    p.context.from = from;
    p.receive(from, *sender, packet);
  }
  p.finish_turn();
}

void Node::datagram_refused(TimePoint now, const Address& peer) {
  parts_->enter(now);
  parts_->routes.refused(peer);
  parts_->prober.refused(peer);
  parts_->finish_turn();
}

void Node::stream_opened(TimePoint now, StreamId stream) {
  Parts& p = *parts_;
  p.enter(now);
  if (const Streams::Stream* found = p.streams.find(stream)) {
    const StreamUse use = found->use;
    p.streams.opened(stream);
    // A connection shows less than a stream: it does not put right what a handshake found broken.
    if (use != StreamUse::kCheck) p.routes.stream_opened(found->peer);
    if (use == StreamUse::kProbe || use == StreamUse::kCheck) p.prober.stream_opened(stream);
    if (use == StreamUse::kSync) p.sync.stream_opened(stream);
    if (use == StreamUse::kMessage) p.messenger.stream_opened(stream);
    if (use == StreamUse::kPayload) p.payloads.stream_opened(stream);
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
  const auto sender = NodeId::from_wire(message.sender());
  if (parsed && sender && !p.context.admitted(*sender)) {
    p.refuse_stream(stream, message);
  } else if (!parsed || !sender || message.body_case() == proto::StreamMessage::BODY_NOT_SET) {
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
  p.payloads.advance();
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
  if (parts_->context.actions.empty()) return {};
  return std::exchange(parts_->context.actions, std::exchange(parts_->spare_actions, {}));
}

void Node::reuse(Actions carried_out) {
  std::vector<std::string>& spare = parts_->context.spare_bytes;
  for (Action& action : carried_out) {
    auto* datagram = std::get_if<SendDatagram>(&action);
    if (datagram == nullptr || spare.size() >= Context::kMaxSpareBytes) continue;
    spare.push_back(std::move(datagram->bytes));
  }
  // A list that was once long is not kept for ever.
  if (carried_out.capacity() > kMaxSpareActions) return;
  carried_out.clear();
  parts_->spare_actions = std::move(carried_out);
}

// --- commands ----------------------------------------------------------------------------------

uint64_t Node::join(TimePoint now, const std::vector<Address>& addresses, bool replay) {
  Parts& p = *parts_;
  p.enter(now);
  const uint64_t id = p.next_join++;
  // Only who has never met anybody can be spared the past: others have missed it.
  const bool first = !p.restored && !p.events.ever_joined();
  for (const Address& address : addresses) p.sync.join(address, id, first && !replay);
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

Result<QueryHandle> Node::send_query(TimePoint now, const QueryOptions& query) {
  Parts& p = *parts_;
  p.enter(now);
  auto started = p.queries.start(query);
  if (!started) return tl::unexpected(started.error());
  NodeId origin = p.context.identity.id;
  p.apply(started->record, Heard::kPushed, origin, origin);
  p.tree.publish(started->record, origin);
  p.finish_turn();
  return started->handle;
}

void Node::set_rates(TimePoint now, const Options& options) {
  Parts& p = *parts_;
  p.enter(now);
  Options& own = p.context.options;
  own.event_rate = options.event_rate;
  own.event_burst = options.event_burst;
  own.event_byte_rate = options.event_byte_rate;
  own.query_rate = options.query_rate;
  own.query_burst = options.query_burst;
  p.rates.set(own, now);
  p.finish_turn();
}

void Node::set_admission(TimePoint now, Admission admitted) {
  parts_->context.admission = std::move(admitted);
  review_members(now);
}

void Node::review_members(TimePoint now) {
  parts_->enter(now);
  parts_->members.review();
  parts_->finish_turn();
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
    if (!listed(*entry)) continue;
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

MemberCounts Node::member_counts() const {
  const Member own = self();
  MemberCounts counts;
  const auto count = [&counts](Status status, bool degraded) {
    ++counts.all;
    if (status == Status::kFailed) ++counts.failed;
    if (status == Status::kLeft) ++counts.left;
    if (degraded) ++counts.degraded;
  };
  count(own.status, own.degraded);
  for (const Entry* entry : parts_->table.all()) {
    if (listed(*entry)) count(entry->status, entry->degraded);
  }
  return counts;
}

size_t Node::up_count() const {
  return parts_->members.up_count();
}

std::optional<Duration> Node::round_trip(const NodeId& id) const {
  const Entry* entry = parts_->table.find(id);
  if (entry == nullptr || !entry->measured()) return std::nullopt;
  return entry->srtt();
}

std::optional<Coordinate> Node::coordinate(std::string_view name) const {
  const Parts& p = *parts_;
  if (p.context.options.disable_coordinates) return std::nullopt;
  if (name == p.context.identity.name) return p.coordinates.own();
  const auto found = member(name);
  const Coordinate* coordinate = found ? p.coordinates.of(found->id) : nullptr;
  return coordinate == nullptr ? std::nullopt : std::optional(*coordinate);
}

std::vector<KnownCoordinate> Node::take_coordinates() {
  return parts_->coordinates.take_changed();
}

std::vector<Route> Node::routes() const {
  return parts_->routes.list();
}

bool Node::probed(const NodeId& id) const {
  const Entry* entry = parts_->table.find(id);
  return entry != nullptr && entry->answered;
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
  sizes.event_bytes = p.events.held_bytes();
  sizes.beyond = p.events.waiting();
  sizes.beyond_bytes = p.events.waiting_bytes();
  sizes.coordinates = p.coordinates.size();
  sizes.fetches = p.payloads.size();
  sizes.outbound_bytes = p.outbox.waiting_bytes();
  return sizes;
}

bool Node::consistent() const {
  return parts_->table.consistent();
}

bool Node::leaving() const {
  return parts_->members.leaving();
}

}  // namespace starling::membership
