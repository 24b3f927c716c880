// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for membership::Node with a protocol of three words, linked in its place by
// world_test: the world's own mechanics are tested without the real protocol's behaviour. Joining
// says "hello" over a stream and hears "welcome"; an event goes to everybody known in one
// datagram; a "tick" goes to all every 100 ms and is counted as a probe, a refusal as a failed one.
// Some names make it misbehave, for the checker: "inconsistent", "hoarder", "refuter", "twin".
#include <algorithm>

#include "membership/node.h"

namespace starling::membership {

struct Node::Parts {
  Parts(const Options& o, Identity i) : options(o), identity(std::move(i)) {}
  Options options;
  Identity identity;
  TimePoint tick;
  Actions actions;
  std::vector<Address> known;
  std::map<StreamId, Address> opening;
  uint64_t sequence = 0;
  StreamId next_stream = 1;
  bool leaving = false;
  Statistics statistics;
  Clocks clocks;
  uint64_t restored_events = 0;

  void know(const Address& address) {
    if (std::find(known.begin(), known.end(), address) == known.end()) known.push_back(address);
  }
};

namespace {
constexpr Duration kTick = 100ms;

void arrive(Actions& actions, const MessageId& id, LamportTime ltime, std::string_view payload) {
  actions.push_back(UserEventArrived{.id = id,
                                     .ltime = ltime,
                                     .name = "event",
                                     .payload = std::string(payload),
                                     .coalesce = false,
                                     .timing = EventTiming::kLive,
                                     .record = std::string(payload)});
  actions.push_back(SaveProgress{id.origin, id.epoch, id.sequence, {}});
}
}  // namespace

Node::Node(const Options& options, Identity identity, Random /*random*/, TimePoint now,
           Restored restored, std::shared_ptr<DescriptionPool> /*descriptions*/)
    : parts_(std::make_unique<Parts>(options, std::move(identity))) {
  parts_->tick = now + kTick;
  if (parts_->identity.name == "refuter") parts_->statistics.refutations = 1;
  parts_->clocks = {restored.member_ltime, restored.event_ltime, restored.query_ltime};
  parts_->statistics.events_accepted = restored.events.size();
  for (const auto& member : restored.members) parts_->know(member.address);
}
Node::~Node() = default;

void Node::receive_datagram(TimePoint /*now*/, const Address& from, std::string_view bytes) {
  ++parts_->statistics.packets_received;
  parts_->know(from);
  if (bytes.starts_with("event ")) {
    MessageId id;
    std::memcpy(id.origin.bytes.data(), bytes.data() + 6, NodeId::kSize);
    id.epoch = 1;
    id.sequence = static_cast<uint8_t>(bytes[6 + NodeId::kSize]);
    arrive(parts_->actions, id, ++parts_->clocks.event, bytes.substr(7 + NodeId::kSize));
  }
}
void Node::datagram_refused(TimePoint /*now*/, const Address& /*peer*/) {
  ++parts_->statistics.probes_failed;
}
void Node::stream_opened(TimePoint /*now*/, StreamId stream) {
  parts_->actions.push_back(SendStream{stream, "hello"});
}
void Node::stream_accepted(TimePoint /*now*/, StreamId /*stream*/, const Address& from) {
  parts_->know(from);
}
void Node::receive_stream(TimePoint /*now*/, StreamId stream, std::string_view bytes) {
  if (bytes == "hello") {
    parts_->actions.push_back(SendStream{stream, "welcome"});
    return;
  }
  parts_->know(parts_->opening[stream]);
  parts_->actions.push_back(JoinTried{1, parts_->opening[stream], true, {}});
  parts_->actions.push_back(CloseStream{stream});
  parts_->opening.erase(stream);
}
void Node::stream_closed(TimePoint /*now*/, StreamId stream, StreamEnd end) {
  const auto it = parts_->opening.find(stream);
  if (it == parts_->opening.end()) return;
  const char* why = end == StreamEnd::kRefused ? "refused" : "unreachable";
  parts_->actions.push_back(JoinTried{1, it->second, false, why});
  parts_->opening.erase(it);
}
void Node::advance(TimePoint now) {
  if (parts_->leaving) {
    parts_->actions.push_back(LeaveDone{});
    return;
  }
  if (now < parts_->tick) return;
  ++parts_->statistics.probes;
  parts_->tick = now + kTick;
  for (const Address& peer : parts_->known) parts_->actions.push_back(SendDatagram{peer, "tick"});
}
TimePoint Node::next_deadline() const {
  return parts_->tick;
}
Actions Node::take_actions() {
  return std::exchange(parts_->actions, {});
}

uint64_t Node::join(TimePoint /*now*/, const std::vector<Address>& addresses, bool /*replay*/) {
  for (const Address& address : addresses) {
    const StreamId stream = parts_->next_stream++;
    parts_->opening[stream] = address;
    parts_->actions.push_back(OpenStream{stream, address, parts_->options.stream_timeout});
  }
  return 1;
}
void Node::leave(TimePoint now) {
  parts_->leaving = true;
  parts_->tick = now;
}
Result<void> Node::force_leave(TimePoint, std::string_view, bool) {
  return {};
}
Result<void> Node::set_tags(TimePoint, std::map<std::string, std::string>) {
  return {};
}
Result<ConfirmHandle> Node::confirm_event(TimePoint, const MessageId& event, Duration) {
  return ConfirmHandle{event, 1};
}
Result<MessageId> Node::send_event(TimePoint, std::string_view, std::string_view payload, bool,
                                   std::string_view) {
  const MessageId id{parts_->identity.id, 1, ++parts_->sequence};
  arrive(parts_->actions, id, ++parts_->clocks.event, payload);
  std::string bytes = "event ";
  bytes += id.origin.wire();
  bytes += static_cast<char>(id.sequence);
  bytes += payload;
  for (const Address& peer : parts_->known) parts_->actions.push_back(SendDatagram{peer, bytes});
  return id;
}
Result<QueryHandle> Node::send_query(TimePoint, const QueryOptions&) {
  return fail(ErrorKind::kInvalid, "the stand-in asks nothing");
}
void Node::cancel_query(TimePoint, const MessageId&) {}
Result<void> Node::answer_query(TimePoint, const MessageId&, Answer) {
  return {};
}

const Identity& Node::identity() const {
  return parts_->identity;
}
const Options& Node::options() const {
  return parts_->options;
}
Member Node::self() const {
  return {.id = parts_->identity.id,
          .name = parts_->identity.name,
          .address = parts_->identity.address,
          .tags = {},
          .incarnation = Incarnation::at(parts_->identity.epoch, 0)};
}
std::vector<Member> Node::members() const {
  if (parts_->identity.name == "twin") return {self(), self()};
  return {self()};
}
std::optional<Member> Node::member(std::string_view name) const {
  if (name != parts_->identity.name) return std::nullopt;
  return self();
}
Sizes Node::sizes() const {
  Sizes sizes;
  sizes.members = 1;
  sizes.events = parts_->identity.name == "hoarder" ? SIZE_MAX : 0;
  return sizes;
}
bool Node::consistent() const {
  return parts_->identity.name != "inconsistent";
}
unsigned Node::local_health() const {
  return 0;
}
void Node::visit_members(const std::function<void(const MemberState&)>& /*visit*/) const {}
size_t Node::up_count() const {
  return 1 + parts_->known.size();
}
Clocks Node::clocks() const {
  return parts_->clocks;
}
const Statistics& Node::statistics() const {
  return parts_->statistics;
}
uint64_t Node::member_fingerprint() const {
  return parts_->known.size();
}
uint64_t Node::event_fingerprint() const {
  return 1;
}
bool Node::leaving() const {
  return parts_->leaving;
}

std::string_view member_change_name(MemberChange /*change*/) {
  return "member-change";
}
std::string_view status_name(Status /*status*/) {
  return "status";
}
std::string_view public_status(Status /*status*/) {
  return "status";
}

}  // namespace starling::membership
