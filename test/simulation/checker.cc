// SPDX-License-Identifier: Apache-2.0
//
// The ground truth about disturbances; checker_members.cc has what is said of members,
// checker_messages.cc events, queries and budgets, checker_quiescence.cc what must hold at the end.
#include "test/simulation/checker.h"

#include <algorithm>
#include <utility>

#include "membership/limits.h"
#include "test/simulation/checker_violate.h"

namespace starling::simulation {

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
    "no-resurrection",
    "failure-confirmed",
    "failure-not-early",
    "suspicion-ends",
    "refutation-once",
    "probe-coverage",
    "indices-consistent",
    "memory-bounds",
    "event-once",
    "event-order",
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
    "name-unique",
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

Checker::Checker(World& world, const CheckerOptions& options)
    : world_(world), options_(options), random_(mix64(world.options().seed ^ 0x636865636b)) {
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

// --- who is who ---

std::optional<uint32_t> Checker::number_of(const membership::NodeId& id) const {
  const auto found = numbers_.find(id);
  if (found == numbers_.end()) return std::nullopt;
  return found->second;
}

Checker::Owner& Checker::owner_of(NodeIndex node) {
  const auto [place, added] =
      numbers_.try_emplace(world_.host(node).id, static_cast<uint32_t>(owners_.size()));
  if (added) owners_.emplace_back().node = node;
  return owners_[place->second];
}

bool Checker::running_member(const membership::NodeId& id, NodeIndex* node) const {
  const std::optional<uint32_t> number = number_of(id);
  if (!number) return false;
  *node = owners_[*number].node;
  const Host& host = world_.host(*node);
  return host.node != nullptr && host.id == id;
}

// --- ground truth ---

void Checker::process_started(NodeIndex node, bool with_state) {
  const Host& host = world_.host(node);
  Watched& process = watched(node);
  process.boot = host.boot;
  process.seen.clear();
  // What was not kept is delivered again, or was skipped.
  if (!with_state || std::exchange(process.events_lost, false)) process.event_lines.clear();
  process.stalled_at = process.stopped_at = kNever;
  if (host.boot > 1) process.disturbed = world_.now();
  // It goes on from what could be kept: while the disk was full, and until something was written
  // again, that is less than it had.
  process.clocks = host.disk.clocks();
  process.event_ltime = std::min(process.event_ltime, process.clocks.event);
  if (!with_state) {
    ++process.line;
    process.clocks = {};
    process.event_ltime = 0;
    process.queries_heard.clear();
  }
  process.own = host.node->self().incarnation;
  process.probed = kNoNode;
  Owner& owner = owner_of(node);
  owner.highest = std::max(owner.highest, process.own);
  update_impaired(node);
}

void Checker::process_stopping(NodeIndex node, StopKind kind) {
  const Host& host = world_.host(node);
  Watched& process = watched(node);
  Owner& owner = owner_of(node);
  owner.highest = std::max(owner.highest, host.node->self().incarnation);
  process.stopped_at = world_.now();
  process.stopped = kind;
  process.stalled_at = kNever;
  process.seen.clear();
}

void Checker::fault(Fault kind, NodeIndex node) {
  if (node != kNoNode) watched(node).probed = kNoNode;  // the wait begins anew
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
      process.stood_from = process.stalled_at;
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
  return !disturbed(a) && !disturbed(b) && !apart(a, b);
}

bool Checker::apart(NodeIndex a, NodeIndex b) const {
  const TimePoint from = world_.now() - options_.accuracy_window;
  return std::any_of(partitions_.begin(), partitions_.end(), [&](const Partition& partition) {
    const auto group = [&](NodeIndex node) {
      return node < partition.groups.size() ? partition.groups[node] : 0;
    };
    return partition.end > from && group(a) != group(b);
  });
}

// --- what a process asks for ---

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
  } else if (const auto* missed = std::get_if<membership::EventsMissed>(&action)) {
    events_missed(node, *missed);
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

}  // namespace starling::simulation
