// SPDX-License-Identifier: Apache-2.0
//
// Members and the ground truth about disturbances; checker_messages.cc has events, queries and
// budgets, checker_quiescence.cc what must hold at the end.
#include "test/simulation/checker.h"

#include <algorithm>

#include "membership/limits.h"
#include "test/simulation/checker_violate.h"

namespace starling::simulation {

using membership::Incarnation;
using membership::MemberChange;
using membership::Status;

namespace {

constexpr std::string_view kInvariants[] = {
    // While a run goes on.
    "accuracy",
    "self-alive",
    "incarnation-monotone",
    "owner-raises-incarnation",
    "known-members-only",
    "member-event-order",
    "no-false-leave",
    "left-stays-left",
    "event-once",
    "event-known",
    "event-payload",
    "event-id-unique",
    "lamport-monotone",
    "lamport-order",
    "query-once",
    "query-answers",
    "query-ends-once",
    "query-deadline",
    "packet-size",
    "message-size",
    "message-budget",
    "timer-budget",
    // When the faults have ended.
    "convergence",
    "agreement",
    "completeness",
    "event-delivered",
    "event-in-time",
    "query-complete",
};

}  // namespace

std::span<const std::string_view> invariant_names() {
  return kInvariants;
}

std::string Violation::to_string() const {
  std::string text = time_string(at);
  if (node != kNoNode) text += " node-" + std::to_string(node);
  return text + ": " + invariant + ": " + message;
}

Checker::Checker(World& world, const CheckerOptions& options) : world_(world), options_(options) {
  world_.add_observer(this);
}

std::string Checker::report() const {
  std::string text;
  for (const Violation& violation : violations_) text += violation.to_string() + '\n';
  return text;
}

std::string Checker::name(NodeIndex node) const {
  return node == kNoNode ? "nobody" : "node-" + std::to_string(node);
}

Checker::Watched& Checker::watched(NodeIndex node) {
  if (node >= watched_.size()) watched_.resize(node + 1);
  return watched_[node];
}

void Checker::require(bool holds, const char* invariant, NodeIndex node,
                      const std::string& message) {
  if (!holds) violate(invariant, node, message);
}

// --- ground truth ---

void Checker::process_started(NodeIndex node, bool with_state) {
  const Host& host = world_.host(node);
  Watched& process = watched(node);
  process.boot = host.boot;
  process.seen.clear();
  process.stalled_at = process.stopped_at = kNever;
  if (host.boot > 1) process.disturbed = world_.now();
  if (process.clocks_lost) process.clocks = {};
  process.clocks_lost = false;
  if (!with_state) {
    ++process.line;
    process.clocks = {};
    process.event_ltime = 0;
    process.queries_heard.clear();
  }
  Owner& owner = owners_[host.id];
  owner.node = node;
  owner.highest = std::max(owner.highest, host.node->self().incarnation);
  update_impaired(node);
}

void Checker::process_stopping(NodeIndex node, StopKind kind) {
  const Host& host = world_.host(node);
  Watched& process = watched(node);
  Owner& owner = owners_[host.id];
  owner.highest = std::max(owner.highest, host.node->self().incarnation);
  process.stopped_at = world_.now();
  process.stopped = kind;
  process.clocks_lost = host.disk_full;
  process.stalled_at = kNever;
  process.seen.clear();
}

void Checker::fault(Fault kind, NodeIndex node) {
  switch (kind) {
    case Fault::kPause:
    case Fault::kBlock:
      watched(node).stalled_at = std::min(watched(node).stalled_at, world_.now());
      break;
    case Fault::kResume:
    case Fault::kUnblock: {
      const Host& host = world_.host(node);
      if (host.paused || host.blocked) break;
      Watched& process = watched(node);
      if (world_.now() - process.stalled_at > options_.tolerated_pause) {
        process.disturbed = world_.now();
      }
      process.stalled_at = kNever;
      process.resumed_at = world_.now();
      break;
    }
    case Fault::kSpeed:
    case Fault::kClock:
      update_impaired(node);
      break;
    case Fault::kClockJump:  // takes nothing from the others: it must not be noticed
      break;
    case Fault::kDiskFull:
      break;
    case Fault::kDiskFree:
      watched(node).disk_free_at = world_.now();
      break;
    case Fault::kPartition: {
      end_partition();
      Partition partition;
      for (NodeIndex i = 0; i < world_.size(); ++i) {
        partition.groups.push_back(world_.network().group(i));
      }
      partitions_.push_back(std::move(partition));
      break;
    }
    case Fault::kHeal:
      end_partition();
      break;
    case Fault::kLinks:
      if (node != kNoNode) {
        update_impaired(node);
        break;
      }
      for (NodeIndex each = 0; each < watched_.size(); ++each) update_impaired(each);
      break;
  }
}

void Checker::end_partition() {
  if (!partitions_.empty() && partitions_.back().end == kNever) {
    partitions_.back().end = world_.now();
  }
}

/// Its links are worse than tolerated, now.
bool Checker::bad_links(NodeIndex node) const {
  const Network& network = world_.network();
  const LinkModel& model = network.model();
  const Wire& wire = network.wire(node);
  const auto worst = std::max(wire.ingress_loss, wire.egress_loss);
  const bool slow_spikes = model.spike_delay > options_.tolerated_latency;
  const double lost = 1 - (1 - model.loss) * (1 - worst) * (1 - (slow_spikes ? model.spikes : 0));
  const uint32_t links = std::max(wire.cuts, wire.lossy_links);
  return wire.down || wire.unsteady || lost > options_.tolerated_loss + 1e-9 ||
         links * options_.tolerated_cut_factor > world_.size() ||
         model.extra_latency + wire.extra_latency > options_.tolerated_latency ||
         (wire.bandwidth > 0 && wire.bandwidth < options_.tolerated_bandwidth) ||
         (wire.mtu > 0 && wire.mtu < membership::kMaxPacket);
}

void Checker::update_impaired(NodeIndex node) {
  const Host& host = world_.host(node);
  const bool impaired = bad_links(node) || host.input_cost > options_.tolerated_input_cost ||
                        std::abs(host.clock.skew_ppm()) > options_.tolerated_skew_ppm;
  Watched& process = watched(node);
  if (process.impaired && !impaired) process.disturbed = world_.now();
  process.impaired = impaired;
}

bool Checker::disturbed(NodeIndex node) const {
  const Watched& process = watched_[node];
  if (process.impaired || process.stopped_at != kNever) return true;
  if (process.stalled_at != kNever &&
      world_.now() - process.stalled_at > options_.tolerated_pause) {
    return true;
  }
  return process.disturbed > world_.now() - options_.accuracy_window;
}

bool Checker::undisturbed(NodeIndex a, NodeIndex b) const {
  if (disturbed(a) || disturbed(b)) return false;
  const TimePoint from = world_.now() - options_.accuracy_window;
  return std::none_of(partitions_.begin(), partitions_.end(), [&](const Partition& partition) {
    const auto group = [&](NodeIndex node) {
      return node < partition.groups.size() ? partition.groups[node] : 0;
    };
    return partition.end > from && group(a) != group(b);
  });
}

bool Checker::running_member(const membership::NodeId& id, NodeIndex* node) const {
  const auto owner = owners_.find(id);
  if (owner == owners_.end()) return false;
  *node = owner->second.node;
  const Host& host = world_.host(*node);
  return host.node != nullptr && host.id == id;
}

// --- members ---

void Checker::action(NodeIndex node, const membership::Action& action) {
  if (const auto* datagram_out = std::get_if<membership::SendDatagram>(&action)) {
    datagram(node, *datagram_out);
  } else if (const auto* message = std::get_if<membership::SendStream>(&action)) {
    if (message->bytes.size() > membership::kMaxStreamMessage) {
      violate("message-size", node, "stream message of ", message->bytes.size(), " bytes");
    }
  } else if (const auto* member = std::get_if<membership::MemberEvent>(&action)) {
    member_event(node, *member);
  } else if (const auto* event = std::get_if<membership::UserEventArrived>(&action)) {
    user_event(node, *event);
  } else if (const auto* query = std::get_if<membership::QueryArrived>(&action)) {
    query_arrived(node, *query);
  } else if (const auto* answer = std::get_if<membership::QueryAnswered>(&action)) {
    query_answered(node, *answer);
  } else if (const auto* ended = std::get_if<membership::QueryEnded>(&action)) {
    query_ended(node, *ended);
  } else if (std::holds_alternative<membership::LeaveDone>(action)) {
    if (!world_.host(node).leaving) violate("self-alive", node, "leaves, which nobody asked for");
  }
}

void Checker::query_arrived(NodeIndex node, const membership::QueryArrived& query) {
  Watched& process = watched(node);
  auto& [line, boot] = process.queries_heard[query.id];
  if (line == process.line || boot == process.boot) {
    violate("query-once", node, "heard twice: ", query.id.to_string());
  }
  line = disk_full(node) ? 0 : process.line;
  boot = process.boot;
}

void Checker::force_left(NodeIndex /*by*/, std::string_view name) {
  force_left_.emplace(name);
}

void Checker::member_event(NodeIndex node, const membership::MemberEvent& event) {
  auto& seen_by = watched(node).seen;
  Seen& seen = seen_by[event.member.id];
  if (event.change == MemberChange::kFailed) check_failed(node, event.member, seen);
  if (event.change == MemberChange::kLeave) {
    check_left(node, event.member);
    seen.left_at = event.member.incarnation;
  }
  check_order(node, event, seen);
  if (event.change == MemberChange::kReap) {
    seen_by.erase(event.member.id);
  } else {
    witness(node, event.member, seen);
  }
}

void Checker::check_failed(NodeIndex node, const membership::Member& member, const Seen& seen) {
  if (seen.left_at.value != 0 && member.incarnation <= seen.left_at) {
    violate("left-stays-left", node, member.name, " failed at ", member.incarnation.value,
            " after it left at ", seen.left_at.value);
  }
  NodeIndex subject = kNoNode;
  if (!running_member(member.id, &subject)) return;
  ++false_failures_;
  if (subject == node) {
    violate("self-alive", node, "declares itself failed");
  } else if (!world_.host(subject).leaving && undisturbed(node, subject)) {
    violate("accuracy", node, "declares ", name(subject), " failed, which was up and reachable");
  }
}

void Checker::check_left(NodeIndex node, const membership::Member& member) {
  NodeIndex subject = kNoNode;
  if (!running_member(member.id, &subject)) return;
  const Host& host = world_.host(subject);
  if (!host.leaving && !force_left_.contains(host.name)) {
    violate("no-false-leave", node, "says that ", name(subject), " left, which did not");
  }
}

void Checker::check_order(NodeIndex node, const membership::MemberEvent& event, Seen& seen) {
  const Phase before = seen.phase;
  bool right = true;
  switch (event.change) {
    case MemberChange::kJoin:
      right = before != Phase::kAlive;
      seen.phase = Phase::kAlive;
      break;
    case MemberChange::kUpdate:
      right = before == Phase::kAlive;
      break;
    case MemberChange::kFailed:
      right = before == Phase::kAlive;
      seen.phase = Phase::kFailed;
      break;
    case MemberChange::kLeave:
      right = before == Phase::kAlive || before == Phase::kFailed;
      seen.phase = Phase::kLeft;
      break;
    case MemberChange::kReap:
      right = before == Phase::kFailed || before == Phase::kLeft;
      break;
  }
  if (!right) {
    static constexpr const char* kPhases[] = {"unknown", "alive", "failed", "left"};
    violate("member-event-order", node, membership::member_change_name(event.change), " about ",
            event.member.name, ", which was ", kPhases[static_cast<size_t>(before)]);
  }
}

/// A member's version and status as one process shows it: they only rise, and only by its owner.
void Checker::witness(NodeIndex node, const membership::Member& member, Seen& seen) {
  if (member.incarnation < seen.incarnation ||
      (member.incarnation == seen.incarnation && member.status < seen.status)) {
    violate("incarnation-monotone", node, member.name, " went from ", seen.incarnation.value, ' ',
            membership::status_name(seen.status), " back to ", member.incarnation.value, ' ',
            membership::status_name(member.status));
  }
  seen.incarnation = member.incarnation;
  seen.status = member.status;
  const auto owner = owners_.find(member.id);
  if (owner == owners_.end()) {
    violate("known-members-only", node, "shows ", member.id.to_string(), ", which never existed");
    return;
  }
  if (member.incarnation <= owner->second.highest) return;
  NodeIndex subject = kNoNode;
  if (running_member(member.id, &subject)) {
    owner->second.highest =
        std::max(owner->second.highest, world_.node(subject).self().incarnation);
  }
  if (member.incarnation > owner->second.highest) {
    violate("owner-raises-incarnation", node, member.name, " at ", member.incarnation.value,
            ", its owner never went beyond ", owner->second.highest.value);
  }
}

void Checker::sweep(NodeIndex node) {
  const membership::Node& process = world_.node(node);
  Watched& watching = watched(node);
  for (const membership::Member& member : process.members()) {
    if (member.id == process.identity().id) {
      if (!world_.host(node).leaving && member.status != Status::kAlive) {
        violate("self-alive", node, "shows itself as ", membership::status_name(member.status));
      }
    }
    const auto seen = watching.seen.find(member.id);
    if (seen != watching.seen.end()) witness(node, member, seen->second);
  }
  const membership::Clocks clocks = process.clocks();
  if (clocks.member < watching.clocks.member || clocks.event < watching.clocks.event ||
      clocks.query < watching.clocks.query) {
    violate("lamport-monotone", node, "a Lamport clock went back");
  }
  watching.clocks = clocks;
  check_timers(node);
}

}  // namespace starling::simulation
