// SPDX-License-Identifier: Apache-2.0
//
// What becomes of members (state.go: aliveNode, suspectNode, deadNode and what they use).
#include "test/simulation/models/memberlist.h"

namespace starling::simulation {

using membership::MemberChange;

void Memberlist::set_state(MemberlistNode* node, MemberlistState state) {
  const bool was = !node->dead_or_left();
  node->state = state;
  const bool is = !node->dead_or_left();
  if (is && !was) ++alive_;
  if (was && !is) --alive_;
  node->changed = milliseconds();
}

/// Serf's event for it (serf.go, handleNodeJoin and handleNodeLeave).
void Memberlist::notify(const MemberlistNode& node, MemberChange change) {
  if (change == MemberChange::kFailed) {
    failed_.insert(node.node);
  } else {
    failed_.erase(node.node);
  }
  membership::Member member;
  member.id.bytes[0] = 'm';
  for (size_t i = 0; i < 4; ++i) {
    member.id.bytes[12 + i] = static_cast<uint8_t>(node.node >> (8 * (3 - i)));
  }
  member.name = "node-" + std::to_string(node.node);
  member.address = address(node);
  member.incarnation.value = node.incarnation;
  member.status = change == MemberChange::kJoin     ? membership::Status::kAlive
                  : change == MemberChange::kFailed ? membership::Status::kFailed
                                                    : membership::Status::kLeft;
  actions_.emplace_back(membership::MemberEvent{change, std::move(member)});
}

// state.go, refute.
void Memberlist::refute(MemberlistNode* me, uint32_t accused) {
  me->incarnation = std::max(me->incarnation, accused) + 1;
  awareness_.apply(1);
  broadcast({.kind = MemberlistKind::kAlive,
             .moves = me->moves,
             .incarnation = me->incarnation,
             .node = self_});
}

// state.go, aliveNode.
void Memberlist::alive_node(const MemberlistMessage& message) {
  if (leaving_ && message.node == self_) return;
  MemberlistNode* node = nodes_.find(message.node);
  bool updates = false;
  if (node == nullptr) {
    node = nodes_.add({.node = message.node, .changed = milliseconds(), .moves = message.moves},
                      random_);
  } else if (node->moves != message.moves) {
    const bool reclaim =
        options_.dead_node_reclaim > Duration::zero() &&
        std::chrono::milliseconds(milliseconds() - node->changed) > options_.dead_node_reclaim;
    updates =
        node->state == MemberlistState::kLeft || (node->state == MemberlistState::kDead && reclaim);
    if (!updates) return;
  }
  const bool local = message.node == self_;
  if (!local && message.incarnation <= node->incarnation && !updates) return;
  if (local && message.incarnation < node->incarnation) return;
  suspicions_.erase(message.node);

  if (local) {
    if (message.incarnation != node->incarnation) refute(node, message.incarnation);
    return;
  }
  broadcast(message);
  node->incarnation = message.incarnation;
  node->moves = message.moves;
  const bool joined = node->dead_or_left();
  if (node->state != MemberlistState::kAlive) set_state(node, MemberlistState::kAlive);
  if (joined) notify(*node, MemberChange::kJoin);
}

// state.go, suspectNode.
void Memberlist::suspect_node(const MemberlistMessage& message) {
  MemberlistNode* node = nodes_.find(message.node);
  if (node == nullptr || message.incarnation < node->incarnation) return;
  if (const auto it = suspicions_.find(message.node); it != suspicions_.end()) {
    if (it->second.confirm(message.from, now_)) {
      broadcast(message);
      schedule(it->second.deadline(), TimerKind::kSuspicion, message.node);
    }
    return;
  }
  if (node->state != MemberlistState::kAlive) return;
  if (message.node == self_) {
    refute(node, message.incarnation);
    return;
  }
  broadcast(message);
  ++traffic_.suspicions;
  node->incarnation = message.incarnation;
  set_state(node, MemberlistState::kSuspect);

  int k = options_.local_health_suspicion ? options_.suspicion_mult - 2 : 0;
  const size_t n = nodes_.size();
  if (static_cast<int>(n) - 2 < k) k = 0;
  const Duration min = suspicion_timeout(options_.suspicion_mult, n, options_.probe_interval);
  const Duration max = options_.suspicion_max_timeout_mult * min;
  const auto [it, added] =
      suspicions_.emplace(message.node, Suspicion(message.from, k, min, max, now_));
  schedule(it->second.deadline(), TimerKind::kSuspicion, message.node);
}

void Memberlist::suspicion_timed_out(NodeIndex node) {
  const MemberlistNode* known = nodes_.find(node);
  if (known == nullptr || known->state != MemberlistState::kSuspect) {
    suspicions_.erase(node);
    return;
  }
  dead_node({.kind = MemberlistKind::kDead,
             .incarnation = known->incarnation,
             .node = node,
             .from = self_});
}

// state.go, deadNode.
void Memberlist::dead_node(const MemberlistMessage& message) {
  MemberlistNode* node = nodes_.find(message.node);
  if (node == nullptr || message.incarnation < node->incarnation) return;
  suspicions_.erase(message.node);
  if (node->dead_or_left()) return;
  if (message.node == self_ && !leaving_) {
    refute(node, message.incarnation);
    return;
  }
  broadcast(message);
  node->incarnation = message.incarnation;
  const bool left = message.node == message.from;
  set_state(node, left ? MemberlistState::kLeft : MemberlistState::kDead);
  if (message.node != self_) notify(*node, left ? MemberChange::kLeave : MemberChange::kFailed);
}

// state.go, resetNodes and moveDeadNodes.
void Memberlist::reset_nodes() {
  const uint32_t now = milliseconds();
  const auto keep = static_cast<uint32_t>(options_.gossip_to_the_dead / 1ms);
  nodes_.reset(now > keep ? now - keep : 0, random_);
}

}  // namespace starling::simulation
