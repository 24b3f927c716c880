// SPDX-License-Identifier: Apache-2.0
//
// Members under suspicion: who accuses them, when they fail, and what keeps them from it
// (docs/protocol.md has the rules in one table).
#include <algorithm>

#include "membership/planted_bug.h"
#include "membership/swim/members.h"

namespace starling::membership {

namespace {

// So many that are no accusers tell a suspect that its time is running out, on average.
constexpr double kTellers = 4;
// Members that this node could not reach for others and of which it remembers as much.
constexpr size_t kMaxUnreached = 64;
// Those that did not accuse a suspect declare it within this many round-trip bounds of each other.
constexpr double kBystanderSpread = 5;

}  // namespace

void Members::accuse(const NodeId& id, Incarnation incarnation, const Accusation& accusation) {
  Entry* entry = table_.find(id);
  if (entry == nullptr || !entry->up() || incarnation < entry->incarnation) return;
  Accusation own = accusation;
  own.first_hand = true;
  if (add_accusation(*entry, incarnation, own)) publish_soon(describe(*entry));
}

bool Members::add_accusation(Entry& entry, Incarnation incarnation, const Accusation& accusation) {
  const auto [place, created] = suspicions_.try_emplace(entry.id());
  Suspicion& suspicion = place->second;
  bool news = created || incarnation > suspicion.incarnation;
  if (created) {
    suspicion.start = context_.now;
    ++context_.statistics.suspicions;
    context_.trace(TraceLevel::kDebug, "suspect " + entry.display_name() + " (" +
                                           entry.address().to_string() + ") has failed");
  }
  suspicion.incarnation = std::max(suspicion.incarnation, incarnation);
  const bool was_alone = suspicion.confirmations() == 0 && !suspicion.declared;
  const size_t enough = context_.options.suspicion_confirmations + 1;
  for (const NodeId& accuser : accusation.accusers) {
    // That we accuse it we know better than anybody who says so.
    const bool own =
        accuser == context_.identity.id && (accusation.first_hand || unreached_lately(entry.id()));
    suspicion.own = suspicion.own || own;
    if (suspicion.accusers.size() >= enough) break;
    if (suspicion.accusers.insert(accuser).second) news = true;
  }
  const auto raise = [&news](bool& flag, bool value) {
    if (!value || flag) return;
    flag = true;
    news = true;
  };
  raise(suspicion.refused, accusation.refused);
  raise(suspicion.self_refused, accusation.self_refused);
  raise(suspicion.declared, accusation.declared);
  // One accuser may reach the suspect badly, and so may what it says. That a second one does not
  // reach it is new: what has passed until now was no time in which it could not be reached.
  const bool confirmed = was_alone && suspicion.confirmations() > 0 && !suspicion.declared;
  if (confirmed && needs_confirmation()) suspicion.start = context_.now;
  const bool saw_first = accusation.first_hand && accusation.refused && !suspicion.saw_refused;
  suspicion.saw_refused = suspicion.saw_refused || saw_first;
  // Declared on evidence that we are not shown, perhaps long ago: nobody need have told it lately.
  const bool hearsay = news && accusation.declared && accusation.accusers.empty();
  if (hearsay) suspicion.not_before = context_.now + context_.options.probe_interval;
  if (entry.status != Status::kSuspect) {
    table_.set_state(entry, Status::kSuspect, entry.incarnation);
    entry.changed = context_.now;
  }
  if (news) piggyback_.add(entry.id(), transmissions());
  if (news || saw_first) arm(entry.id(), suspicion);
  // Declared by others and unsuspected here: we must not rely on them to have told it.
  const bool untold = (created && accusation.declared) || hearsay;
  if (untold && tell_accused && context_.options.guards.buddy) tell_accused(entry.id());
  return news;
}

void Members::unreached(const NodeId& id) {
  if (unreached_.size() >= kMaxUnreached) unreached_.pop_front();
  unreached_.emplace_back(context_.now, id);
}

bool Members::unreached_lately(const NodeId& id) const {
  return std::any_of(unreached_.begin(), unreached_.end(), [&](const auto& tried) {
    return tried.second == id && context_.now - tried.first < context_.options.suspicion_min;
  });
}

void Members::note_refutation(Entry& entry) {
  if (!degraded_.refuted(entry.id(), context_.now)) return;
  entry.degraded = true;
  context_.trace(TraceLevel::kWarn, "member " + entry.display_name() + " (" +
                                        entry.address().to_string() +
                                        ") is degraded: others reach it badly, but not never");
}

void Members::recovered(const NodeId& id) {
  Entry* entry = table_.find(id);
  if (entry == nullptr) return;
  entry->degraded = false;
  context_.trace(TraceLevel::kInfo, "member " + entry->display_name() + " is reached well again");
}

void Members::arm(const NodeId& id, const Suspicion& suspicion) {
  TimePoint due = suspicion.deadline(context_.options, up_count());
  if (suspicion.looked && !suspicion.saw_refused && !suspicion.self_refused) {
    due = std::max(due, suspicion.start + context_.options.suspicion_min);
  }
  if (!suspicion.declared) due += turn(id, suspicion);
  if (planted(PlantedBug::kSuspectWithoutTime)) due = context_.now;
  if (planted(PlantedBug::kForgetSuspicionTimer)) return;
  suspicion_due_.set(id, std::max(due, context_.now));
  // What kept it from answering may be over: a partition healed, a route is back.
  const TimePoint last_words = due - context_.options.probe_interval;
  if (last_words > context_.now && context_.options.guards.buddy) {
    last_words_due_.set(id, last_words);
  } else {
    last_words_due_.erase(id);
  }
}

Duration Members::turn(const NodeId& id, const Suspicion& suspicion) {
  // One accuser declares it and tells everybody. The next ones follow if nothing is heard of the
  // first, in an order that is another one for each suspect; those that only heard of the suspicion
  // come last.
  const uint64_t salt = id.hash();
  const uint64_t own = mix64(context_.identity.id.hash() ^ salt);
  const auto before =
      std::count_if(suspicion.accusers.begin(), suspicion.accusers.end(),
                    [&](const NodeId& accuser) { return mix64(accuser.hash() ^ salt) < own; });
  const Duration step = context_.options.round_trip_max;
  if (suspicion.own) return before * step;
  const auto all = static_cast<Duration::rep>(suspicion.accusers.size());
  return all * step +
         Duration(static_cast<Duration::rep>(context_.random.unit() * kBystanderSpread *
                                             static_cast<double>(step.count())));
}

void Members::last_words(const NodeId& id) {
  const auto found = suspicions_.find(id);
  if (found == suspicions_.end() || !tell_accused) return;
  // Its accusers do it, and a few of the others in case these cannot.
  if (found->second.own || context_.random.chance(kTellers / static_cast<double>(up_count()))) {
    tell_accused(id);
  }
}

bool Members::needs_confirmation() const {
  return context_.options.guards.confirmation && up_count() >= kConfirmFrom;
}

bool Members::may_fail(const Suspicion& suspicion) const {
  if (suspicion.self_refused || planted(PlantedBug::kBelieveOneWord)) return true;
  const bool small = up_count() < kConfirmFrom;
  const bool deaf = context_.options.guards.deaf;
  const Duration silence = deaf ? context_.now - last_heard_ : Duration(0);
  if (!small && silence > context_.options.deaf_after) return isolated();
  if (!needs_confirmation()) return true;
  // Declared elsewhere, on evidence that we were not shown: we want our own.
  return suspicion.confirmations() >= 1 || (suspicion.declared && suspicion.own);
}

bool Members::isolated() const {
  // The fewer the others are, the likelier it is that they have all died.
  const Options& options = context_.options;
  const Duration wait = up_count() < kManyFrom
                            ? std::min(options.suspicion_max, options.isolated_after)
                            : options.isolated_after;
  return context_.now - alone_since_ >= wait;
}

bool Members::spoke_lately(const Suspicion& suspicion) const {
  // Its refutation may have been lost. But one that speaks and never hears must not stay for ever.
  const Options& options = context_.options;
  return suspicion.heard != kNever && context_.now - suspicion.heard < 2 * options.probe_interval &&
         context_.now < suspicion.start + 2 * options.suspicion_min;
}

bool Members::bystander(const Suspicion& suspicion) const {
  return !suspicion.own && !suspicion.declared && up_count() >= kConfirmFrom;
}

bool Members::must_look(const Suspicion& suspicion) const {
  return context_.options.guards.look && suspicion.refused && !suspicion.saw_refused &&
         !suspicion.self_refused && !suspicion.looked &&
         context_.now < suspicion.start + context_.options.suspicion_min;
}

void Members::refused(const Address& peer) {
  std::vector<NodeId> seen;
  for (auto& [id, suspicion] : suspicions_) {
    if (!suspicion.looked || suspicion.saw_refused) continue;
    const Entry* entry = table_.find(id);
    if (entry != nullptr && entry->address() == peer) seen.push_back(id);
  }
  for (const NodeId& id : seen) refused(id);
}

void Members::refused(const NodeId& id) {
  const auto found = suspicions_.find(id);
  if (found == suspicions_.end() || !found->second.looked || found->second.saw_refused) return;
  found->second.saw_refused = true;
  arm(id, found->second);
}

void Members::suspicion_due(const NodeId& id) {
  Entry* entry = table_.find(id);
  const auto found = suspicions_.find(id);
  if (entry == nullptr || found == suspicions_.end()) return;
  if (spoke_lately(found->second)) {
    if (tell_accused) tell_accused(id);
    suspicion_due_.set(id, context_.now + context_.options.probe_interval);
    return;
  }
  if (must_look(found->second)) {
    found->second.looked = true;
    if (look) look(id);
    suspicion_due_.set(id, found->second.start + context_.options.suspicion_min);
    return;
  }
  if (bystander(found->second) && context_.options.guards.confirmation) {
    // Its accusers have not declared it: they are gone, or it is back. We look for ourselves.
    if (probe_soon) probe_soon(id);
    suspicion_due_.set(id, context_.now + 2 * context_.options.probe_interval * health_.factor());
    return;
  }
  if (may_fail(found->second)) {
    fail(*entry);
    return;
  }
  // Nobody has confirmed it, or we hear nobody at all: ask again rather than declare.
  if (context_.now - last_heard_ <= context_.options.deaf_after) {
    const bool declared = found->second.declared;
    if (!declared) publish_soon(describe(*entry));
    if (probe_soon) probe_soon(id);
    suspicion_due_.set(id, context_.now + (declared ? 2 * context_.options.probe_interval
                                                    : context_.options.suspicion_min));
  } else {
    suspicion_due_.set(id, context_.now + context_.options.deaf_after);
  }
}

FailureEvidence Members::evidence_of(const Suspicion& suspicion) const {
  return {.suspected = suspicion.start,
          .confirmations = static_cast<unsigned>(suspicion.confirmations()),
          .refused = suspicion.refused || suspicion.self_refused,
          .declared = suspicion.declared,
          .isolated = isolated()};
}

void Members::believe_failed(Entry& entry, Incarnation incarnation) {
  Suspicion& suspicion = suspicions_[entry.id()];
  suspicion.incarnation = std::max(suspicion.incarnation, incarnation);
  suspicion.declared = true;
  fail(entry);
}

void Members::fail(Entry& entry) {
  const bool was_declared = suspicions_.at(entry.id()).declared;
  const bool ordered = entry.leaving && !planted(PlantedBug::kFailedBeatsLeft);
  if (ordered || planted(PlantedBug::kFailedMeansLeft)) {
    // Before it may be forgotten.
    const NodeId id = entry.id();
    const bool prune = entry.pruned;
    proto::MemberRecord record = full_record(entry);
    record.set_status(proto::MEMBER_LEFT);
    record.set_pruned(prune);
    mark_left(entry, suspicions_.at(id).incarnation, prune);
    if (!prune) piggyback_.add(id, transmissions());
    tree_.publish(encode(record), context_.identity.id);
    return;
  }
  const FailureEvidence evidence = evidence_of(suspicions_.at(entry.id()));
  const bool accuser = suspicions_.at(entry.id()).own;
  suspicions_.at(entry.id()).declared = true;
  ++context_.statistics.failures;
  entry.ltime = context_.member_clock.tick();
  proto::MemberRecord record = describe(entry);
  record.set_status(proto::MEMBER_FAILED);
  Incarnation incarnation = suspicions_.at(entry.id()).incarnation;
  if (planted(PlantedBug::kRaiseForOthers)) incarnation = incarnation.next();
  clear_suspicion(entry);
  conflict_due_.erase(entry.id());
  table_.set_state(entry, Status::kFailed, incarnation);
  entry.changed = context_.now;
  reap_due_.set(entry.id(), context_.now + context_.options.reconnect_timeout);
  // To others it may hold the name: what they are told is that it has failed.
  const bool quiet = entry.replaced();
  settle_name(entry.name());
  if (!quiet) announce(MemberChange::kFailed, entry, evidence);
  piggyback_.add(entry.id(), transmissions());
  // The others know what we know: an accuser saves them their wait, more voices would add nothing.
  // Isolated, there is nobody to tell.
  if (accuser && !was_declared && !evidence.isolated) {
    tree_.publish_soon(encode(record));
  }
}

void Members::clear_suspicion(Entry& entry) {
  suspicions_.erase(entry.id());
  suspicion_due_.erase(entry.id());
  last_words_due_.erase(entry.id());
}

bool Members::heard_from(const NodeId& sender) {
  const Duration silence = context_.now - last_heard_;
  last_heard_ = alone_since_ = context_.now;
  if (!unreached_.empty()) {
    std::erase_if(unreached_, [&](const auto& tried) { return tried.second == sender; });
  }
  if (suspicions_.empty()) return false;
  if (silence > context_.options.deaf_after && context_.options.guards.deaf) forgive(silence);
  const auto found = suspicions_.find(sender);
  if (found == suspicions_.end() || !context_.options.guards.buddy) return false;
  Suspicion& suspicion = found->second;
  suspicion.heard = context_.now;
  const bool just_told =
      suspicion.told != kNever && context_.now - suspicion.told < context_.options.round_trip_max;
  if (just_told) return false;
  suspicion.told = context_.now;
  return true;
}

void Members::forgive(Duration stalled) {
  alone_since_ = std::min(alone_since_ + stalled, context_.now);
  for (auto& [id, suspicion] : suspicions_) {
    suspicion.start = std::min(suspicion.start + stalled, context_.now);
    arm(id, suspicion);
  }
}

}  // namespace starling::membership
