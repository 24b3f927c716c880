// SPDX-License-Identifier: Apache-2.0
//
// Names: which of several members that claim one is shown under it. No member can prove that a name
// is its own, so what counts is who had it first, here: a newcomer gets a name that somebody holds
// only when that one is found gone. Members that were together when the second one came agree
// without a word, and whoever joins later is told (docs/protocol.md, "Names").
#include <algorithm>
#include <string>

#include "membership/planted_bug.h"
#include "membership/swim/members.h"

namespace starling::membership {

namespace {

// Of two members that come at nearly the same time others hear in either order: until then the one
// with the later boot gets the name, whoever was heard of first.
constexpr Duration kLately = std::chrono::seconds(2);
constexpr size_t kMaxLately = 64;
// So many members see at once whether somebody is still there, on average.
constexpr double kLookers = 8;

struct Claim {
  int standing;  // see standing_of()
  bool settled;  // it has had the name for a while
  uint32_t epoch;
  NodeId id;
  auto operator<=>(const Claim&) const = default;
};

int standing_of(const Entry& entry) {
  if (entry.up()) return entry.contested ? 1 : 3;
  // It comes before those that claimed its name while it was alive.
  const bool failed_holder = entry.status == Status::kFailed && !entry.displaced;
  return failed_holder && !entry.contested ? 2 : 0;
}

}  // namespace

void Members::settle_name(const std::string& name) {
  if (name.empty() || planted(PlantedBug::kNameClaimedTwice)) return;
  const std::vector<Entry*> claimants = table_.claimants(name);
  const NodeId& self = context_.identity.id;
  std::optional<Claim> best;
  for (const Entry* entry : claimants) {
    const Claim claim{standing_of(*entry), !entry->displaced && !held_lately(entry->id()),
                      entry->incarnation.epoch(), entry->id()};
    if (!best || claim > *best) best = claim;
  }
  if (name == context_.identity.name && !left_) {
    const Claim own{own_contested_ ? 1 : 3, !own_name_taken_ && !held_lately(self),
                    incarnation_.epoch(), self};
    if (!best || own > *best) best = own;
    const bool taken = best->id != self;
    if (taken && !own_contested_ && !conflict_due_.contains(self)) {
      conflict_due_.set(self, context_.now + kConflictPatience);
    }
    if (!taken) conflict_due_.erase(self);
    if (own_name_taken_ && !taken) hold_name(self);
    own_name_taken_ = taken;
  }
  for (Entry* entry : claimants) {
    const bool displaced = entry->id() != best->id;
    if (displaced == entry->displaced) continue;
    entry->displaced = displaced;
    if (displaced) {
      if (entry->up()) conflict_due_.set(entry->id(), context_.now + kConflictPatience);
      continue;
    }
    hold_name(entry->id());
    const bool waited = conflict_due_.contains(entry->id());
    conflict_due_.erase(entry->id());
    if (!waited || !entry->up()) continue;
    announce(entry->shown_up ? MemberChange::kUpdate : MemberChange::kJoin, *entry);
  }
}

void Members::begin_claim(Entry& entry, const proto::MemberRecord& record, Heard how) {
  const bool told = how == Heard::kJoining;  // by somebody who was there when it came
  entry.displaced = told ? record.displaced() : !planted(PlantedBug::kNameClaimedTwice);
  entry.contested = told && record.contested();
  if (told && !entry.displaced && entry.name() == context_.identity.name) own_name_taken_ = true;
}

void Members::end_claim(const Entry& gone) {
  if (gone.displaced) return;
  for (Entry* entry : table_.claimants(gone.name())) entry->contested = false;
  if (gone.name() == context_.identity.name) own_contested_ = false;
}

Entry* Members::holder_of(const std::string& name) {
  for (Entry* entry : table_.claimants(name)) {
    if (!entry->displaced) return entry;
  }
  return nullptr;
}

bool Members::awaits_name(const Entry& entry) {
  if (!entry.replaced()) return false;
  Entry* holder = holder_of(entry.name());
  if (holder != nullptr && holder->up() && probe_soon &&
      context_.random.chance(kLookers / static_cast<double>(up_count()))) {
    probe_soon(holder->id());
  }
  return holder == nullptr || holder->up();
}

void Members::conflict_due(const NodeId& id) {
  const bool own = id == context_.identity.id;
  Entry* entry = own ? nullptr : table_.find(id);
  const bool waits = own ? own_name_taken_ : entry != nullptr && entry->up() && entry->displaced;
  if (!waits) return;
  const std::string& name = own ? context_.identity.name : entry->name();
  const Entry* holder = holder_of(name);
  // Who hears others badly may be the last to hear that the holder is gone.
  const bool unsure = health_.score() > 0;
  if (unsure || (holder != nullptr && holder->status == Status::kSuspect)) {
    conflict_due_.set(id, context_.now + kConflictPatience);
    return;
  }
  if (own) {
    own_contested_ = true;
    report_conflict(id, context_.identity.address, name);
    return;
  }
  entry->contested = true;
  report_conflict(id, entry->address(), name);
  announce(entry->shown_up ? MemberChange::kUpdate : MemberChange::kJoin, *entry);
}

void Members::report_conflict(const NodeId& id, const Address& at, const std::string& name) {
  ++context_.statistics.member_conflicts;
  const Entry* holder = holder_of(name);
  const NodeId held_by = holder != nullptr ? holder->id() : context_.identity.id;
  const Address& held_at = holder != nullptr ? holder->address() : context_.identity.address;
  context_.trace(TraceLevel::kWarn,
                 "member-conflict: node " + id.to_string() + " at " + at.to_string() +
                     " claims the name '" + name + "', which node " + held_by.to_string() + " at " +
                     held_at.to_string() + " holds: it is shown as '" + name + "#" +
                     id.to_string().substr(0, 8) + "'; give one of them another node name");
}

void Members::hold_name(const NodeId& id) {
  if (lately_.size() >= kMaxLately) lately_.pop_front();
  lately_.emplace_back(context_.now, id);
}

bool Members::held_lately(const NodeId& id) const {
  return std::any_of(lately_.begin(), lately_.end(), [&](const auto& held) {
    return held.second == id && context_.now - held.first < kLately;
  });
}

void Members::doubt_address_of(const Entry& newcomer) {
  if (newcomer.address() == context_.identity.address) {
    // We have the port ourselves: nobody else answers there.
    accuse(newcomer.id(), newcomer.incarnation,
           {.accusers = {context_.identity.id}, .refused = true, .self_refused = true});
    return;
  }
  const Entry* old = table_.find_address(newcomer.address(), newcomer.id());
  if (old != nullptr && probe_soon &&
      context_.random.chance(kLookers / static_cast<double>(up_count()))) {
    probe_soon(old->id());
    probe_soon(newcomer.id());
  }
}

}  // namespace starling::membership
