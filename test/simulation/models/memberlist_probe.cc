// SPDX-License-Identifier: Apache-2.0
//
// The failure detector's probes (state.go, probe and probeNode).
#include "test/simulation/models/memberlist.h"

namespace starling::simulation {

// state.go, triggerFunc: probes run one after another in one goroutine. A tick that comes while one
// is under way waits in the ticker's channel, which holds one.
void Memberlist::probe_tick() {
  if (probe_) {
    probe_pending_ = true;
    return;
  }
  probe();
}

// state.go, probe: the next member in order, at most once around.
void Memberlist::probe() {
  for (size_t checked = 0; checked < nodes_.size();) {
    if (probe_index_ >= nodes_.size()) {
      reset_nodes();
      probe_index_ = 0;
      ++checked;
      continue;
    }
    const MemberlistNode node = nodes_[probe_index_++];
    if (node.node != self_ && !node.dead_or_left()) {
      probe_node(node);
      return;
    }
    ++checked;
  }
}

// state.go, probeNode, up to the wait for the first answer. The interval is stretched by awareness,
// the time-out is not.
void Memberlist::probe_node(const MemberlistNode& target) {
  Probe probe;
  probe.sequence = ++sequence_;
  probe.target = target;
  probe.deadline = now_ + awareness_.scale(options_.probe_interval);
  probe.stuck = blocked_;
  probe_ = probe;
  schedule(now_ + options_.probe_timeout, TimerKind::kProbeTimeout, probe.sequence);
  schedule(probe.deadline, TimerKind::kProbeDeadline, probe.sequence);

  const MemberlistMessage ping{.kind = MemberlistKind::kPing,
                               .sequence = probe.sequence,
                               .node = target.node,
                               .from = self_};
  if (target.state == MemberlistState::kAlive || !options_.buddy) {
    send_with_broadcasts(address(target), ping);
  } else {
    const MemberlistMessage suspect{.kind = MemberlistKind::kSuspect,
                                    .incarnation = target.incarnation,
                                    .node = target.node,
                                    .from = self_};
    send(address(target), {ping, suspect}, true);
  }
}

// state.go, invokeAckHandler; the relay's part is net.go, handleIndirectPing.
void Memberlist::handle_ack(const MemberlistMessage& message) {
  if (probe_ && probe_->sequence == message.sequence) {
    finish_probe(-1);
    return;
  }
  const auto it = relays_.find(message.sequence);
  if (it == relays_.end()) return;
  const Relay relay = it->second;
  relays_.erase(it);
  send_with_broadcasts(relay.asker,
                       {.kind = MemberlistKind::kAck, .flag = true, .sequence = relay.sequence});
}

// state.go, probeNode, HANDLE_REMOTE_FAILURE: asks others, and tries TCP.
void Memberlist::probe_timed_out() {
  Probe& probe = *probe_;
  if (probe.stuck || probe.asked) return;
  if (blocked_) {
    probe.stuck = probe.late = true;
    return;
  }
  probe.asked = true;
  nodes_.pick(
      options_.indirect_checks, random_,
      [&](const MemberlistNode& node) {
        return node.node != self_ && node.node != probe.target.node &&
               node.state == MemberlistState::kAlive;
      },
      &picked_);
  const bool nacks = options_.awareness_max_multiplier > 1;
  const MemberlistMessage request{.kind = MemberlistKind::kIndirectPing,
                                  .flag = nacks,
                                  .moves = probe.target.moves,
                                  .sequence = probe.sequence,
                                  .node = probe.target.node,
                                  .from = self_};
  for (const MemberlistNode& peer : picked_) send_with_broadcasts(address(peer), request);
  probe.expected_nacks = nacks ? static_cast<unsigned>(picked_.size()) : 0;
  if (!options_.tcp_pings) return;
  probe.stream = ++last_stream_;
  streams_[probe.stream] = {StreamUse::kPing, address(probe.target), 0};
  actions_.emplace_back(
      membership::OpenStream{probe.stream, address(probe.target), probe.deadline - now_});
}

// state.go, the end of probeNode: the TCP ping is looked at only now.
void Memberlist::probe_ended() {
  if (!probe_->asked) probe_timed_out();
  const Probe probe = *probe_;
  if (probe.stuck) return;
  if (probe.contacted) {
    finish_probe(-1);
    return;
  }
  int delta = 1;
  if (probe.expected_nacks > 0) {
    delta = probe.nacks < probe.expected_nacks
                ? static_cast<int>(probe.expected_nacks - probe.nacks)
                : 0;
  }
  suspect_node({.kind = MemberlistKind::kSuspect,
                .incarnation = probe.target.incarnation,
                .node = probe.target.node,
                .from = self_});
  finish_probe(delta);
}

// The goroutine goes on from the send at which it stopped. Its deadline has been running; the first
// time-out runs from when the ping is out.
void Memberlist::unblock_probe() {
  if (!probe_ || !probe_->stuck) return;
  probe_->stuck = false;
  if (now_ >= probe_->deadline) {
    probe_ended();
  } else if (probe_->late) {
    probe_timed_out();
  } else {
    schedule(now_ + options_.probe_timeout, TimerKind::kProbeTimeout, probe_->sequence);
  }
}

void Memberlist::finish_probe(int awareness_delta) {
  awareness_.apply(awareness_delta);
  if (probe_->stream != 0 && streams_.erase(probe_->stream) > 0) {
    actions_.emplace_back(membership::CloseStream{probe_->stream});
  }
  probe_.reset();
  if (!probe_pending_) return;
  probe_pending_ = false;
  probe();
}

}  // namespace starling::simulation
