// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/members.h"

#include <algorithm>

#include "membership/limits.h"
#include "membership/planted_bug.h"
#include "membership/wire.h"
#include "proto/support/assert.h"

namespace starling::membership {

namespace {

// The tree carries who joined, left or changed; what it missed rides along a little.
constexpr unsigned kCalmTransmissions = 2;

// Refutations that are made at once, and how long it takes until there may be one more: an agent
// that others reach badly does with less, and a liar cannot make it speak all the time.
constexpr double kRefutationBurst = 10;
constexpr Duration kRefuteEvery = std::chrono::milliseconds(500);

/// Whether an alive record is newer than what is known.
bool supersedes(Incarnation said, Incarnation known) {
  if (planted(PlantedBug::kAcceptOlderAlive)) return true;
  if (planted(PlantedBug::kAliveBeatsFailed) && said == known) return true;
  return said > known;
}

}  // namespace

Members::Members(Context& context, MemberTable& table, BroadcastTree& tree, Piggyback& piggyback,
                 LocalHealth& health)
    : context_(context),
      table_(table),
      tree_(tree),
      piggyback_(piggyback),
      health_(health),
      incarnation_(Incarnation::at(context.identity.epoch, 0)),
      vouching_(context, table.pool()),
      refutations_left_(kRefutationBurst),
      refutations_at_(context.now),
      last_heard_(context.now),
      alone_since_(context.now) {
  STARLING_ASSERT(context.identity.keys != nullptr);
  context.has_member = [&table](const Address& address) {
    return table.find_address(address, NodeId()) != nullptr;
  };
  describe_self();
  hold_name(context.identity.id);
}

void Members::start() {
  own_ltime_ = context_.member_clock.tick();
  context_.emit(MemberEvent{MemberChange::kJoin, self()});
}

// --- merging -----------------------------------------------------------------------------------

Verdict Members::apply(const proto::Record& record, Heard how) {
  proto::MemberRecord member;
  if (!member.ParseFromString(record.payload()) || member.id() != record.key()) {
    return Verdict::kInvalid;
  }
  return apply(member, how);
}

Verdict Members::apply(const proto::MemberRecord& record, Heard how) {
  auto id = NodeId::from_wire(record.id());
  if (!id || !Incarnation{record.incarnation()}.valid()) return Verdict::kInvalid;
  if (planted(PlantedBug::kCopyHalfOfId)) std::fill_n(id->bytes.begin(), sizeof(void*), 0);
  context_.member_clock.witness(record.ltime());
  if (*id == context_.identity.id) return about_self(record);
  if (!context_.admitted(*id, record.name())) {
    ++context_.statistics.unadmitted_records;
    return Verdict::kStale;
  }
  switch (record.status()) {
    case proto::MEMBER_ALIVE:
      return apply_alive(record, *id, how);
    case proto::MEMBER_LEFT:
      return record.owner_left() ? apply_left(record, *id, how)
                                 : apply_force_leave(record, *id, how);
    case proto::MEMBER_LEAVING:
      return apply_leaving(record, *id, how);
    case proto::MEMBER_SUSPECT:
    case proto::MEMBER_FAILED:
      return apply_accusation(record, *id, how);
    default:
      return Verdict::kInvalid;
  }
}

Verdict Members::apply_alive(const proto::MemberRecord& record, const NodeId& id, Heard how) {
  const Incarnation incarnation{record.incarnation()};
  Entry* entry = table_.find(id);
  if (entry != nullptr && !supersedes(incarnation, entry->incarnation)) {
    return incarnation == entry->incarnation ? Verdict::kKnown : Verdict::kStale;
  }
  auto description = read_description(record);
  if (!description || description->left) return Verdict::kInvalid;
  if (const Vouched vouched = vouch(*description); vouched != Vouched::kYes) {
    return verdict_of(vouched);
  }
  description->id = id;
  bool changed = false;
  std::string old_name;
  const std::string new_name = description->name;
  if (entry == nullptr) {
    if (table_.size() + 1 >= kMaxMembers) {
      ++context_.statistics.dropped_members;
      return Verdict::kStale;
    }
    entry = &table_.add(std::move(*description), context_.random);
  } else {
    old_name = entry->name();
    changed = table_.describe(*entry, std::move(*description));
  }
  entry->ltime = record.ltime();
  if (old_name != new_name) begin_claim(*entry, record, how);
  const bool was_up = entry->up();
  // The same process said nothing new but that it is alive: it refuted something.
  const bool refuted = !old_name.empty() && !changed && entry->status != Status::kLeft &&
                       incarnation.epoch() == entry->incarnation.epoch();
  clear_suspicion(*entry);
  table_.set_state(*entry, Status::kAlive, incarnation);
  entry->leaving = entry->pruned = false;
  if (!was_up) {
    entry->changed = context_.now;
    if (!planted(PlantedBug::kForgetReapTimer)) reap_due_.erase(id);
    doubt_address_of(*entry);
  }
  settle_name(entry->name());
  if (old_name != entry->name()) settle_name(old_name);
  const bool joins = !was_up && !entry->shown_up;
  const bool waits = !was_up && awaits_name(*entry);
  if (waits) conflict_due_.set(id, context_.now + kConflictPatience);
  if ((joins && !waits) || planted(PlantedBug::kAnnounceEveryAlive)) {
    announce(MemberChange::kJoin, *entry);
  } else if (!joins && (changed || !was_up)) {
    announce(MemberChange::kUpdate, *entry);
  }
  if (refuted) note_refutation(*entry);
  if (refuted && how != Heard::kJoining) {
    piggyback_.add(id, transmissions());
  } else if (how == Heard::kRode) {
    piggyback_.add(id, kCalmTransmissions);
  }
  return Verdict::kFresh;
}

Verdict Members::apply_left(const proto::MemberRecord& record, const NodeId& id, Heard how) {
  const Incarnation incarnation{record.incarnation()};
  Entry* entry = table_.find(id);
  if (entry == nullptr) {
    if (how == Heard::kJoining && !record.pruned()) learn_gone_member(record, id, Status::kLeft);
    return Verdict::kStale;
  }
  if (incarnation < entry->incarnation) return Verdict::kStale;
  const bool known = entry->status == Status::kLeft && incarnation == entry->incarnation;
  if (known && !record.pruned()) return Verdict::kKnown;
  if (!known) {
    auto description = read_description(record);
    if (!description) return Verdict::kInvalid;
    if (const Vouched vouched = vouch(*description); vouched != Vouched::kYes) {
      return verdict_of(vouched);
    }
    description->id = id;
    const std::string old_name = entry->name();
    table_.describe(*entry, std::move(*description));
    if (old_name != entry->name()) settle_name(old_name);
  }
  entry->ltime = record.ltime();
  mark_left(*entry, incarnation, record.pruned());
  if (!record.pruned() && how == Heard::kRode) piggyback_.add(id, kCalmTransmissions);
  return Verdict::kFresh;
}

Verdict Members::apply_force_leave(const proto::MemberRecord& record, const NodeId& id, Heard how) {
  const Incarnation incarnation{record.incarnation()};
  Entry* entry = table_.find(id);
  if (entry == nullptr) {
    if (how == Heard::kJoining && !record.pruned()) learn_gone_member(record, id, Status::kLeft);
    return Verdict::kStale;
  }
  if (incarnation < entry->incarnation) return Verdict::kStale;
  if (const Verdict verdict = own_word_first(record, *entry, how); verdict != Verdict::kFresh) {
    return verdict;
  }
  if (entry->up() && !planted(PlantedBug::kBelieveForceLeave)) {
    // To us it has not failed: we look, and should it be gone, it has left.
    const bool news = !entry->leaving || (record.pruned() && !entry->pruned);
    entry->leaving = true;
    entry->pruned = entry->pruned || record.pruned();
    if (news && probe_soon) probe_soon(id);
    return news ? Verdict::kFresh : Verdict::kKnown;
  }
  if (entry->status == Status::kLeft && !record.pruned()) return Verdict::kKnown;
  entry->ltime = record.ltime();
  mark_left(*entry, entry->incarnation, record.pruned());
  if (!record.pruned() && how == Heard::kRode) piggyback_.add(id, kCalmTransmissions);
  return Verdict::kFresh;
}

Verdict Members::apply_leaving(const proto::MemberRecord& record, const NodeId& id, Heard how) {
  Entry* entry = table_.find(id);
  if (entry == nullptr || Incarnation{record.incarnation()} < entry->incarnation) {
    return Verdict::kStale;
  }
  if (!entry->up()) return Verdict::kStale;
  if (const Verdict verdict = own_word_first(record, *entry, how); verdict != Verdict::kFresh) {
    return verdict;
  }
  if (entry->leaving) return Verdict::kKnown;
  entry->leaving = true;
  if (probe_soon) probe_soon(id);
  return Verdict::kFresh;
}

Verdict Members::apply_accusation(const proto::MemberRecord& record, const NodeId& id, Heard how) {
  const bool declared = record.status() == proto::MEMBER_FAILED;
  Entry* entry = table_.find(id);
  if (entry == nullptr) {
    if (declared && how == Heard::kJoining) learn_gone_member(record, id, Status::kFailed);
    return Verdict::kStale;
  }
  const Incarnation incarnation{record.incarnation()};
  const bool gone = entry->status == Status::kLeft && !planted(PlantedBug::kFailedBeatsLeft);
  if (incarnation < entry->incarnation || gone) return Verdict::kStale;
  if (entry->status == Status::kFailed) return Verdict::kKnown;
  if (const Verdict verdict = own_word_first(record, *entry, how); verdict != Verdict::kFresh) {
    return verdict;
  }
  if (declared && !context_.options.guards.demotion) {
    believe_failed(*entry, incarnation);
    return Verdict::kFresh;
  }
  Accusation accusation;
  for (const std::string& wire : record.accusers()) {
    const auto accuser = NodeId::from_wire(wire);
    if (accuser && *accuser != id) accusation.accusers.push_back(*accuser);
    if (accusation.accusers.size() > context_.options.suspicion_confirmations) break;
  }
  accusation.refused = record.refused();
  accusation.declared = declared;
  const bool news = add_accusation(*entry, incarnation, accusation);
  if (declared && planted(PlantedBug::kBelieveFailedAtOnce)) fail(*entry);
  return news ? Verdict::kFresh : Verdict::kStale;
}

void Members::learn_gone_member(const proto::MemberRecord& record, const NodeId& id,
                                Status status) {
  auto description = read_description(record);
  if (!description || vouch(*description) != Vouched::kYes) return;
  description->id = id;
  if (table_.size() + 1 >= kMaxMembers) {
    ++context_.statistics.dropped_members;
    return;
  }
  const Duration timeout = status == Status::kLeft ? context_.options.tombstone_timeout
                                                   : context_.options.reconnect_timeout;
  const Duration age = std::chrono::seconds(record.age_s());
  if (age >= timeout) return;
  Entry& entry = table_.add(std::move(*description), context_.random);
  entry.ltime = record.ltime();
  table_.set_state(entry, status, Incarnation{record.incarnation()});
  entry.changed = context_.now - age;
  begin_claim(entry, record, Heard::kJoining);
  reap_due_.set(id, entry.changed + timeout);
  settle_name(entry.name());
}

Verdict Members::about_self(const proto::MemberRecord& record) {
  Incarnation incarnation{record.incarnation()};
  if (incarnation < incarnation_) {
    // Somebody is behind the times: let the present record ride along again. The ways that it took
    // first may have been cut.
    if (record.status() != proto::MEMBER_ALIVE) {
      piggyback_.add(context_.identity.id, transmissions());
      if (answer_accuser) answer_accuser();
    }
    return Verdict::kStale;
  }
  if (incarnation > incarnation_ && !planted(PlantedBug::kBelieveFutureWord)) {
    // Only an earlier process of ours can have said so, or a second one. Nobody else is believed,
    // so there is nothing to refute.
    const auto description = read_description(record);
    if (!description) {
      ++context_.statistics.unproven_records;
      if (fetch) fetch(context_.identity.id);
      return Verdict::kStale;
    }
    if (const Vouched vouched = vouch(*description); vouched != Vouched::kYes) {
      return verdict_of(vouched);
    }
  }
  if (left_) return Verdict::kKnown;
  if (planted(PlantedBug::kIgnoreAccusations)) return Verdict::kKnown;
  if (planted(PlantedBug::kObeyForceLeave)) left_ = record.status() == proto::MEMBER_LEFT;
  if (record.status() == proto::MEMBER_ALIVE && incarnation == incarnation_) {
    return Verdict::kKnown;
  }
  if (record.status() == proto::MEMBER_SUSPECT || record.status() == proto::MEMBER_FAILED) {
    health_.worsen();
  }
  if (may_refute()) {
    refute(incarnation);
    if (answer_accuser) answer_accuser();
  }
  return Verdict::kStale;
}

Vouched Members::vouch(const Description& description) {
  return vouching_.check(description, context_.source());
}

Verdict Members::verdict_of(Vouched vouched) {
  return vouched == Vouched::kForged ? Verdict::kForged : Verdict::kStale;
}

Verdict Members::own_word_first(const proto::MemberRecord& record, Entry& entry, Heard how) {
  const Incarnation incarnation{record.incarnation()};
  if (incarnation == entry.incarnation || planted(PlantedBug::kBelieveFutureWord)) {
    return Verdict::kFresh;
  }
  if (record.name().empty()) {
    ++context_.statistics.unproven_records;
    if (fetch) fetch(entry.id());
    return Verdict::kKnown;
  }
  const NodeId id = entry.id();  // its description is about to be replaced
  if (entry.up()) return apply_alive(record, id, how);
  auto description = read_description(record);
  if (!description) return Verdict::kInvalid;
  if (const Vouched vouched = vouch(*description); vouched != Vouched::kYes) {
    return verdict_of(vouched);
  }
  description->id = id;
  const std::string old_name = entry.name();
  table_.describe(entry, std::move(*description));
  table_.set_state(entry, entry.status, incarnation);
  settle_name(entry.name());
  if (old_name != entry.name()) settle_name(old_name);
  return Verdict::kFresh;
}

bool Members::may_refute() {
  const auto passed = static_cast<double>((context_.now - refutations_at_).count());
  refutations_left_ = std::min(
      kRefutationBurst, refutations_left_ + passed / static_cast<double>(kRefuteEvery.count()));
  refutations_at_ = context_.now;
  if (refutations_left_ >= 1) {
    refutations_left_ -= 1;
    return true;
  }
  if (refute_due_ == kNever) {
    ++context_.statistics.late_refutations;
    refute_due_ = context_.now + kRefuteEvery;
  }
  return false;
}

void Members::describe_self() {
  const Identity& identity = context_.identity;
  own_ = Description{identity.id,
                     identity.name,
                     identity.address,
                     pack_tags(identity.tags),
                     1,
                     1,
                     incarnation_,
                     left_,
                     identity.keys->public_key(),
                     {}};
  own_.signature = identity.keys->sign(signed_text(own_));
}

void Members::refute(Incarnation accused) {
  const Incarnation before = incarnation_;
  incarnation_ = std::max(incarnation_, accused).next();
  if (planted(PlantedBug::kRefuteWithoutRaising)) incarnation_ = before;
  refute_due_ = kNever;
  describe_self();
  ++context_.statistics.refutations;
  context_.trace(TraceLevel::kDebug, "refuting what is said about this node");
  if (degraded_.refuted(context_.identity.id, context_.now)) {
    context_.trace(TraceLevel::kWarn,
                   "others reach this agent badly: it had to refute its own failure " +
                       std::to_string(Degraded::kRefutations) + " times within five minutes");
  }
  publish(own_record(), true);
}

// --- leaving, reaping --------------------------------------------------------------------------

void Members::mark_left(Entry& entry, Incarnation incarnation, bool prune) {
  clear_suspicion(entry);
  conflict_due_.erase(entry.id());
  const Status before = entry.status;
  table_.set_state(entry, Status::kLeft, std::max(incarnation, entry.incarnation));
  entry.leaving = entry.pruned = false;
  entry.changed = context_.now;
  reap_due_.set(entry.id(), context_.now + context_.options.tombstone_timeout);
  const bool quiet = entry.replaced();
  end_claim(entry);
  settle_name(entry.name());
  if (before != Status::kLeft && !quiet) announce(MemberChange::kLeave, entry);
  if (prune) reap(entry.id());
}

void Members::reap(const NodeId& id) {
  Entry* entry = table_.find(id);
  if (entry == nullptr) return;
  reap_due_.erase(id);
  degraded_.forget(id);
  piggyback_.drop(id);
  clear_suspicion(*entry);
  const std::string name = entry->name();
  if (!entry->replaced() && !entry->shown_up) announce(MemberChange::kReap, *entry);
  end_claim(*entry);
  conflict_due_.erase(id);
  table_.erase(id);
  settle_name(name);
}

void Members::review() {
  std::vector<NodeId> refused;
  for (const Entry* entry : table_.all()) {
    if (!context_.admitted(entry->id(), entry->name())) refused.push_back(entry->id());
  }
  for (const NodeId& id : refused) {
    Entry& entry = *table_.find(id);
    mark_left(entry, entry.incarnation, true);
  }
}

void Members::leave() {
  if (left_) return;
  left_ = true;
  refute_due_ = kNever;
  incarnation_ = incarnation_.next();
  describe_self();
  own_ltime_ = context_.member_clock.tick();
  publish(own_record());
}

Result<void> Members::force_leave(std::string_view name, bool prune) {
  Entry* entry = table_.find_name(name);
  if (entry == nullptr) {
    return starling::fail(ErrorKind::kNotFound, "no member is named '" + std::string(name) +
                                                    "': see `starling members` for the names");
  }
  entry->ltime = context_.member_clock.tick();
  if (entry->up()) {
    // It will refute; should it be dead after all, it becomes `left` instead of `failed`.
    entry->leaving = true;
    proto::MemberRecord record = describe(*entry);
    record.set_status(proto::MEMBER_LEAVING);
    tree_.publish(encode(record), context_.identity.id);
    if (probe_soon) probe_soon(entry->id());
    return {};
  }
  proto::MemberRecord record = describe(*entry);
  record.set_status(proto::MEMBER_LEFT);
  record.set_pruned(prune);
  mark_left(*entry, entry->incarnation, prune);
  tree_.publish(encode(record), context_.identity.id);
  return {};
}

void Members::set_tags(std::string_view packed) {
  context_.identity.tags = unpack_tags(packed);
  incarnation_ = incarnation_.next();
  describe_self();
  own_ltime_ = context_.member_clock.tick();
  publish(own_record());
  context_.emit(MemberEvent{MemberChange::kUpdate, self()});
}

// --- out ---------------------------------------------------------------------------------------

void Members::announce(MemberChange change, Entry& entry, const FailureEvidence& evidence) {
  // A member that was gone before we came is listed, but no news to anybody.
  if (change == MemberChange::kJoin) entry.announced = entry.shown_up = true;
  if (!entry.announced) return;
  if (change == MemberChange::kUpdate && !entry.shown_up) return;  // it is back, and waits
  entry.shown_up = change == MemberChange::kJoin || change == MemberChange::kUpdate;
  context_.emit(MemberEvent{change, view(entry), evidence});
}

void Members::publish(const proto::MemberRecord& record, bool refutation) {
  const auto id = NodeId::from_wire(record.id());
  piggyback_.add(*id, transmissions());
  tree_.publish(encode(record), context_.identity.id, refutation);
}

void Members::publish_soon(const proto::MemberRecord& record) {
  piggyback_.add(*NodeId::from_wire(record.id()), transmissions());
  tree_.publish_soon(encode(record));
}

unsigned Members::transmissions() const {
  unsigned digits = 1;
  for (size_t n = up_count(); n >= 10; n /= 10) ++digits;
  return context_.options.retransmit_mult * digits;
}

TimePoint Members::next_deadline() const {
  return std::min({suspicion_due_.next(), last_words_due_.next(), reap_due_.next(),
                   degraded_.next_deadline(), conflict_due_.next(), refute_due_});
}

void Members::advance() {
  while (const auto id = last_words_due_.pop(context_.now)) last_words(*id);
  while (const auto id = suspicion_due_.pop(context_.now)) suspicion_due(*id);
  while (const auto id = reap_due_.pop(context_.now)) reap(*id);
  while (const auto id = conflict_due_.pop(context_.now)) conflict_due(*id);
  if (context_.now >= refute_due_) {
    refutations_left_ = 0;
    refutations_at_ = context_.now;
    refute(incarnation_);
  }
  while (const auto id = degraded_.recovered(context_.now)) recovered(*id);
}

}  // namespace starling::membership
