// SPDX-License-Identifier: Apache-2.0
//
// What processes say of members, and what they hold.
#include <algorithm>
#include <cstdlib>

#include "membership/limits.h"
#include "test/simulation/checker.h"
#include "test/simulation/checker_violate.h"

namespace starling::simulation {

using membership::Incarnation;
using membership::MemberChange;
using membership::MemberState;
using membership::Status;

namespace {

/// Clusters smaller than this have nobody to confirm a suspicion.
constexpr size_t kConfirmFrom = 4;
constexpr size_t kSmall = 50;
constexpr size_t kProbesAtOnce = 64;
constexpr size_t kRelaysMax = 1024;
/// Probes out of turn that may come between.
constexpr size_t kProbeSlack = 10;
/// Clocks of a process are read to the nanosecond, but not both at once.
constexpr Duration kClockSlack = 1us;

uint32_t milliseconds(TimePoint time) {
  return static_cast<uint32_t>((time - kStart) / 1ms);
}

}  // namespace

Checker::Seen& Checker::seen_at(NodeIndex node, uint32_t number) {
  std::vector<Seen>& seen = watched(node).seen;
  if (number >= seen.size()) seen.resize(std::max<size_t>(number + 1, owners_.size()));
  return seen[number];
}

void Checker::force_left(NodeIndex /*by*/, std::string_view name) {
  force_left_.emplace(name);
}

// --- member events ---

void Checker::member_event(NodeIndex node, const membership::MemberEvent& event) {
  const std::optional<uint32_t> number = number_of(event.member.id);
  if (!number) {
    violate("known-members-only", node, "shows ", event.member.id.to_string(),
            ", which never existed");
    return;
  }
  Owner& owner = owners_[*number];
  if (watched(node).probed == owner.node) watched(node).probed = kNoNode;
  Seen nothing;
  Seen& seen = options_.pairs ? seen_at(node, *number) : nothing;
  const bool failed = event.change == MemberChange::kFailed;
  const bool left = event.change == MemberChange::kLeave;
  if (failed) {
    check_failed(node, event, seen);
    check_evidence(node, event);
  }
  if (left) check_left(node, event.member);
  if (failed || left) {
    seen.gone = event.member.incarnation;
    seen.gone_left = left;
  }
  if (event.change != MemberChange::kReap) {
    count_change(owner, left ? 2 : failed ? 1 : 0, event.member.incarnation);
  }
  const MemberState state{event.member.id, event.member.incarnation, event.member.status};
  if (options_.pairs) check_order(node, event, seen);
  if (options_.pairs && event.change != MemberChange::kReap) witness(node, state, seen);
  if (!options_.pairs) check_owner(node, state, owner);
}

void Checker::check_failed(NodeIndex node, const membership::MemberEvent& event, const Seen& seen) {
  const membership::Member& member = event.member;
  if (seen.gone_left && member.incarnation <= seen.gone) {
    violate("left-stays-left", node, member.name, " failed at ", member.incarnation.value,
            " after it left at ", seen.gone.value);
  }
  NodeIndex subject = kNoNode;
  if (!running_member(member.id, &subject)) return;
  ++false_failures_;
  if (subject == node) {
    violate("self-alive", node, "declares itself failed");
    return;
  }
  // Who is blocked now hears nobody, and nobody hears what it says.
  if (world_.host(subject).leaving || world_.host(node).blocked) return;
  if (undisturbed(node, subject)) {
    violate("accuracy", node, "declares ", name(subject), " failed, which was up and reachable");
  }
}

/// A failure is declared on evidence, and leaves the member time to refute.
void Checker::check_evidence(NodeIndex node, const membership::MemberEvent& event) {
  const Host& host = world_.host(node);
  const membership::FailureEvidence& evidence = event.evidence;
  const bool confirmed = evidence.confirmations > 0 || evidence.declared || evidence.refused ||
                         evidence.isolated || host.node->up_count() < kConfirmFrom;
  if (!confirmed) {
    violate("failure-confirmed", node, "declares ", event.member.name,
            " failed, which nobody has confirmed");
  }
  const Duration least = evidence.refused
                             ? std::min(host.options.suspicion_refused, host.options.suspicion_min)
                             : host.options.suspicion_min;
  const Duration suspected = host.clock.to_local(world_.now()) - evidence.suspected;
  if (suspected + kClockSlack < least) {
    violate("failure-not-early", node, "declares ", event.member.name, " failed after ",
            seconds(suspected), " s of suspicion");
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

/// It was forgotten as failed and lives on at the same version: it could not refute what nobody
/// told it.
bool Checker::lives_on(const membership::Member& member, const Seen& seen) const {
  NodeIndex subject = kNoNode;
  return seen.status == Status::kFailed && member.incarnation == seen.incarnation &&
         running_member(member.id, &subject) &&
         world_.node(subject).self().incarnation == member.incarnation;
}

void Checker::check_order(NodeIndex node, const membership::MemberEvent& event, Seen& seen) {
  const Phase before = seen.phase;
  const bool gone = before == Phase::kFailed || before == Phase::kLeft;
  bool right = true;
  switch (event.change) {
    case MemberChange::kJoin:
      right = before != Phase::kAlive;
      if (before == Phase::kReaped && lives_on(event.member, seen)) {
        seen.incarnation = seen.gone = {};
        seen.status = Status::kAlive;
      }
      if ((gone || before == Phase::kReaped) && event.member.incarnation <= seen.gone) {
        violate("no-resurrection", node, event.member.name, " is back at ",
                event.member.incarnation.value, " and was gone at ", seen.gone.value);
      }
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
      right = gone;
      seen.phase = Phase::kReaped;
      break;
  }
  if (!right) {
    static constexpr const char* kPhases[] = {"unknown", "alive", "failed", "left", "reaped"};
    violate("member-event-order", node, membership::member_change_name(event.change), " about ",
            event.member.name, ", which was ", kPhases[static_cast<size_t>(before)]);
  }
}

/// A member's version and status as one process shows it: they only rise, and only by its owner.
void Checker::witness(NodeIndex node, const MemberState& member, Seen& seen) {
  Owner& owner = owners_[*number_of(member.id)];
  if (member.incarnation < seen.incarnation ||
      (member.incarnation == seen.incarnation && member.status < seen.status)) {
    violate("incarnation-monotone", node, name(owner.node), " went from ", seen.incarnation.value,
            ' ', membership::status_name(seen.status), " back to ", member.incarnation.value, ' ',
            membership::status_name(member.status));
  }
  check_suspect(node, member, seen);
  seen.incarnation = member.incarnation;
  seen.status = member.status;
  check_owner(node, member, owner);
}

void Checker::check_owner(NodeIndex node, const MemberState& member, Owner& owner) {
  if (member.incarnation <= owner.highest) return;
  NodeIndex subject = kNoNode;
  if (running_member(member.id, &subject)) {
    owner.highest = std::max(owner.highest, world_.node(subject).self().incarnation);
  }
  if (member.incarnation > owner.highest) {
    violate("owner-raises-incarnation", node, name(owner.node), " at ", member.incarnation.value,
            ", its owner never went beyond ", owner.highest.value);
  }
}

void Checker::check_suspect(NodeIndex node, const MemberState& member, Seen& seen) {
  if (member.status != Status::kSuspect || member.incarnation > seen.incarnation) {
    seen.suspect_ms = 0;
  }
  if (member.status != Status::kSuspect) return;
  const uint32_t now = milliseconds(world_.now());
  if (seen.suspect_ms == 0) seen.suspect_ms = now;
  const bool excused = disturbed(node) || apart(node, owners_[*number_of(member.id)].node);
  const Duration bound = excused ? options_.suspicion_bound_disturbed : options_.suspicion_bound;
  if (now - seen.suspect_ms > bound / 1ms) {
    violate("suspicion-ends", node, "has suspected ", name(owners_[*number_of(member.id)].node),
            " for ", (now - seen.suspect_ms) / 1000, " s");
    seen.suspect_ms = now;
  }
}

void Checker::count_change(Owner& owner, size_t kind, Incarnation incarnation) {
  if (incarnation <= owner.announced[kind] && incarnation.value != 0) return;
  owner.announced[kind] = incarnation;
  // Before a failure, the suspicion and each confirmation of it went round.
  const unsigned confirmations = world_.options().node.suspicion_confirmations;
  changed(kind == 1 ? 2 + confirmations : 1);
}

// --- what a process holds ---

void Checker::sweep(NodeIndex node) {
  if (world_.host(node).node == nullptr) return;
  check_self(node);
  const Duration interval = options_.look_interval_per_member * static_cast<int64_t>(world_.size());
  Watched& process = watched(node);
  if (options_.pairs && world_.now() >= process.looked + interval) {
    process.looked = world_.now();
    look_at_members(node);
    // In small clusters each time: there it costs nothing.
    const bool thorough =
        world_.size() <= kSmall || ++process.looks >= options_.looks_per_consistency;
    if (thorough) process.looks = 0;
    if (thorough && !world_.node(node).consistent()) {
      violate("indices-consistent", node, "an index or fingerprint differs from the members");
    }
  }
  check_bounds(node);
  check_probes(node);
  check_timers(node);
  settle_bursts(false);
}

void Checker::check_self(NodeIndex node) {
  const membership::Node& process = world_.node(node);
  Watched& watching = watched(node);
  const membership::Member self = process.self();
  if (!world_.host(node).leaving && self.status != Status::kAlive) {
    violate("self-alive", node, "shows itself as ", membership::status_name(self.status));
  }
  const uint64_t raised = self.incarnation.value - watching.own.value;
  if (raised > 0) changed(raised);
  watching.own = self.incarnation;
  // Each refutation outdoes what it answers, so that no accusation is answered twice.
  const uint64_t refutations = process.statistics().refutations;
  const uint64_t counter = self.incarnation.value & UINT32_MAX;
  if (refutations > counter) {
    violate("refutation-once", node, refutations, " refutations, but only ", counter,
            " incarnations");
  }
  const membership::Clocks clocks = process.clocks();
  if (clocks.member < watching.clocks.member || clocks.event < watching.clocks.event ||
      clocks.query < watching.clocks.query) {
    violate("lamport-monotone", node, "a Lamport clock went back");
  }
  watching.clocks = clocks;
}

void Checker::check_bounds(NodeIndex node) {
  const membership::Sizes sizes = world_.node(node).sizes();
  const auto bound = [&](const char* what, size_t size, size_t most) {
    if (size > most) violate("memory-bounds", node, "holds ", size, ' ', what, ", at most ", most);
  };
  bound("members", sizes.members, owners_.size());
  bound("suspicions", sizes.suspicions, sizes.members);
  bound("failed members", sizes.failed, sizes.members);
  bound("timers of members", sizes.member_timers, 3 * sizes.members);
  bound("probes", sizes.probes, std::max<size_t>(sizes.members, kProbesAtOnce));
  bound("relayed probes", sizes.relays, kRelaysMax);
  bound("updates to piggyback", sizes.piggybacked, sizes.members);
  bound("unacknowledged hops", sizes.hops, membership::kMaxPendingHops);
  bound("gathered updates", sizes.gathered, membership::kMaxBatched);
  bound("coordinates", sizes.coordinates, owners_.size());
  bound("streams", sizes.streams, membership::kMaxStreams);
  bound("bytes that wait to be sent", sizes.outbound_bytes,
        5 * membership::kMaxOutboundBytes + membership::kMaxBulkBytes);
  bound("events", sizes.events, world_.host(node).options.event_retention_count);
}

void Checker::look_at_members(NodeIndex node) {
  world_.node(node).visit_members([&](const MemberState& member) {
    const std::optional<uint32_t> number = number_of(member.id);
    if (!number) {
      violate("known-members-only", node, "holds ", member.id.to_string(), ", which never existed");
      return;
    }
    Seen& seen = seen_at(node, *number);
    // Of the others users were told nothing: what is known of them may come and go.
    if (seen.phase != Phase::kUnknown && seen.phase != Phase::kReaped) witness(node, member, seen);
  });
}

// --- probes ---

/// One member after the other: it must be probed within the time that round-robin probing takes.
void Checker::check_probes(NodeIndex node) {
  Watched& process = watched(node);
  const membership::Node& core = world_.node(node);
  if (process.probed == kNoNode) return await_probe(node);
  process.probed_among = std::max(process.probed_among, core.up_count());
  process.probed_health = std::max(process.probed_health, core.local_health());
  const NodeIndex subject = process.probed;
  if (disturbed(node) || !world_.running(subject)) {
    process.probed = kNoNode;
    return;
  }
  const auto rounds = static_cast<int64_t>(2 * process.probed_among + kProbeSlack);
  const Duration bound = world_.host(node).options.probe_interval * rounds *
                         static_cast<int64_t>(1 + process.probed_health);
  if (world_.now() - process.probed_since <= bound + bound / 10) return;
  violate("probe-coverage", node, "has not probed ", name(subject), " since ",
          time_string(process.probed_since), ", with ", process.probed_among, " members");
  process.probed = kNoNode;
}

void Checker::await_probe(NodeIndex node) {
  Watched& process = watched(node);
  if (disturbed(node) || world_.size() < 2) return;
  const auto subject = static_cast<NodeIndex>(random_.below(world_.size()));
  const Host& host = world_.host(subject);
  if (subject == node || host.node == nullptr) return;
  const auto shown = world_.node(node).member(host.name);
  const bool alive = shown && shown->id == host.id && shown->address == host.address &&
                     shown->status == Status::kAlive;
  if (!alive) return;
  process.probed = subject;
  process.probed_since = world_.now();
  process.probed_among = world_.node(node).up_count();
  process.probed_health = world_.node(node).local_health();
}

}  // namespace starling::simulation
