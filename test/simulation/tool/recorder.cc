// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/recorder.h"

#include <algorithm>
#include <cmath>

#include "test/simulation/tool/ordered.h"

namespace starling::simulation {

namespace {

/// Faults are remembered this long when a member is taken for failed.
constexpr Duration kAftermath = 60s;

template <typename T>
T& grown(std::vector<T>& values, size_t index) {
  if (values.size() <= index) values.resize(index + 1);
  return values[index];
}

bool at(const std::vector<bool>& values, size_t index) {
  return index < values.size() && values[index];
}

}  // namespace

std::optional<Duration> Spread::reached(double share) const {
  const auto wanted = static_cast<size_t>(std::ceil(share * static_cast<double>(expected) - 1e-9));
  if (wanted == 0) return Duration::zero();
  if (arrivals.size() < wanted) return std::nullopt;
  return arrivals[wanted - 1];
}

size_t Record::count(Cause cause) const {
  return static_cast<size_t>(
      std::count_if(false_failures.begin(), false_failures.end(),
                    [&](const FalseFailure& failure) { return failure.cause == cause; }));
}

std::optional<size_t> Record::worst_second() const {
  std::optional<size_t> worst;
  if (begin == kNever) return worst;
  for (auto second = static_cast<size_t>(seconds(begin - kStart)); second < traffic.size();
       ++second) {
    if (!worst || traffic[second].worst > traffic[*worst].worst) worst = second;
  }
  return worst;
}

Recorder::Recorder(World& world, const Scenario& scenario) : world_(world) {
  record_.episodes = episodes(scenario);
  world_.add_observer(this);
}

void Recorder::phase(Phase phase) {
  switch (phase) {
    case Phase::kTimeline:
      record_.begin = world_.now();
      break;
    case Phase::kHealing:
      record_.healing = world_.now();
      break;
    case Phase::kAgreed:
      record_.agreed = world_.now();
      break;
  }
}

Record Recorder::take() {
  for (Failure& failure : record_.failures) finish(failure);
  for (auto& [id, event] : events_) record_.events.push_back(std::move(event.spread));
  for (auto& [id, query] : queries_) record_.queries.push_back(std::move(query.spread));
  for (auto* spreads : {&record_.events, &record_.queries}) {
    for (Spread& spread : *spreads) std::sort(spread.arrivals.begin(), spread.arrivals.end());
    sort_by(*spreads, [](const Spread& spread) { return spread.at; });
  }
  return std::move(record_);
}

/// Watchers that ended themselves before they knew do not count; nor do those that a restart of
/// the member was faster than.
void Recorder::finish(Failure& failure) const {
  std::vector<Duration> times;
  for (const NodeIndex watcher : failure.watchers) {
    const auto seen = failure.seen.find(watcher);
    if (seen != failure.seen.end()) {
      times.push_back(seen->second - failure.at);
    } else if (!stopped_.contains(watcher) || stopped_.at(watcher) < failure.at) {
      ++failure.missing;
    }
  }
  std::sort(times.begin(), times.end());
  if (times.empty()) return;
  failure.first = times.front();
  const size_t half = (times.size() + failure.missing + 1) / 2;
  if (half <= times.size()) failure.median = times[half - 1];
  if (failure.missing == 0) failure.all = times.back();
}

// --- processes ---------------------------------------------------------------------------------

void Recorder::process_started(NodeIndex node, bool /*with_state*/) {
  members_[world_.host(node).id] = node;
  auto& open = grown(open_, node);
  if (open) record_.failures[*open].ended = world_.now();
  open.reset();
  record_.members = std::max<size_t>(record_.members, node + 1);
}

void Recorder::process_stopping(NodeIndex node, StopKind kind) {
  stopped_[node] = world_.now();
  if (node < shows_failed_.size()) {
    for (NodeIndex subject = 0; subject < shows_failed_[node].size(); ++subject) {
      show(node, subject, false);
    }
  }
  if (kind == StopKind::kLeft || record_.begin == kNever) return;
  Failure failure;
  failure.node = node;
  failure.at = world_.now();
  failure.kind = kind;
  failure.watchers = watchers(node);
  grown(open_, node) = record_.failures.size();
  record_.failures.push_back(std::move(failure));
}

std::vector<NodeIndex> Recorder::watchers(NodeIndex subject) const {
  std::vector<NodeIndex> nodes;
  for (const NodeIndex node : world_.usable_nodes()) {
    if (node != subject && world_.host(node).joined != kNever &&
        cause(node, subject) != Cause::kCutOff) {
      nodes.push_back(node);
    }
  }
  return nodes;
}

bool Recorder::active(const Episode& episode) const {
  const Duration now = record_.begin == kNever ? Duration::min() : world_.now() - record_.begin;
  return now >= episode.begin && now <= episode.end + kAftermath;
}

bool Recorder::aimed_at(const Episode& episode, NodeIndex node) const {
  return active(episode) &&
         std::find(episode.nodes.begin(), episode.nodes.end(), node) != episode.nodes.end();
}

bool Recorder::apart(const Episode& episode, NodeIndex a, NodeIndex b) const {
  switch (episode.kind) {
    case StepKind::kPartition:
    case StepKind::kPartitionZone:
      return aimed_at(episode, a) != aimed_at(episode, b);
    case StepKind::kPartitionZones:
      return active(episode) && world_.network().zone(a) != world_.network().zone(b);
    case StepKind::kCut:
    case StepKind::kLinkLoss:
      return aimed_at(episode, a) && aimed_at(episode, b);
    default:
      return separates(episode.kind) && (aimed_at(episode, a) || aimed_at(episode, b));
  }
}

Cause Recorder::cause(NodeIndex observer, NodeIndex subject) const {
  for (const Episode& episode : record_.episodes) {
    if (apart(episode, observer, subject)) return Cause::kCutOff;
  }
  for (const Episode& episode : record_.episodes) {
    if (!separates(episode.kind) && aimed_at(episode, subject)) return Cause::kDisturbed;
  }
  return Cause::kHealthy;
}

void Recorder::show(NodeIndex observer, NodeIndex subject, bool failed) {
  std::vector<bool>& shows = grown(shows_failed_, observer);
  if (at(shows, subject) == failed) return;
  if (shows.size() <= subject) shows.resize(subject + 1);
  shows[subject] = failed;
  record_.shown.push_back({world_.now(), observer, subject, failed});
}

void Recorder::noticed(NodeIndex observer, NodeIndex subject) {
  show(observer, subject, true);
  const auto& open = grown(open_, subject);
  if (open) {
    record_.failures[*open].seen.emplace(observer, world_.now());
  } else if (world_.running(subject)) {
    record_.false_failures.push_back({world_.now(), observer, subject, cause(observer, subject)});
  }
}

void Recorder::member_event(NodeIndex node, const membership::MemberEvent& event) {
  const auto found = members_.find(event.member.id);
  if (found == members_.end()) return;
  const NodeIndex subject = found->second;
  if (event.change == membership::MemberChange::kFailed) {
    // An id that its host has given up was not wrongly taken for failed.
    if (world_.host(subject).id == event.member.id) noticed(node, subject);
  } else if (event.change != membership::MemberChange::kUpdate) {
    show(node, subject, false);
  }
}

// --- events and queries ------------------------------------------------------------------------

void Recorder::start_spread(Flying& flying, NodeIndex node, const std::string& name) {
  flying.spread.name = name;
  flying.spread.at = world_.now();
  flying.spread.origin = node;
  flying.expected.resize(world_.size());
  for (NodeIndex other = 0; other < world_.size(); ++other) {
    const Host& host = world_.host(other);
    if (!world_.running(other) || host.leaving || host.joined == kNever) continue;
    flying.expected[other] = true;
    ++flying.spread.expected;
  }
}

void Recorder::event_accepted(NodeIndex node, const membership::MessageId& id,
                              std::string_view name, std::string_view /*payload*/) {
  start_spread(events_[id], node, std::string(name));
}

void Recorder::query_started(NodeIndex node, const membership::QueryHandle& query) {
  Flying& flying = queries_[query.id];
  start_spread(flying, node, "query of member " + std::to_string(node));
  flying.spread.expected = query.addressed;
}

void Recorder::action(NodeIndex node, const membership::Action& action) {
  if (const auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
    sent(node, datagram->bytes.size(), true);
  } else if (const auto* stream = std::get_if<membership::SendStream>(&action)) {
    sent(node, stream->bytes.size(), false);
  } else if (const auto* member = std::get_if<membership::MemberEvent>(&action)) {
    member_event(node, *member);
  } else if (const auto* event = std::get_if<membership::UserEventArrived>(&action)) {
    const auto found = events_.find(event->id);
    if (found == events_.end()) return;
    Flying& flying = found->second;
    if (!at(flying.expected, node) || at(flying.arrived, node)) return;
    if (flying.arrived.size() <= node) flying.arrived.resize(node + 1);
    flying.arrived[node] = true;
    flying.spread.arrivals.push_back(world_.now() - flying.spread.at);
  } else if (const auto* answer = std::get_if<membership::QueryAnswered>(&action)) {
    const auto found = queries_.find(answer->id);
    if (found == queries_.end() || answer->kind == membership::ReplyKind::kAck) return;
    if (!found->second.answered.emplace(answer->from, true).second) return;
    found->second.spread.arrivals.push_back(world_.now() - found->second.spread.at);
  } else if (const auto* ended = std::get_if<membership::QueryEnded>(&action)) {
    const auto found = queries_.find(ended->id);
    if (found != queries_.end())
      found->second.spread.ended = world_.now() - found->second.spread.at;
  }
}

// --- traffic -----------------------------------------------------------------------------------

void Recorder::sweep(NodeIndex /*node*/) {
  record_.end = world_.now();
}

void Recorder::sent(NodeIndex node, size_t bytes, bool datagram) {
  const auto second = static_cast<size_t>((world_.now() - kStart) / Duration(1s));
  if (second >= record_.traffic.size()) {
    const size_t from = record_.traffic.size();
    record_.traffic.resize(second + 1);
    size_t running = 0;
    for (NodeIndex other = 0; other < world_.size(); ++other) running += world_.running(other);
    for (size_t i = from; i <= second; ++i) record_.traffic[i].members = running;
  }
  Traffic& traffic = record_.traffic[second];
  traffic.bytes += bytes;
  if (!datagram) return;
  ++traffic.datagrams;
  if (second != second_) {
    second_ = second;
    std::fill(this_second_.begin(), this_second_.end(), 0);
  }
  const uint32_t count = ++grown(this_second_, node);
  if (count <= traffic.worst) return;
  traffic.worst = count;
  traffic.worst_node = node;
}

}  // namespace starling::simulation
