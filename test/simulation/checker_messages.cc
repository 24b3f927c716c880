// SPDX-License-Identifier: Apache-2.0
//
// User events, queries, and budgets.
#include <algorithm>

#include "membership/limits.h"
#include "proto/gossip.pb.h"
#include "test/simulation/checker.h"
#include "test/simulation/checker_violate.h"

namespace starling::simulation {

using membership::ReplyKind;

namespace {
/// A query's end may be late by this much (timers, clock rates).
constexpr Duration kQueryEndSlack = 1s;
/// Seconds before and after a burst whose changes may explain it.
constexpr int64_t kBurstWindow = 10;
}  // namespace

// --- user events ---

void Checker::event_accepted(NodeIndex node, const membership::MessageId& id, std::string_view name,
                             std::string_view payload) {
  if (events_.contains(id)) violate("event-id-unique", node, id.to_string(), " issued twice");
  changed(1);
  EventOutcome& event = events_[id];
  event.origin = node;
  event.boot = world_.host(node).boot;
  event.sent = world_.now();
  event.name = name;
  event.payload = payload;
  event.expected.resize(world_.size());
  event.deliveries.resize(world_.size());
  for (NodeIndex i = 0; i < world_.size(); ++i) {
    const Host& host = world_.host(i);
    const bool settled =
        host.joined != kNever && host.joined + options_.join_settling <= world_.now();
    const bool gone = host.left || host.leaving;  // who is only down catches up when it is back
    if (i == node || (settled && !gone)) event.expected[i] = watched(i).line;
  }
}

void Checker::user_event(NodeIndex node, const membership::UserEventArrived& arrived) {
  Watched& process = watched(node);
  const auto it = events_.find(arrived.id);
  if (it == events_.end()) {
    violate("event-known", node, arrived.id.to_string(), " was never accepted by anyone");
    return;
  }
  EventOutcome& event = it->second;
  if (event.deliveries.size() <= node) event.deliveries.resize(world_.size());
  EventOutcome::Delivery& delivery = event.deliveries[node];
  // What could not be kept is delivered again by the next process: once too often is better than
  // never.
  const bool forgotten = !delivery.kept && delivery.boot != process.boot;
  if (delivery.line != process.line || forgotten) {
    delivery = {.line = process.line, .boot = process.boot};
  }
  if (delivery.handled + delivery.silent > 0) {
    violate("event-once", node, arrived.id.to_string(), " delivered again; first ",
            time_string(delivery.first));
  } else {
    delivery.first = world_.now();
    delivery.kept = !disk_full(node);
    check_event_order(node, arrived.id);
  }
  ++(arrived.timing != membership::EventTiming::kBeforeJoin ? delivery.handled : delivery.silent);
  if (arrived.name != event.name || arrived.payload != event.payload) {
    violate("event-payload", node, arrived.id.to_string(), " differs from what was sent");
  }
  const bool own = event.origin == node && event.boot == world_.host(node).boot;
  if (own && arrived.ltime <= process.event_ltime) {
    violate("lamport-order", node, "own event at ", arrived.ltime, " after hearing one at ",
            process.event_ltime);
  }
  process.event_ltime = std::max(process.event_ltime, arrived.ltime);
}

/// One by one, from whatever was the present when the process joined.
void Checker::check_event_order(NodeIndex node, const membership::MessageId& id) {
  Watched& process = watched(node);
  process.events_lost = process.events_lost || disk_full(node);
  const auto [last, first] = process.event_lines.try_emplace({id.origin, id.epoch}, id.sequence);
  bool ordered = first || id.sequence == last->second + 1;
  const auto before = events_.find({id.origin, id.epoch, id.sequence - 1});
  if (first && before != events_.end() && node < before->second.expected.size()) {
    ordered = before->second.expected[node] != process.line ||
              before->second.deliveries[node].line == process.line;
  }
  if (!ordered) {
    violate("event-order", node, id.to_string(), " delivered after ",
            first ? std::string("none") : std::to_string(last->second));
  }
  last->second = id.sequence;
}

void Checker::events_missed(NodeIndex node, const membership::EventsMissed& missed) {
  Watched& process = watched(node);
  uint64_t& last = process.event_lines[{missed.origin, missed.epoch}];
  if (missed.first <= last) {
    violate("event-order", node, "events ", missed.first, " to ", missed.last,
            " are said to be missed after ", last);
  }
  last = missed.last;
}

std::optional<Duration> Checker::event_spread(const membership::MessageId& id) const {
  const EventOutcome& event = events_.at(id);
  Duration spread{};
  for (NodeIndex node = 0; node < event.expected.size(); ++node) {
    if (event.expected[node] == 0 || !world_.usable(node)) continue;
    const EventOutcome::Delivery& delivery = event.deliveries[node];
    if (delivery.line != event.expected[node]) return std::nullopt;
    spread = std::max(spread, delivery.first - event.sent);
  }
  return spread;
}

// --- queries ---

void Checker::query_started(NodeIndex node, const membership::QueryHandle& handle) {
  QueryOutcome& query = queries_[handle.id];
  query.asker = node;
  query.boot = world_.host(node).boot;
  query.started = world_.now();
  query.timeout = handle.timeout;
  query.addressed = handle.addressed;
  changed(1 + handle.addressed);
}

void Checker::query_cancelled(NodeIndex /*node*/, const membership::MessageId& query) {
  queries_[query].cancelled = true;
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

void Checker::query_answered(NodeIndex node, const membership::QueryAnswered& answer) {
  const auto it = queries_.find(answer.id);
  if (it == queries_.end() || it->second.asker != node) {
    violate("query-answers", node, "answer to a query that was not asked here");
    return;
  }
  QueryOutcome& query = it->second;
  if (query.ended || query.cancelled) {
    violate("query-answers", node, "answer of ", answer.from, " after the end of the query");
  }
  if (answer.kind == ReplyKind::kAck) {
    if (++query.acks[answer.from] > 1) {
      violate("query-answers", node, "second acknowledgement of ", answer.from);
    }
    return;
  }
  const bool again = !query.responders[answer.from].insert(answer.responder).second;
  if (!query.finished.insert(answer.from).second || again) {
    violate("query-answers", node, "second answer of ", answer.from, " ", answer.responder);
  }
  if (!answer.last) query.finished.erase(answer.from);
  query.kinds[answer.from] = answer.kind;
  query.final[answer.from] = answer.payload;
}

void Checker::query_ended(NodeIndex node, const membership::QueryEnded& ended) {
  const auto it = queries_.find(ended.id);
  if (it == queries_.end() || it->second.asker != node) {
    violate("query-ends-once", node, "end of a query that was not asked here");
    return;
  }
  QueryOutcome& query = it->second;
  if (query.ended || query.cancelled) violate("query-ends-once", node, "a query ended twice");
  query.ended = true;
  query.ended_at = world_.now();
  query.timed_out = ended.timed_out;
  query.limited = ended.limited;
  for (const membership::SilentMember& member : ended.silent) {
    query.silent.push_back(member.name);
    query.silence[member.name] = member.why;
  }
  const Duration late = world_.now() - query.started - query.timeout;
  if (late > kQueryEndSlack && watched(node).resumed_at < query.started && !disturbed(node)) {
    violate("query-deadline", node, "a query ended ", seconds(late), " s after its deadline");
  }
}

std::string Checker::query_shortcoming(const membership::MessageId& id) const {
  const QueryOutcome& query = queries_.at(id);
  std::string text;
  if (!query.ended) text += "not ended; ";
  if (query.timed_out) text += "timed out; ";
  if (query.ended && query.ended_at - query.started >= query.timeout) text += "not early; ";
  if (query.kinds.size() != query.addressed) {
    text += std::to_string(query.kinds.size()) + " of " + std::to_string(query.addressed) +
            " answered; ";
  }
  for (const std::string& silent : query.silent) text += silent + " silent; ";
  return text;
}

void Checker::check_query(const membership::MessageId& id, const QueryOutcome& query) {
  const Host& host = world_.host(query.asker);
  if (query.ended || query.cancelled || host.node == nullptr || host.boot != query.boot ||
      host.paused)
    return;
  if (world_.now() > query.started + query.timeout + kQueryEndSlack) {
    violate("query-ends-once", query.asker, id.to_string(), " never ended");
  }
}

// --- budgets ---

void Checker::datagram(NodeIndex node, const membership::SendDatagram& datagram) {
  if (datagram.bytes.size() > membership::kMaxPacket) {
    violate("packet-size", node, "datagram of ", datagram.bytes.size(), " bytes, at most ",
            membership::kMaxPacket, " are allowed");
  }
  Watched& process = watched(node);
  if (process.probed != kNoNode && datagram.to == world_.host(process.probed).address) {
    proto::Packet packet;
    const bool read =
        packet.ParseFromArray(datagram.bytes.data(), static_cast<int>(datagram.bytes.size()));
    const bool probe = read && packet.has_ping() &&
                       packet.ping().target() == world_.host(process.probed).id.wire();
    if (probe) process.probed = kNoNode;
  }
  const int64_t second = world_.now().time_since_epoch() / 1s;
  if (second != process.second) {
    if (process.packets > options_.packets_per_second_base) {
      bursts_.push_back(
          {process.second, reasons_from(process, process.second), node, process.packets});
    }
    process.second = second;
    process.packets = 0;
  }
  ++process.packets;
  packets_per_second_max_ = std::max(packets_per_second_max_, process.packets);
}

int64_t Checker::reasons_from(const Watched& process, int64_t second) {
  const auto second_of = [](TimePoint time) { return time.time_since_epoch() / 1s; };
  // What waited may take until the second after.
  const int64_t resumed = second_of(process.resumed_at);
  const bool just = process.stood_from != kNever && resumed <= second && resumed + 1 >= second;
  const int64_t from = just ? std::min(second_of(process.stood_from), second) : second;
  return std::max<int64_t>(from - kBurstWindow, 0);
}

void Checker::changed(size_t changes) {
  const auto second = static_cast<size_t>(world_.now().time_since_epoch() / 1s);
  if (second >= changes_.size()) changes_.resize(second + 1);
  changes_[second] += static_cast<uint32_t>(changes);
}

/// Bursts are judged when the changes around them are known; `all`: now.
void Checker::settle_bursts(bool all) {
  const int64_t now = world_.now().time_since_epoch() / 1s;
  std::erase_if(bursts_, [&](const Burst& burst) {
    if (!all && burst.second + kBurstWindow >= now) return false;
    size_t changes = 0;
    const int64_t until =
        std::min<int64_t>(burst.second + kBurstWindow + 1, static_cast<int64_t>(changes_.size()));
    for (int64_t second = burst.since; second < until; ++second) {
      changes += changes_[static_cast<size_t>(second)];
    }
    const size_t beyond = burst.packets - options_.packets_per_second_base;
    packets_per_change_max_ =
        std::max(packets_per_change_max_,
                 static_cast<double>(beyond) / static_cast<double>(std::max<size_t>(changes, 1)));
    if (beyond > options_.packets_per_second_factor * changes) {
      violate("message-budget", burst.node, burst.packets, " datagrams within second ",
              burst.second, ", with ", changes, " changes from second ", burst.since, " to ",
              burst.second + kBurstWindow);
    }
    return true;
  });
}

void Checker::check_timers(NodeIndex node) {
  const Duration elapsed = world_.now() - timers_from_;
  if (elapsed < world_.options().sweep_interval) return;
  const uint64_t fired = world_.statistics().timers - timers_seen_;
  const double rate =
      static_cast<double>(fired) / seconds(elapsed) / static_cast<double>(world_.size());
  if (rate > static_cast<double>(options_.timers_per_second)) {
    violate("timer-budget", node, rate, " timers per second and process");
  }
  timers_from_ = world_.now();
  timers_seen_ = world_.statistics().timers;
}

}  // namespace starling::simulation
