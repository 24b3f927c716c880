// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/sync.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "membership/limits.h"
#include "membership/planted_bug.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

constexpr size_t kMaxChecks = 4;    // peers whose difference is being watched
constexpr size_t kMaxOwnSyncs = 2;  // opened by us at once, joins not counted
// Of one reply; together they fit a stream message.
constexpr size_t kMaxDigestBytes = 600U << 10;
constexpr size_t kMaxProgressBytes = 256U << 10;
constexpr size_t kMaxWantedEvents = 16'384;  // per exchange; the rest at the next one
constexpr Duration kSnapshotKept = std::chrono::seconds(5);
// A member that has no room for us is tried again after these times, doubling, at random.
constexpr unsigned kJoinTries = 10;
constexpr Duration kJoinRetry = std::chrono::milliseconds(30);
constexpr Duration kLongestBackoff = std::chrono::seconds(30);
constexpr int kPingsPerCheck = 4;
// Probe intervals for which who was away settles differences at once.
constexpr int kHurryProbes = 8;
constexpr size_t kOthersAsked = 2;
constexpr size_t kMaxAgreed = 2 * kMaxMembers;

int rank(proto::MemberStatus status) {
  switch (status) {
    case proto::MEMBER_LEFT:
      return 2;
    case proto::MEMBER_FAILED:
      return 1;
    default:
      return 0;
  }
}

int rank(const Entry& entry) {
  return entry.status == Status::kLeft ? 2 : entry.status == Status::kFailed ? 1 : 0;
}

const char* reason(StreamEnd end) {
  switch (end) {
    case StreamEnd::kRefused:
      return "connection refused: no agent listens there";
    case StreamEnd::kUnreachable:
      return "no answer";
    case StreamEnd::kProtocol:
      return "it does not speak our protocol or has another cluster key";
    case StreamEnd::kClosed:
      return "closed the connection";
  }
  return "closed";
}

}  // namespace

// --- opening -----------------------------------------------------------------------------------

bool Sync::open(const Address& peer, Session session) {
  const auto stream = parts_.streams.open(StreamUse::kSync, peer, context_.options.stream_timeout);
  if (!stream) return false;
  session.peer = peer;
  session.opener = true;
  session.known = parts_.table.up_count();
  session.in_majority = in_majority();
  sessions_.emplace(*stream, std::move(session));
  return true;
}

void Sync::retry_later(Session session) {
  const Duration most = kJoinRetry * (1 << session.tries++);
  const auto wait = static_cast<double>(most.count()) * (0.5 + context_.random.unit() / 2);
  const TimePoint due = context_.now + Duration(static_cast<Duration::rep>(wait));
  retries_.push_back({due, std::move(session)});
}

bool Sync::in_majority() const {
  return std::popcount(agreed_) > 4;
}

void Sync::join(const Address& peer, uint64_t join, bool skip_past) {
  if (peer == context_.identity.address) {
    context_.emit(JoinTried{join, peer, false, "this is the agent's own address"});
    return;
  }
  Session session;
  session.join = join;
  session.newcomer = parts_.table.size() == 0;
  session.skip_past = skip_past;
  if (skip_past) parts_.events.begin_skip();
  if (!open(peer, std::move(session))) could_not_open(join, peer, skip_past);
}

void Sync::could_not_open(uint64_t join, const Address& peer, bool skip_past) {
  context_.emit(JoinTried{join, peer, false, "too many open streams: retry later"});
  if (skip_past && !joining()) parts_.events.end_skip({});
}

void Sync::rejoin(const Address& peer) {
  if (peer == context_.identity.address) return;
  Session session;
  session.newcomer = true;
  open(peer, std::move(session));
}

bool Sync::joining() const {
  return !retries_.empty() ||
         std::any_of(sessions_.begin(), sessions_.end(), [](const auto& session) {
           return session.second.opener && (session.second.newcomer || session.second.join);
         });
}

void Sync::compare(const NodeId& peer, const Address& from, uint64_t members, uint64_t events) {
  const bool equal = members == (parts_.table.fingerprint() ^ parts_.members.own_fingerprint()) &&
                     events == parts_.events.fingerprint();
  if (!snapshot_.empty() && context_.now - snapshot_made_ > kSnapshotKept) {
    snapshot_.clear();
    snapshot_versions_ = {};
  }
  if (events == parts_.events.fingerprint() && parts_.events.held() > 0 &&
      agreed_events_.size() < kMaxAgreed) {
    agreed_events_[peer] = context_.now;
  }
  agreed_ = static_cast<uint8_t>(agreed_ << 1 | (equal ? 1 : 0));
  const auto found = checks_.find(peer);
  if (equal) {
    if (found != checks_.end()) checks_.erase(found);
    backoff_ = Duration(0);
    return;
  }
  if (context_.now < hurry_until_) {
    if (found != checks_.end()) checks_.erase(found);
    open_unless_busy(from);
    return;
  }
  if (found == checks_.end()) {
    if (checks_.size() >= kMaxChecks || context_.now < quiet_until_) return;
    checks_[peer] = Check{from, context_.now + context_.options.sync_after};
    return;
  }
  if (!found->second.pinged && context_.now < found->second.due) return;
  const Address address = found->second.peer;
  checks_.erase(found);
  open_unless_busy(address);
}

void Sync::hurry() {
  hurry_until_ = context_.now + kHurryProbes * context_.options.probe_interval;
  quiet_until_ = context_.now;
  backoff_ = Duration(0);
}

std::optional<TimePoint> Sync::agreed_at(const NodeId& peer) const {
  const auto found = agreed_events_.find(peer);
  if (found == agreed_events_.end()) return std::nullopt;
  return found->second;
}

void Sync::open_unless_busy(const Address& peer) {
  size_t own = 0;
  for (const auto& [stream, session] : sessions_) {
    if (!session.opener || session.join) continue;
    if (++own >= kMaxOwnSyncs || session.peer == peer) return;
  }
  if (parts_.members.leaving()) return;
  ++context_.statistics.syncs;
  open(peer, Session());
}

void Sync::stream_opened(StreamId stream) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) return;
  proto::StreamMessage message;
  proto::SyncRequest& request = *message.mutable_sync_request();
  *request.mutable_self() = parts_.members.own_record();
  request.set_join(found->second.newcomer);
  request.set_introduce(found->second.join.has_value());
  std::array<uint64_t, kBuckets> buckets = parts_.table.bucket_fingerprints();
  buckets[MemberTable::bucket_of(context_.identity.id)] ^= parts_.members.own_fingerprint();
  if (!found->second.newcomer) {
    for (const uint64_t bucket : buckets) request.add_buckets(bucket);
    for (const uint64_t bucket : parts_.events.lines().buckets()) request.add_event_buckets(bucket);
  }
  request.set_member_ltime(context_.member_clock.now());
  request.set_event_ltime(context_.event_clock.now());
  request.set_query_ltime(context_.query_clock.now());
  parts_.streams.send(stream, std::move(message));
}

// --- messages ----------------------------------------------------------------------------------

void Sync::receive(StreamId stream, const proto::StreamMessage& message) {
  if (message.has_sync_request()) {
    on_request(stream, message.sync_request());
    return;
  }
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) {
    parts_.streams.close(stream);
    return;
  }
  if (message.has_sync_reply() && found->second.opener) {
    on_reply(stream, found->second, message.sync_reply());
  } else if (message.has_sync_batch()) {
    on_batch(stream, found->second, message.sync_batch());
  } else {
    ++context_.statistics.malformed_streams;
    finish(stream, false, "sent an unexpected message");
  }
}

void Sync::on_request(StreamId stream, const proto::SyncRequest& request) {
  proto::StreamMessage message;
  proto::SyncReply& reply = *message.mutable_sync_reply();
  if (parts_.members.leaving() ||
      request.buckets_size() != (request.join() ? 0 : static_cast<int>(kBuckets)) ||
      request.event_buckets_size() !=
          (request.join() ? 0 : static_cast<int>(EventLines::kBuckets)) ||
      sessions_.contains(stream)) {
    reply.set_refusal(parts_.members.leaving() ? "is leaving the cluster" : "malformed request");
    parts_.streams.send(stream, std::move(message));
    parts_.streams.close(stream);
    return;
  }
  const Verdict verdict = parts_.members.apply(request.self(), Heard::kSynced);
  if (verdict == Verdict::kForged) {
    reply.set_refusal("refused: the record of this agent is not signed with its node key");
    parts_.streams.send(stream, std::move(message));
    parts_.streams.close(stream);
    return;
  }
  Session& session = sessions_[stream];
  session.newcomer = request.join();
  session.peer_id = NodeId::from_wire(request.self().id()).value_or(NodeId());
  session.known = parts_.table.up_count();
  session.in_majority = in_majority();
  context_.member_clock.witness(request.member_ltime());
  context_.event_clock.witness(request.event_ltime());
  context_.query_clock.witness(request.query_ltime());
  if ((request.join() || request.introduce()) && verdict == Verdict::kFresh) {
    session.news = true;
    parts_.tree.greet(session.peer_id);
    parts_.tree.publish_soon(Members::encode(request.self()));
  } else {
    spread_if_fresh(session, Members::encode(request.self()), verdict);
  }
  *reply.mutable_self() = parts_.members.own_record();
  write_digests(request, reply);
  EventLines::Chosen differing{};
  for (size_t i = 0; i < differing.size(); ++i) {
    differing[i] = request.join() ||
                   request.event_buckets(static_cast<int>(i)) != parts_.events.lines().buckets()[i];
  }
  // What does not fit is left to the next exchange, which may begin elsewhere. Who joins is told
  // all: that fits a message without digests.
  const auto told = parts_.events.lines().write(
      differing, context_.random.below(EventLines::kBuckets),
      request.join() ? kMaxStreamMessage : kMaxProgressBytes, *reply.mutable_events());
  for (size_t i = 0; i < told.size(); ++i) {
    if (told[i]) reply.add_differing_events(static_cast<uint32_t>(i));
  }
  reply.set_member_ltime(context_.member_clock.now());
  reply.set_event_ltime(context_.event_clock.now());
  reply.set_query_ltime(context_.query_clock.now());
  parts_.streams.send(stream, std::move(message));
  if (!request.join()) return;
  ++context_.statistics.full_transfers;
  send_snapshot(stream);
}

void Sync::write_digests(const proto::SyncRequest& request, proto::SyncReply& reply) const {
  std::array<uint64_t, kBuckets> buckets = parts_.table.bucket_fingerprints();
  const uint8_t own_bucket = MemberTable::bucket_of(context_.identity.id);
  buckets[own_bucket] ^= parts_.members.own_fingerprint();
  std::array<bool, kBuckets> differing{};
  for (size_t i = 0; i < kBuckets; ++i) {
    // Who joins is sent everything, and sends all that it has: two clusters may become one.
    differing[i] = request.join() || request.buckets(static_cast<int>(i)) != buckets[i];
    if (differing[i]) reply.add_differing(static_cast<uint32_t>(i));
  }
  if (request.join()) return;
  size_t bytes = 0;
  for (const Entry* entry : parts_.table.all()) {
    if (!differing[MemberTable::bucket_of(entry->id())] || bytes > kMaxDigestBytes) continue;
    proto::MemberDigest& digest = *reply.add_digests();
    digest.set_id(std::string(entry->id().wire()));
    digest.set_incarnation(entry->incarnation.value);
    digest.set_status(entry->status == Status::kLeft     ? proto::MEMBER_LEFT
                      : entry->status == Status::kFailed ? proto::MEMBER_FAILED
                                                         : proto::MEMBER_ALIVE);
    bytes += digest.ByteSizeLong() + 3;
  }
}

void Sync::on_reply(StreamId stream, Session& session, const proto::SyncReply& reply) {
  if (reply.busy() && session.newcomer && session.tries < kJoinTries) {
    retry_later(std::move(session));
    sessions_.erase(stream);
    parts_.streams.close(stream);
    return;
  }
  if (reply.busy()) {
    finish(stream, false, "has too many open streams: retry later");
    return;
  }
  if (!reply.refusal().empty()) {
    finish(stream, false, reply.refusal().substr(0, 200));
    return;
  }
  const Verdict verdict = parts_.members.apply(reply.self(), Heard::kSynced);
  if (verdict == Verdict::kForged) {
    finish(stream, false, "has not signed its record with its node key");
    return;
  }
  context_.member_clock.witness(reply.member_ltime());
  context_.event_clock.witness(reply.event_ltime());
  context_.query_clock.witness(reply.query_ltime());
  session.peer_id = NodeId::from_wire(reply.self().id()).value_or(NodeId());
  take_progress(session, reply);
  std::vector<NodeId> give;
  std::vector<NodeId> want;
  compare_members(session, reply, give, want);
  if (verdict == Verdict::kFresh) session.news = true;
  proto::SyncBatch rest;
  for (const NodeId& id : want) rest.add_want_members(std::string(id.wire()));
  for (const MessageId& id : session.want_events) write_id(id, *rest.add_want_events());
  EventLines::Chosen differing{};
  for (const uint32_t bucket : reply.differing_events()) {
    if (bucket < differing.size()) differing[bucket] = true;
  }
  const auto events = parts_.events.lacking_there(differing, reply.events(), kMaxWantedEvents);
  // Events that are wanted may be held by nobody: what comes of it is news.
  if (!give.empty() || !want.empty() || !events.empty()) session.news = true;
  send_batches(stream, give, events, std::move(rest));
}

void Sync::take_progress(Session& session, const proto::SyncReply& reply) {
  if (planted(PlantedBug::kTakeProgressForEvents)) parts_.events.begin_skip();
  if (session.skip_past || planted(PlantedBug::kTakeProgressForEvents)) {
    parts_.events.end_skip(reply.events());
  }
  hear_origin(session, reply);
  doubt_skipped(session, reply);
  for (const proto::EventProgress& theirs : reply.events()) {
    const bool own =
        theirs.origin() == context_.identity.id.wire() && theirs.epoch() == context_.identity.epoch;
    if (own) continue;  // nobody can have what was not sent yet
    const size_t room = kMaxWantedEvents - session.want_events.size();
    for (const MessageId& id : parts_.events.lines().lacking(theirs, room)) {
      if (!parts_.payloads.offer(id, session.peer_id)) session.want_events.insert(id);
    }
  }
}

bool Sync::is_itself(const Session& session) const {
  const Entry* entry = parts_.table.find(session.peer_id);
  return entry != nullptr && entry->address() == session.peer;
}

const Entry* Sync::running_origin(const EventLine& line) const {
  const Entry* entry = parts_.table.find(line.origin);
  const bool runs = entry != nullptr && entry->up() && entry->incarnation.epoch() == line.epoch;
  return runs ? entry : nullptr;
}

/// How many events there are nobody knows better than their origin; others may lie.
void Sync::hear_origin(const Session& session, const proto::SyncReply& reply) {
  if (!is_itself(session)) return;
  const EventLine line{session.peer_id, Incarnation{reply.self().incarnation()}.epoch()};
  if (running_origin(line) == nullptr) return;
  const auto compared = static_cast<uint32_t>(EventLines::bucket_of(line));
  if (!std::ranges::count(reply.differing_events(), compared)) return;
  uint64_t last = 0;
  for (const proto::EventProgress& theirs : reply.events()) {
    if (theirs.origin() == line.origin.wire() && theirs.epoch() == line.epoch) {
      last = theirs.contiguous();
    }
  }
  parts_.events.origin_says(line, last);
}

/// Whoever this node joined through has told it of more events than others know: one of them is
/// behind, or a liar, and the origin knows which.
void Sync::doubt_skipped(const Session& session, const proto::SyncReply& reply) {
  for (const proto::EventProgress& theirs : reply.events()) {
    const auto origin = NodeId::from_wire(theirs.origin());
    if (!origin || *origin == session.peer_id) continue;
    const EventLine line{*origin, theirs.epoch()};
    const EventLines::Progress* ours = parts_.events.lines().find(line);
    if (ours == nullptr || theirs.contiguous() >= ours->skipped) continue;
    if (const Entry* entry = running_origin(line)) return open_unless_busy(entry->address());
  }
}

void Sync::compare_members(const Session& session, const proto::SyncReply& reply,
                           std::vector<NodeId>& give, std::vector<NodeId>& want) const {
  std::array<bool, kBuckets> differing{};
  for (const uint32_t bucket : reply.differing()) {
    if (bucket < kBuckets) differing[bucket] = true;
  }
  using Version = std::pair<Incarnation, int>;
  std::vector<std::pair<NodeId, Version>> theirs;
  theirs.reserve(static_cast<size_t>(reply.digests_size()));
  for (const proto::MemberDigest& digest : reply.digests()) {
    if (const auto id = NodeId::from_wire(digest.id())) {
      theirs.push_back({*id, {Incarnation{digest.incarnation()}, rank(digest.status())}});
    }
  }
  std::sort(theirs.begin(), theirs.end());
  for (const auto& [id, version] : theirs) {
    if (id == context_.identity.id) {
      const Version ours{parts_.members.incarnation(), 0};
      if (version > ours) want.push_back(id);
      continue;
    }
    const Entry* entry = parts_.table.find(id);
    if (entry == nullptr) {
      if (version.second == 0 || session.newcomer) want.push_back(id);
      continue;
    }
    const Version ours{entry->incarnation, rank(*entry)};
    if (version > ours) want.push_back(id);
    if (version < ours) give.push_back(id);
  }
  const auto peer = NodeId::from_wire(reply.self().id());
  const auto named = [&theirs](const NodeId& id) {
    return std::binary_search(theirs.begin(), theirs.end(), std::pair<NodeId, Version>{id, {}},
                              [](const auto& a, const auto& b) { return a.first < b.first; });
  };
  for (const Entry* entry : parts_.table.all()) {
    if (!differing[MemberTable::bucket_of(entry->id())] || named(entry->id())) continue;
    if (entry->up() && (!peer || entry->id() != *peer)) give.push_back(entry->id());
  }
}

void Sync::on_batch(StreamId stream, Session& session, const proto::SyncBatch& batch) {
  apply_records(session, batch);
  if (session.opener) {
    note_missed(session, batch);
    if (batch.last()) finish(stream, true, {});
    return;
  }
  take_wants(session, batch);
  if (!batch.last()) return;
  proto::SyncBatch rest;
  std::map<std::pair<NodeId, uint32_t>, proto::EventProgress*> missed;
  for (const MessageId& id : session.want_events) {
    if (parts_.events.find(id) || !parts_.events.once_held(id)) continue;
    proto::EventProgress*& line = missed[{id.origin, id.epoch}];
    if (line == nullptr) {
      line = rest.add_missed();
      line->set_origin(std::string(id.origin.wire()));
      line->set_epoch(id.epoch);
    }
    line->add_beyond(id.sequence);
  }
  send_batches(stream, session.want_members,
               {session.want_events.begin(), session.want_events.end()}, std::move(rest));
  sessions_.erase(stream);  // the opener closes the stream
}

void Sync::take_wants(Session& session, const proto::SyncBatch& batch) {
  for (const std::string& wire : batch.want_members()) {
    const auto id = NodeId::from_wire(wire);
    if (id && session.want_members.size() < kMaxMembers) session.want_members.push_back(*id);
  }
  for (const proto::MessageId& wire : batch.want_events()) {
    const auto id = read_id(wire);
    if (id && session.want_events.size() < kMaxWantedEvents) session.want_events.insert(*id);
  }
}

/// What the responder was asked for and did not send.
void Sync::note_missed(Session& session, const proto::SyncBatch& batch) {
  // Who is away just now may hold it too.
  size_t others = parts_.table.up_count() + parts_.table.failed_count();
  if (away) others += away(EventLog::kMissedPeers);
  // A liar has one voice, whatever names it takes.
  const bool itself = is_itself(session);
  const NodeId voice = itself ? session.peer_id : NodeId();
  std::set<NodeId> unsure;
  const auto certain = [&](const MessageId& id) {
    if (running_origin(EventLine::of(id)) == nullptr || (itself && voice == id.origin)) return true;
    unsure.insert(id.origin);
    return false;
  };
  for (const proto::EventProgress& missed : batch.missed()) {
    const auto origin = NodeId::from_wire(missed.origin());
    if (!origin) continue;
    for (const uint64_t sequence : missed.beyond()) {
      const MessageId id{*origin, missed.epoch(), sequence};
      if (session.want_events.erase(id) > 0) {
        parts_.events.dropped(id, voice, others, certain(id));
      }
      session.some_missed = true;
    }
  }
  if (!batch.last()) return;
  for (const MessageId& id : session.want_events) {
    if (certain(id)) parts_.events.never_held(id);
  }
  for (const NodeId& origin : unsure) {
    const Entry* entry = parts_.table.find(origin);
    if (entry != nullptr) open_unless_busy(entry->address());
  }
  if (session.some_missed) ask_others(session);
}

/// Events are given up only when several say that they are gone: that need not take long.
void Sync::ask_others(const Session& session) {
  const auto other = [&](const Entry& entry) {
    return entry.status == Status::kAlive && entry.id() != session.peer_id;
  };
  for (const Entry* entry : parts_.table.random_up(kOthersAsked, context_.random, other)) {
    open_unless_busy(entry->address());
  }
}

// --- the end -----------------------------------------------------------------------------------

void Sync::finish(StreamId stream, bool ok, const std::string& error) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) return;
  const Session session = std::move(found->second);
  sessions_.erase(found);
  parts_.streams.close(stream);
  if (session.join) {
    context_.emit(JoinTried{*session.join, session.peer, ok, error});
  }
  if (session.skip_past && !ok && !joining()) parts_.events.end_skip({});
  if (!session.opener || session.newcomer || session.join) return;
  // A difference that an exchange does not settle is not worth another one at once.
  if (ok && session.news) {
    backoff_ = Duration(0);
  } else {
    backoff_ = std::clamp<Duration>(2 * backoff_, context_.options.sync_after, kLongestBackoff);
    quiet_until_ = context_.now + backoff_;
  }
}

void Sync::stream_closed(StreamId stream, StreamEnd end) {
  finish(stream, false, reason(end));
}

TimePoint Sync::next_deadline() const {
  TimePoint next = kNever;
  for (const auto& [peer, check] : checks_) next = std::min(next, check.due);
  for (const Retry& retry : retries_) next = std::min(next, retry.due);
  return next;
}

void Sync::advance() {
  for (size_t i = 0; i < retries_.size();) {
    if (retries_[i].due > context_.now) {
      ++i;
      continue;
    }
    Session session = std::move(retries_[i].session);
    retries_.erase(retries_.begin() + static_cast<std::ptrdiff_t>(i));
    const auto join = session.join;
    const Address peer = session.peer;
    const bool skip_past = session.skip_past;
    if (!open(peer, std::move(session)) && join) could_not_open(*join, peer, skip_past);
  }
  for (auto check = checks_.begin(); check != checks_.end();) {
    if (context_.now < check->second.due) {
      ++check;
      continue;
    }
    if (check->second.pinged) {
      check = checks_.erase(check);  // no answer: somebody else's ping will show the difference
      continue;
    }
    // Ask for the peer's present fingerprints: the ack carries them.
    proto::Ping ping;
    ping.set_target(std::string(check->first.wire()));
    parts_.outbox.ping(check->second.peer, ping);
    check->second.pinged = true;
    check->second.due = context_.now + kPingsPerCheck * context_.options.round_trip_max;
    ++check;
  }
}

}  // namespace starling::membership
