// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/prober.h"

#include <algorithm>

#include "membership/planted_bug.h"

namespace starling::membership {

namespace {

constexpr size_t kMaxRelays = 1024;
constexpr size_t kMaxSoon = 64;
// Repeated pings, and a helper's, in parts of the round-trip bound (docs/protocol.md).
constexpr double kRepeatAfter = 0.6;
constexpr double kHelperRepeatAfter = 0.35;
constexpr unsigned kRoundTripsPerProbe = 3;
// By all members together, at random times: once only would leave one failed member in three
// untried for a whole reconnect_interval, three times leave one in twenty.
constexpr double kTriesPerReconnectInterval = 3;
// Who has lost everybody asks so many of them at every probe interval: it may be the one that was
// away, and what it missed is to be had as soon as one of them answers.
constexpr size_t kAskedAlone = 3;
// Long enough for two lost packets of a handshake (RFC 6298: 1 s, then 2 s).
constexpr Duration kStreamCheckTimeout = std::chrono::seconds(5);
constexpr int64_t kLongestRoundTripUs = 60'000'000;

Duration part(Duration whole, double share) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(whole.count()) * share));
}

uint32_t milliseconds(Duration duration) {
  return static_cast<uint32_t>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

}  // namespace

Prober::Prober(Context& context, MemberTable& table, Members& members, Outbox& outbox,
               Streams& streams, LocalHealth& health, Routes& routes, Coordinates& coordinates)
    : context_(context),
      table_(table),
      members_(members),
      outbox_(outbox),
      streams_(streams),
      health_(health),
      routes_(routes),
      coordinates_(coordinates) {
  // A random phase, so that a fleet started together does not probe in step.
  next_probe_ = context.now + part(context.options.probe_interval, context.random.unit());
}

// --- own probes --------------------------------------------------------------------------------

Duration Prober::round_trip_bound(const Entry& entry) const {
  const Options& options = context_.options;
  if (!options.guards.adaptive_round_trip) {
    return options.round_trip_max * std::min(health_.factor(), options.local_health_round_trip_max);
  }
  const Duration measured =
      entry.measured() ? entry.srtt() + 4 * entry.rttvar() : options.round_trip_initial;
  return std::clamp(measured, options.round_trip_min, options.round_trip_max) *
         std::min(health_.factor(), options.local_health_round_trip_max);
}

bool Prober::probing(const NodeId& id) const {
  return std::any_of(probes_.begin(), probes_.end(),
                     [&](const auto& probe) { return probe.second.target == id; });
}

void Prober::begin(Entry& target, bool doubted) {
  if (probing(target.id())) return;
  ++context_.statistics.probes;
  const uint32_t sequence = next_sequence_++;
  Probe probe;
  probe.target = target.id();
  probe.address = target.address();
  probe.incarnation = target.incarnation;
  probe.doubted = doubted;
  probe.sent = probe.sent_again = context_.now;
  probe.round_trip = round_trip_bound(target);
  probe.deadline = context_.now + std::max(context_.options.probe_interval * health_.factor(),
                                           kRoundTripsPerProbe * probe.round_trip);
  due_.set(sequence, context_.now + probe.round_trip);
  if (spare_probe_.empty()) {
    probes_.emplace(sequence, std::move(probe));
  } else {
    spare_probe_.key() = sequence;
    spare_probe_.mapped() = std::move(probe);
    probes_.insert(std::move(spare_probe_));
  }
  ping(target.address(), target.id(), sequence);
  check_stream(target);
}

/// Datagrams may pass where streams do not, and nobody would know until one is needed.
void Prober::check_stream(const Entry& target) {
  if (!context_.options.stream_probes) return;
  const StreamCheck check = routes_.check_stream(target.id());
  if (check == StreamCheck::kNone) return;
  const StreamUse use = check == StreamCheck::kConnect ? StreamUse::kCheck : StreamUse::kProbe;
  const auto stream = streams_.open(use, target.address(), kStreamCheckTimeout);
  if (stream) stream_checks_.insert(*stream);
}

void Prober::ping(const Address& to, const NodeId& target, uint32_t sequence) {
  ping_.set_sequence(sequence);
  ping_.mutable_target()->assign(target.wire());  // set_target() would make a string of its own
  outbox_.ping(to, ping_);
  // Who is accused is told first, and can refute within a round trip (Lifeguard's buddy system).
  const Entry* entry = table_.find(target);
  if (entry == nullptr || !context_.options.guards.buddy) return;
  if (entry->status != Status::kAlive) {
    if (auto record = members_.encode(target)) outbox_.record(to, std::move(*record));
  } else if (entry->leaving) {
    outbox_.record(to, Members::order_to_leave(*entry));
  }
}

void Prober::step(uint32_t sequence) {
  const auto found = probes_.find(sequence);
  if (found == probes_.end()) return;
  Probe& probe = found->second;
  if (context_.now >= probe.deadline) {
    conclude(sequence);
    return;
  }
  if (!probe.escalated) {
    escalate(sequence, probe);
    return;
  }
  if (probe.repeats_left > 0) {
    --probe.repeats_left;
    probe.sent_again = context_.now;
    ping(probe.address, probe.target, sequence);
  }
  const TimePoint next =
      probe.repeats_left > 0 ? context_.now + part(probe.round_trip, kRepeatAfter) : probe.deadline;
  due_.set(sequence, std::min(next, probe.deadline));
}

void Prober::escalate(uint32_t sequence, Probe& probe) {
  probe.escalated = true;
  const Options& options = context_.options;
  proto::PingRequest request;
  request.set_sequence(sequence);
  request.set_target(std::string(probe.target.wire()));
  request.set_target_address(probe.address.wire_ip());
  request.set_target_port(probe.address.port());
  request.set_timeout_ms(milliseconds(probe.round_trip));
  const auto helpers =
      table_.random_up(options.indirect_probes, context_.random, [&](const Entry& entry) {
        return entry.id() != probe.target && entry.status == Status::kAlive;
      });
  for (const Entry* helper : helpers) {
    outbox_.ping_request(helper->address(), request);
    probe.asked.push_back({helper->id(), helper->address()});
  }
  probe.helpers = helpers.size();
  probe.repeats_left = options.repeated_pings;
  if (options.stream_probes) {
    const Duration left = std::max<Duration>(probe.deadline - context_.now, probe.round_trip);
    if (const auto stream = streams_.open(StreamUse::kProbe, probe.address, left)) {
      probe.stream = *stream;
      probe.stream_done = false;
      stream_probes_[*stream] = sequence;
    }
  }
  due_.set(sequence, context_.now);  // the first repeated ping goes out with the rest
}

void Prober::succeed(uint32_t sequence) {
  const auto found = probes_.find(sequence);
  if (found == probes_.end()) return;
  if (found->second.stream != 0) {
    streams_.close(found->second.stream);
    stream_probes_.erase(found->second.stream);
  }
  due_.erase(sequence);
  const bool doubted = found->second.doubted;
  spare_probe_ = probes_.extract(found);
  if (doubted) {
    health_.worsen();
  } else {
    health_.improve();
  }
}

void Prober::conclude(uint32_t sequence) {
  const auto found = probes_.find(sequence);
  if (found == probes_.end()) return;
  const Probe probe = std::move(found->second);
  probes_.erase(found);
  due_.erase(sequence);
  if (probe.stream != 0) {
    streams_.close(probe.stream);
    stream_probes_.erase(probe.stream);
  }
  ++context_.statistics.probes_failed;
  routes_.without_direct(sequence, probe.target, ProbeResult::kNothing);
  if (probe.helpers > 0) {
    judge_helpers(probe);
  } else if (!probe.refused) {
    health_.worsen();
  }
  Accusation accusation;
  accusation.accusers.push_back(context_.identity.id);
  if (context_.options.guards.nacks) {
    accusation.accusers.insert(accusation.accusers.end(), probe.nacks.begin(), probe.nacks.end());
  }
  accusation.self_refused = probe.refused && (probe.stream_refused || probe.other);
  const size_t hosts = probe.refusals.size() + (probe.refused ? 1 : 0);
  accusation.refused =
      hosts >= 2 || (accusation.self_refused && members_.up_count() < kConfirmFrom);
  members_.accuse(probe.target, probe.incarnation, accusation);
  // The accused hears of it first.
  if (!context_.options.guards.buddy) return;
  const Entry* accused = table_.find(probe.target);
  if (accused == nullptr || accused->status != Status::kSuspect) return;
  if (auto record = members_.encode(probe.target)) {
    outbox_.record(probe.address, std::move(*record));
  }
}

bool Prober::doubt(const NodeId& id) {
  const Entry* entry = table_.find(id);
  // Who is suspected is looked at already.
  if (entry == nullptr || entry->status != Status::kAlive) return true;
  if (probing(id) || soon_.size() >= kMaxSoon) return false;
  doubted_.insert(id);
  probe_soon(id);
  return true;
}

void Prober::judge_helpers(const Probe& probe) {
  // A helper that does not even answer us is a sign that we are the slow one. But if others do
  // answer, it may have failed together with the target, and its own probe decides what it was.
  const auto answered = [&probe](const Helper& helper) {
    return helper.refused || probe.nacks.contains(helper.id);
  };
  const bool heard = std::ranges::any_of(probe.asked, answered);
  for (const Helper& helper : probe.asked) {
    if (answered(helper)) continue;
    if (!heard || !doubt(helper.id)) health_.worsen();
  }
}

void Prober::conclude_if_refused(uint32_t sequence) {
  const auto found = probes_.find(sequence);
  if (found == probes_.end()) return;
  const Probe& probe = found->second;
  if (probe.refused && probe.escalated && (probe.stream_done || probe.other) &&
      std::ranges::all_of(probe.asked, [&](const Helper& helper) {
        return helper.refused || probe.nacks.contains(helper.id);
      })) {
    conclude(sequence);
  }
}

void Prober::receive_ack(const NodeId& sender, const proto::Ack& ack) {
  const std::string_view target = ack.target().empty() ? sender.wire() : ack.target();
  const auto relayed = relays_.find(ack.sequence());
  if (relayed != relays_.end() && target == relayed->second.target.wire()) {
    proto::Ack forward;
    forward.set_sequence(relayed->second.origin_sequence);
    forward.set_target(std::string(target));
    forward.set_left(ack.left());
    outbox_.ack(relayed->second.origin, forward);
    relay_due_.erase(ack.sequence());
    relays_.erase(relayed);
    return;
  }
  const auto found = probes_.find(ack.sequence());
  if (found == probes_.end()) routes_.late_ack(ack.sequence(), sender);
  if (found == probes_.end() || target != found->second.target.wire()) return;
  if (sender == found->second.target) {
    routes_.direct(sender);
  } else {
    routes_.without_direct(ack.sequence(), found->second.target, ProbeResult::kIndirect);
    routes_.indirect(found->second.target, sender);
  }
  Entry* entry = table_.find(found->second.target);
  if (entry != nullptr && sender == entry->id()) {
    // Only an answer to the one ping that was sent says how long the way is (Karn's rule). But who
    // is farther away than the first wait would never be measured; a bound from above will do at
    // first.
    const Probe& probe = found->second;
    const Duration sample = context_.now - probe.sent;
    if (!probe.escalated) {
      measure(*entry, sample);
      coordinates_.measured(sender, ack, sample);
    } else if (!entry->measured()) {
      measure(*entry, sample);
      entry->round_trip_bound_only = true;
    }
    // What took longer was spent standing still, here or there.
    const Duration since = context_.now - probe.sent_again;
    if (learn_round_trip && since <= context_.options.round_trip_max) {
      learn_round_trip(*entry, since, probe.escalated);
    }
  }
  if (planted(PlantedBug::kPingOnAck)) probe_soon(sender);
  succeed(ack.sequence());
}

void Prober::other_agent(const Address& from, const proto::Nack& nack) {
  if (!context_.options.guards.refused) return;
  const auto relay = relays_.find(nack.sequence());
  if (relay != relays_.end() && from == relay->second.address &&
      nack.target() == relay->second.target.wire()) {
    relay_nack(nack.sequence(), true);
    return;
  }
  const auto id = NodeId::from_wire(nack.target());
  const Entry* entry = id ? table_.find(*id) : nullptr;
  if (entry != nullptr && entry->address() == from) members_.refused(*id);
  const auto found = probes_.find(nack.sequence());
  if (found == probes_.end() || nack.target() != found->second.target.wire()) return;
  Probe& probe = found->second;
  if (from != probe.address) return;
  probe.refused = probe.other = true;
  if (!probe.escalated) escalate(nack.sequence(), probe);
  conclude_if_refused(nack.sequence());
}

void Prober::receive_nack(const Address& from, const NodeId& sender, const proto::Nack& nack) {
  if (nack.other()) return other_agent(from, nack);
  const auto found = probes_.find(nack.sequence());
  if (found == probes_.end() || nack.target() != found->second.target.wire()) return;
  if (found->second.nacks.size() >= found->second.helpers) return;
  found->second.nacks.insert(sender);
  if (nack.refused()) found->second.refusals.insert(sender);
  conclude_if_refused(nack.sequence());
}

void Prober::measure(Entry& entry, Duration sample) {
  // RFC 6298, section 2, in microseconds; 0 means "never measured".
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(sample).count();
  const auto now = static_cast<uint32_t>(std::clamp<int64_t>(micros, 1, kLongestRoundTripUs));
  if (!entry.measured() || entry.round_trip_bound_only) {
    entry.srtt_us = now;
    entry.rttvar_us = now / 2;
    entry.round_trip_bound_only = false;
    return;
  }
  const uint32_t error = entry.srtt_us > now ? entry.srtt_us - now : now - entry.srtt_us;
  entry.rttvar_us = (3 * entry.rttvar_us + error) / 4;
  entry.srtt_us = std::max((7 * entry.srtt_us + now) / 8, 1U);
}

void Prober::refused(const Address& peer) {
  if (!context_.options.guards.refused) return;
  members_.refused(peer);
  std::vector<uint32_t> hit;
  for (auto& [sequence, probe] : probes_) {
    if (probe.address == peer) hit.push_back(sequence);
  }
  for (const uint32_t sequence : hit) {
    Probe& probe = probes_.at(sequence);
    probe.refused = true;
    if (!probe.escalated) escalate(sequence, probe);
    conclude_if_refused(sequence);
  }
  hit.clear();
  std::vector<NodeId> refusing;
  for (auto& [sequence, probe] : probes_) {
    for (Helper& helper : probe.asked) {
      if (helper.address != peer || helper.refused) continue;
      helper.refused = true;
      refusing.push_back(helper.id);
      hit.push_back(sequence);
    }
  }
  for (const NodeId& id : refusing) doubt(id);
  for (const uint32_t sequence : hit) conclude_if_refused(sequence);
  hit.clear();
  for (const auto& [sequence, relay] : relays_) {
    if (relay.address == peer) hit.push_back(sequence);
  }
  for (const uint32_t sequence : hit) relay_nack(sequence, true);
}

// --- over a stream -----------------------------------------------------------------------------

void Prober::stream_opened(StreamId stream) {
  if (stream_checks_.erase(stream) + stream_looks_.erase(stream) > 0) return streams_.close(stream);
  const auto found = stream_probes_.find(stream);
  if (found == stream_probes_.end()) return;
  proto::StreamMessage message;
  message.mutable_ping()->set_sequence(found->second);
  message.mutable_ping()->set_target(std::string(probes_.at(found->second).target.wire()));
  streams_.send(stream, std::move(message));
}

void Prober::stream_ack(const proto::Ack& ack) {
  const auto found = probes_.find(ack.sequence());
  if (found != probes_.end() && ack.target() == found->second.target.wire()) {
    context_.trace(TraceLevel::kDebug, "probe of " + found->second.address.to_string() +
                                           " was answered over a stream but not by datagram");
    routes_.without_direct(ack.sequence(), found->second.target, ProbeResult::kStream);
    succeed(ack.sequence());
  }
}

void Prober::stream_closed(StreamId stream, StreamEnd end) {
  stream_checks_.erase(stream);
  if (const auto look = stream_looks_.extract(stream); !look.empty()) {
    if (end == StreamEnd::kRefused && context_.options.guards.refused) {
      members_.refused(look.mapped());
    }
    return;
  }
  const auto found = stream_probes_.find(stream);
  if (found == stream_probes_.end()) return;
  const uint32_t sequence = found->second;
  stream_probes_.erase(found);
  Probe& probe = probes_.at(sequence);
  probe.stream = 0;
  probe.stream_done = true;
  probe.stream_refused = end == StreamEnd::kRefused && context_.options.guards.refused;
  conclude_if_refused(sequence);
}

// --- for others --------------------------------------------------------------------------------

void Prober::receive_ping(const Address& from, const proto::Ping& ping) {
  if (ping.target() != context_.identity.id.wire()) {
    // Meant for an earlier agent here, or for one that claims to be here.
    proto::Nack nack;
    nack.set_sequence(ping.sequence());
    nack.set_target(ping.target());
    nack.set_other(true);
    outbox_.nack(from, nack);
    return;
  }
  ack_.set_sequence(ping.sequence());
  ack_.set_left(members_.leaving());
  coordinates_.write(ack_);
  outbox_.ack(from, ack_);
}

void Prober::receive_ping_request(const Address& from, const proto::PingRequest& request) {
  const auto target = NodeId::from_wire(request.target());
  const auto address = Address::from_wire(request.target_address(), request.target_port());
  if (!target || !address) return;
  if (relays_.size() >= kMaxRelays) {
    ++context_.statistics.dropped_relays;
    return;
  }
  const Duration timeout =
      std::clamp<Duration>(std::chrono::milliseconds(request.timeout_ms()),
                           std::chrono::milliseconds(1), context_.options.probe_interval * 8);
  const uint32_t sequence = next_sequence_++;
  relays_.emplace(
      sequence, Relay{from, request.sequence(), *target, *address, context_.now + timeout, false});
  relay_due_.set(sequence, context_.now + part(timeout, kHelperRepeatAfter));
  ping(*address, *target, sequence);
}

void Prober::relay_step(uint32_t sequence) {
  const auto found = relays_.find(sequence);
  if (found == relays_.end()) return;
  Relay& relay = found->second;
  if (relay.repeated) {
    relay_nack(sequence, false);
    return;
  }
  relay.repeated = true;
  ping(relay.address, relay.target, sequence);
  relay_due_.set(sequence, relay.nack_at);
}

void Prober::relay_nack(uint32_t sequence, bool refused) {
  const auto found = relays_.find(sequence);
  if (found == relays_.end()) return;
  proto::Nack nack;
  nack.set_sequence(found->second.origin_sequence);
  nack.set_target(std::string(found->second.target.wire()));
  nack.set_refused(refused);
  outbox_.nack(found->second.origin, nack);
  // Where whoever asked says it is may be a lie.
  const Entry* entry = table_.find(found->second.target);
  if (entry != nullptr && entry->address() == found->second.address) {
    members_.unreached(entry->id());
  }
  relay_due_.erase(sequence);
  relays_.erase(found);
}

// --- time --------------------------------------------------------------------------------------

void Prober::probe_soon(const NodeId& id) {
  if (soon_.size() >= kMaxSoon || std::find(soon_.begin(), soon_.end(), id) != soon_.end()) return;
  soon_.push_back(id);
}

void Prober::tell(const NodeId& id) {
  if (const Entry* entry = table_.find(id)) ping(entry->address(), id, next_sequence_++);
}

void Prober::look(const NodeId& id) {
  const Entry* entry = table_.find(id);
  if (entry == nullptr) return;
  ping(entry->address(), id, next_sequence_++);
  if (!context_.options.stream_probes) return;
  const auto stream = streams_.open(StreamUse::kProbe, entry->address(), kStreamCheckTimeout);
  if (stream) stream_looks_.emplace(*stream, entry->address());
}

void Prober::extend_deadlines(Duration by) {
  for (auto& [sequence, probe] : probes_) probe.deadline += by;
}

void Prober::try_failed_member() {
  const size_t failed = table_.failed_count();
  if (failed == 0) return;
  if (table_.up_count() == 0) {
    for (size_t i = 0; i < std::min(failed, kAskedAlone); ++i) {
      tell(table_.failed_at(context_.random.below(failed)));
    }
    return;
  }
  const double per_interval =
      kTriesPerReconnectInterval *
      static_cast<double>((context_.options.probe_interval * health_.factor()).count()) /
      static_cast<double>(context_.options.reconnect_interval.count());
  const double chance =
      static_cast<double>(failed) / static_cast<double>(members_.up_count()) * per_interval;
  if (!context_.random.chance(std::min(chance, 1.0))) return;
  tell(table_.failed_at(context_.random.below(failed)));
}

TimePoint Prober::next_deadline() const {
  TimePoint next = std::min(due_.next(), relay_due_.next());
  if (stopped_) return next;
  if (!soon_.empty()) return context_.now;
  // Alone, there is nobody to probe: do not wake the host for it.
  if (table_.up_count() + table_.failed_count() == 0) return next;
  return std::min(next, next_probe_);
}

void Prober::advance() {
  while (const auto sequence = due_.pop(context_.now)) step(*sequence);
  while (const auto sequence = relay_due_.pop(context_.now)) relay_step(*sequence);
  if (stopped_) return;
  while (!soon_.empty()) {
    const NodeId id = soon_.front();
    soon_.pop_front();
    const bool doubted = doubted_.erase(id) > 0;
    Entry* entry = table_.find(id);
    if (entry != nullptr && entry->up()) begin(*entry, doubted);
  }
  if (context_.now < next_probe_) return;
  // Alone, with nobody to answer, local health does not get better.
  const bool alone = table_.up_count() == 0;
  next_probe_ = context_.now + context_.options.probe_interval * (alone ? 1 : health_.factor());
  if (planted(PlantedBug::kNeverProbeAgain)) next_probe_ = kNever;
  if (Entry* target = table_.next_probe_target(context_.random)) begin(*target);
  try_failed_member();
}

}  // namespace starling::membership
