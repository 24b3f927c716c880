// SPDX-License-Identifier: Apache-2.0
//
// Packets, streams and timers of the model; the probes are in memberlist_probe.cc, what becomes of
// members in memberlist_state.cc.
#include "test/simulation/models/memberlist.h"

#include <algorithm>
#include <utility>

namespace starling::simulation {

namespace {

constexpr uint16_t kFirstPort = 7946;  ///< as address_of

Duration uniform(Random& random, Duration bound) {
  return Duration(static_cast<int64_t>(random.below(static_cast<size_t>(bound.count()))));
}

bool is_state(MemberlistKind kind) {
  return kind == MemberlistKind::kAlive || kind == MemberlistKind::kSuspect ||
         kind == MemberlistKind::kDead;
}

}  // namespace

// memberlist.go, Create and setAlive; state.go, schedule. Tickers start with the process; processes
// that are started at one virtual instant stand for some that were not, so phases are random.
Memberlist::Memberlist(NodeIndex self, uint16_t moves, const MemberlistOptions& options,
                       Random random, TimePoint now)
    : self_(self),
      options_(options),
      random_(random),
      now_(now),
      started_(now),
      awareness_(options.awareness_max_multiplier) {
  nodes_.add({.node = self, .incarnation = 1, .moves = moves, .state = MemberlistState::kAlive},
             random_);
  alive_ = 1;
  broadcast({.kind = MemberlistKind::kAlive, .moves = moves, .incarnation = 1, .node = self});
  probe_phase_ = now + uniform(random_, options_.probe_interval);
  gossip_phase_ = now + uniform(random_, options_.gossip_interval);
  gossip_armed_ = false;
  schedule(probe_phase_, TimerKind::kProbeTick);
  schedule(now + uniform(random_, options_.push_pull_interval), TimerKind::kPushPull);
  if (options_.reconnect_interval > Duration::zero()) {
    schedule(now + options_.reconnect_interval, TimerKind::kReconnect);
  }
  run_timers();
}

void Memberlist::know_all(size_t count) {
  nodes_.reserve(count);
  for (NodeIndex node = 0; node < count; ++node) {
    if (nodes_.find(node) != nullptr) continue;
    nodes_.add({.node = node, .incarnation = 1, .state = MemberlistState::kAlive}, random_);
    ++alive_;
  }
  nodes_.reset(0, random_);
  queue_ = MemberlistQueue();
  std::erase_if(timers_, [](const Timer& timer) { return timer.kind == TimerKind::kPushPull; });
  std::make_heap(timers_.begin(), timers_.end());
  schedule(now_ + uniform(random_, push_pull_scale(options_.push_pull_interval, nodes_.size())),
           TimerKind::kPushPull);
}

// --- packets ---

void Memberlist::send(const Address& to, std::vector<MemberlistMessage> messages, bool with_crc) {
  ++traffic_.datagrams;
  traffic_.datagram_bytes += packet_size(messages) + (with_crc ? kCrcOverhead : 0);
  actions_.emplace_back(membership::SendDatagram{to, encode_packet(messages)});
}

// net.go, sendMsg.
void Memberlist::send_with_broadcasts(const Address& to, const MemberlistMessage& message) {
  std::vector<MemberlistMessage> messages{message};
  add_broadcasts(options_.udp_buffer_size - message_size(message) - kCompoundHeader, &messages);
  send(to, std::move(messages), false);
}

// net.go, ingestPacket, handleCommand and packetHandler.
void Memberlist::receive_datagram(TimePoint now, const Address& from, std::string_view bytes) {
  enter(now);
  run_timers();
  const std::vector<MemberlistMessage> messages = decode_packet(bytes);
  for (const MemberlistMessage& message : messages) {
    if (!is_state(message.kind)) handle_direct(message, from);
  }
  for (const bool alive : {true, false}) {
    for (auto it = messages.rbegin(); it != messages.rend(); ++it) {
      if (is_state(it->kind) && (it->kind == MemberlistKind::kAlive) == alive) handle_state(*it);
    }
  }
  run_timers();
}

void Memberlist::handle_direct(const MemberlistMessage& message, const Address& from) {
  switch (message.kind) {
    case MemberlistKind::kPing:
      // net.go, handlePing.
      if (message.node == self_) {
        send_with_broadcasts(from, {.kind = MemberlistKind::kAck, .sequence = message.sequence});
      }
      break;
    case MemberlistKind::kIndirectPing:
      handle_indirect_ping(message, from);
      break;
    case MemberlistKind::kAck:
      handle_ack(message);
      break;
    case MemberlistKind::kNack:
      // state.go, invokeNackHandler.
      if (probe_ && probe_->sequence == message.sequence) ++probe_->nacks;
      break;
    case MemberlistKind::kUserEvent:
      handle_user_event(message);
      break;
    default:
      break;
  }
}

void Memberlist::handle_state(const MemberlistMessage& message) {
  if (message.kind == MemberlistKind::kAlive) {
    alive_node(message);
  } else if (message.kind == MemberlistKind::kSuspect) {
    suspect_node(message);
  } else {
    dead_node(message);
  }
}

// net.go, handleIndirectPing.
void Memberlist::handle_indirect_ping(const MemberlistMessage& message, const Address& from) {
  const uint32_t sequence = ++sequence_;
  const TimePoint deadline = now_ + options_.probe_timeout;
  relays_[sequence] = {message.sequence, from, message.flag, deadline};
  schedule(deadline, TimerKind::kRelay, sequence);
  send_with_broadcasts(
      address_of(message.node, message.moves),
      {.kind = MemberlistKind::kPing, .sequence = sequence, .node = message.node, .from = self_});
}

// --- gossip ---

void Memberlist::broadcast(const MemberlistMessage& message) {
  queue_.add(message);
  arm_gossip();
}

void Memberlist::arm_gossip() {
  if (gossip_armed_) return;
  // Ticks with nothing to send do nothing, and are left out.
  gossip_armed_ = true;
  schedule(next_tick(gossip_phase_, options_.gossip_interval), TimerKind::kGossipTick);
}

// broadcast.go, getBroadcasts; serf/delegate.go, GetBroadcasts.
void Memberlist::add_broadcasts(size_t limit, std::vector<MemberlistMessage>* messages) {
  const size_t first = messages->size();
  const int transmits = retransmit_limit(options_.retransmit_mult, nodes_.size());
  queue_.take(kCompoundOverhead, limit, transmits, messages);
  if (events_.empty()) return;
  size_t used = 0;
  for (size_t i = first; i < messages->size(); ++i) {
    used += kCompoundOverhead + message_size((*messages)[i]);
  }
  if (used >= limit) return;
  const size_t before = messages->size();
  events_.take(kCompoundOverhead, limit - used, transmits, messages);
  traffic_.user_events += messages->size() - before;
}

bool Memberlist::send_event(TimePoint now, uint64_t sequence, size_t bytes) {
  enter(now);
  run_timers();
  handle_user_event({.kind = MemberlistKind::kUserEvent,
                     .sequence = static_cast<uint32_t>(bytes),
                     .node = static_cast<NodeIndex>(sequence)});
  return true;
}

// serf.go, handleUserEvent: what is new is told to the user and passed on.
void Memberlist::handle_user_event(const MemberlistMessage& message) {
  if (!heard_events_.insert(message.node).second) return;
  membership::UserEventArrived arrived;
  arrived.id.sequence = message.node;
  actions_.emplace_back(std::move(arrived));
  events_.add(message);
  arm_gossip();
}

// state.go, gossip.
void Memberlist::gossip() {
  const uint32_t now = milliseconds();
  const auto dead_for = static_cast<uint32_t>(options_.gossip_to_the_dead / 1ms);
  nodes_.pick(
      options_.gossip_nodes, random_,
      [&](const MemberlistNode& node) {
        if (node.node == self_ || node.state == MemberlistState::kLeft) return false;
        return node.state != MemberlistState::kDead || now - node.changed <= dead_for;
      },
      &picked_);
  if (blocked_ && !picked_.empty()) {
    picked_.resize(gossip_stuck_ ? 0 : 1);
    gossip_stuck_ = true;
  }
  for (const MemberlistNode& node : picked_) {
    std::vector<MemberlistMessage> messages;
    add_broadcasts(options_.udp_buffer_size - kCompoundHeader, &messages);
    if (messages.empty()) break;
    send(address(node), std::move(messages), true);
  }
  gossip_armed_ = !queue_.empty() || !events_.empty();
  if (gossip_armed_) {
    schedule(next_tick(gossip_phase_, options_.gossip_interval), TimerKind::kGossipTick);
  }
}

// --- push-pull ---

// state.go, pushPull.
void Memberlist::push_pull() {
  nodes_.pick(
      1, random_,
      [&](const MemberlistNode& node) {
        return node.node != self_ && node.state == MemberlistState::kAlive;
      },
      &picked_);
  if (picked_.empty()) {
    schedule(now_ + push_pull_scale(options_.push_pull_interval, nodes_.size()),
             TimerKind::kPushPull);
    return;
  }
  push_pull_with(address(picked_[0]), StreamUse::kPushPull, 0);
}

// state.go, pushPullNode.
void Memberlist::push_pull_with(const Address& peer, StreamUse use, uint64_t join) {
  const membership::StreamId stream = ++last_stream_;
  streams_[stream] = {use, peer, join};
  actions_.emplace_back(membership::OpenStream{stream, peer, options_.tcp_timeout});
}

// net.go, sendLocalState.
void Memberlist::send_state(membership::StreamId stream, bool join) {
  std::vector<MemberlistNodeState> states(nodes_.size());
  for (size_t i = 0; i < states.size(); ++i) {
    states[i] = {nodes_[i].node, nodes_[i].incarnation, nodes_[i].moves, nodes_[i].state};
  }
  ++traffic_.stream_messages;
  traffic_.stream_bytes += push_pull_size(states);
  actions_.emplace_back(membership::SendStream{
      stream, encode_push_pull({.kind = MemberlistKind::kPushPull, .flag = join}, states)});
}

// state.go, mergeState: dead ones are suspected, not believed dead.
void Memberlist::merge_state(const std::vector<MemberlistNodeState>& states) {
  for (const MemberlistNodeState& state : states) {
    MemberlistMessage message{
        .moves = state.moves, .incarnation = state.incarnation, .node = state.node, .from = self_};
    if (state.state == MemberlistState::kAlive) {
      message.kind = MemberlistKind::kAlive;
      alive_node(message);
    } else if (state.state == MemberlistState::kLeft) {
      message.kind = MemberlistKind::kDead;
      message.from = state.node;
      dead_node(message);
    } else {
      message.kind = MemberlistKind::kSuspect;
      suspect_node(message);
    }
  }
}

void Memberlist::push_pull_ended(const Stream& stream, bool ok) {
  if (stream.use == StreamUse::kPushPull) {
    schedule(now_ + push_pull_scale(options_.push_pull_interval, nodes_.size()),
             TimerKind::kPushPull);
  } else if (stream.use == StreamUse::kJoin) {
    actions_.emplace_back(
        membership::JoinTried{stream.join, stream.peer, ok, ok ? "" : "no answer"});
  }
}

void Memberlist::stream_opened(TimePoint now, membership::StreamId stream) {
  enter(now);
  run_timers();
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  if (it->second.use != StreamUse::kPing) {
    send_state(stream, it->second.use != StreamUse::kPushPull);
    return;
  }
  if (!probe_ || probe_->stream != stream) return;
  // net.go, sendPingAndWaitForAck.
  const MemberlistMessage ping{.kind = MemberlistKind::kPing,
                               .sequence = probe_->sequence,
                               .node = probe_->target.node,
                               .from = self_};
  ++traffic_.stream_messages;
  traffic_.stream_bytes += message_size(ping);
  actions_.emplace_back(membership::SendStream{stream, encode_packet({ping})});
}

void Memberlist::stream_accepted(TimePoint now, membership::StreamId stream, const Address& from) {
  enter(now);
  run_timers();
  streams_[stream] = {StreamUse::kAccepted, from, 0};
}

// net.go, handleConn, and the callers' sides of it.
void Memberlist::receive_stream(TimePoint now, membership::StreamId stream,
                                std::string_view bytes) {
  enter(now);
  run_timers();
  const auto it = streams_.find(stream);
  if (it == streams_.end() || bytes.size() < sizeof(MemberlistMessage)) return;
  const Stream known = it->second;
  PushPull received = decode_push_pull(bytes);
  if (received.header.kind == MemberlistKind::kPushPull) {
    if (known.use == StreamUse::kAccepted) send_state(stream, received.header.flag);
    merge_state(received.states);
    if (known.use != StreamUse::kAccepted) push_pull_ended(known, true);
  } else if (received.header.kind == MemberlistKind::kPing && received.header.node == self_) {
    const MemberlistMessage ack{
        .kind = MemberlistKind::kAck, .flag = true, .sequence = received.header.sequence};
    ++traffic_.stream_messages;
    traffic_.stream_bytes += message_size(ack);
    actions_.emplace_back(membership::SendStream{stream, encode_packet({ack})});
  } else if (received.header.kind == MemberlistKind::kAck && probe_ && probe_->stream == stream &&
             probe_->sequence == received.header.sequence) {
    probe_->contacted = true;
  }
  actions_.emplace_back(membership::CloseStream{stream});
  streams_.erase(stream);
  run_timers();
}

void Memberlist::stream_closed(TimePoint now, membership::StreamId stream,
                               membership::StreamEnd /*end*/) {
  enter(now);
  run_timers();
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  const Stream known = it->second;
  streams_.erase(it);
  push_pull_ended(known, false);
}

void Memberlist::set_blocked(TimePoint now, bool blocked) {
  enter(now);
  run_timers();
  blocked_ = blocked;
  if (blocked) return;
  gossip_stuck_ = false;
  unblock_probe();
}

// --- join, leave, and Serf ---

// memberlist.go, Join.
void Memberlist::join(TimePoint now, const std::vector<Address>& addresses, bool /*replay*/) {
  enter(now);
  run_timers();
  ++joins_;
  for (const Address& peer : addresses) push_pull_with(peer, StreamUse::kJoin, joins_);
}

// memberlist.go, Leave; serf.go, Leave.
void Memberlist::leave(TimePoint now) {
  enter(now);
  run_timers();
  if (leaving_) return;
  leaving_ = true;
  const MemberlistNode me = *nodes_.find(self_);
  dead_node(
      {.kind = MemberlistKind::kDead, .incarnation = me.incarnation, .node = self_, .from = self_});
  leave_deadline_ = now_ + options_.broadcast_timeout;
  schedule(leave_deadline_, TimerKind::kLeave);
  check_leave();
}

/// The leave has gone out: Serf waits once more for it to spread, then stops.
void Memberlist::check_leave() {
  if (!leaving_ || leave_done_ != kNever) return;
  if (queue_.holds(self_) && alive_ > 0 && now_ < leave_deadline_) return;
  leave_done_ = now_ + options_.leave_propagate_delay;
  schedule(leave_done_, TimerKind::kLeave);
}

// serf.go, reconnect: on average each failed member is tried by one other per interval.
void Memberlist::reconnect() {
  schedule(now_ + options_.reconnect_interval, TimerKind::kReconnect);
  if (failed_.empty()) return;
  const auto failed = static_cast<double>(failed_.size());
  const double chance = failed / std::max(static_cast<double>(alive_), 1.0);
  if (random_.unit() > chance) return;
  auto it = failed_.begin();
  std::advance(it, random_.below(failed_.size()));
  const MemberlistNode* known = nodes_.find(*it);
  push_pull_with(address_of(*it, known == nullptr ? 0 : known->moves), StreamUse::kReconnect, 0);
}

// --- timers ---

uint32_t Memberlist::milliseconds() const {
  return static_cast<uint32_t>((now_ - started_) / 1ms);
}

TimePoint Memberlist::next_tick(TimePoint phase, Duration interval) const {
  if (now_ < phase) return phase;
  return phase + ((now_ - phase) / interval + 1) * interval;
}

void Memberlist::schedule(TimePoint at, TimerKind kind, uint32_t id) {
  timers_.push_back({at, kind, id});
  std::push_heap(timers_.begin(), timers_.end());
}

bool Memberlist::stale(const Timer& timer) const {
  switch (timer.kind) {
    case TimerKind::kProbeTimeout:
    case TimerKind::kProbeDeadline:
      return !probe_ || probe_->sequence != timer.id;
    case TimerKind::kRelay:
      return !relays_.contains(timer.id);
    case TimerKind::kSuspicion: {
      const auto it = suspicions_.find(timer.id);
      return it == suspicions_.end() || it->second.deadline() != timer.at;
    }
    default:
      return false;
  }
}

TimePoint Memberlist::next_deadline() const {
  return timers_.empty() ? kNever : timers_.front().at;
}

void Memberlist::advance(TimePoint now) {
  enter(now);
  run_timers();
}

void Memberlist::run_timers() {
  while (!timers_.empty() && (timers_.front().at <= now_ || stale(timers_.front()))) {
    std::pop_heap(timers_.begin(), timers_.end());
    const Timer timer = timers_.back();
    timers_.pop_back();
    if (!stale(timer)) fire(timer);
  }
}

void Memberlist::fire(const Timer& timer) {
  switch (timer.kind) {
    case TimerKind::kProbeTick:
      schedule(next_tick(probe_phase_, options_.probe_interval), TimerKind::kProbeTick);
      probe_tick();
      break;
    case TimerKind::kGossipTick:
      gossip();
      check_leave();
      break;
    case TimerKind::kPushPull:
      push_pull();
      break;
    case TimerKind::kReconnect:
      reconnect();
      break;
    case TimerKind::kProbeTimeout:
      probe_timed_out();
      break;
    case TimerKind::kProbeDeadline:
      probe_ended();
      break;
    case TimerKind::kRelay: {
      const Relay relay = relays_.at(timer.id);
      relays_.erase(timer.id);
      if (relay.nack) {
        send_with_broadcasts(relay.asker,
                             {.kind = MemberlistKind::kNack, .sequence = relay.sequence});
      }
      break;
    }
    case TimerKind::kSuspicion:
      suspicion_timed_out(timer.id);
      break;
    case TimerKind::kLeave:
      check_leave();
      if (leave_done_ <= now_) {
        leave_done_ = kNever - 1ns;
        actions_.emplace_back(membership::LeaveDone{});
      }
      break;
  }
}

// --- views ---

std::optional<MemberlistNode> Memberlist::member(NodeIndex node) {
  const MemberlistNode* known = nodes_.find(node);
  return known == nullptr ? std::nullopt : std::optional(*known);
}

const Suspicion* Memberlist::suspicion(NodeIndex node) const {
  const auto it = suspicions_.find(node);
  return it == suspicions_.end() ? nullptr : &it->second;
}

MakeProcess make_memberlist(const MemberlistOptions& options, size_t known) {
  return [options, known](NodeIndex node, const membership::Options& /*options*/,
                          const membership::Identity& identity, membership::Random random,
                          TimePoint now, const membership::Restored& /*restored*/) {
    const auto moves = static_cast<uint16_t>(identity.address.port() - kFirstPort);
    auto process = std::make_unique<Memberlist>(node, moves, options, random, now);
    if (known > 0) process->know_all(known);
    return process;
  };
}

}  // namespace starling::simulation
