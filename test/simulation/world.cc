// SPDX-License-Identifier: Apache-2.0
//
// Time and the network's side of the world; world_process.cc has the processes' side.
#include "test/simulation/world.h"

#include <algorithm>
#include <utility>

namespace starling::simulation {

namespace {
constexpr Duration kPausedRecheck = 50ms;
/// What a queued datagram takes of a socket buffer besides its bytes (Linux: sk_buff overhead).
constexpr size_t kDatagramOverhead = 256;
}  // namespace

World::World(const WorldOptions& options)
    : options_(options),
      random_(mix64(options.seed)),
      network_(options.links, options.seed),
      streams_(*this, network_) {
  hash_.add(options.seed);
}

World::~World() = default;

// --- time ---

bool World::Event::after(const Event& other) const {
  if (at != other.at) return at > other.at;
  const bool late = kind == Kind::kTimer;
  const bool other_late = other.kind == Kind::kTimer;
  if (late != other_late) return late;
  return sequence > other.sequence;
}

void World::schedule(TimePoint at, Kind kind, NodeIndex node, uint32_t handle) {
  queue_.push_back({std::max(at, now_), ++sequence_, kind, node, handle});
  std::push_heap(queue_.begin(), queue_.end(),
                 [](const Event& a, const Event& b) { return a.after(b); });
}

void World::at(TimePoint when, std::function<void()> command) {
  schedule(when, Kind::kCommand, kNoNode, commands_.put(std::move(command)));
}

void World::run_until(TimePoint until) {
  while (!queue_.empty() && queue_.front().at <= until) {
    std::pop_heap(queue_.begin(), queue_.end(),
                  [](const Event& a, const Event& b) { return a.after(b); });
    const Event event = queue_.back();
    queue_.pop_back();
    now_ = event.at;
    ++statistics_.events;
    step(event);
  }
  now_ = std::max(now_, until);
}

bool World::run_while_not(const std::function<bool()>& done, Duration timeout, Duration step) {
  const TimePoint deadline = now_ + timeout;
  while (!done()) {
    if (now_ >= deadline) return false;
    run_until(std::min(now_ + step, deadline));
  }
  return true;
}

void World::step(const Event& event) {
  switch (event.kind) {
    case Kind::kCommand:
      commands_.take(event.handle)();
      break;
    case Kind::kDatagram:
      datagram_arrives(event.node, datagrams_.take(event.handle));
      break;
    case Kind::kRefused:
      refusal_arrives(event.node, datagrams_.take(event.handle).to);
      break;
    case Kind::kStream:
      streams_.handle(event.handle);
      break;
    case Kind::kAnswer:
      answer_due(event.node, answers_.take(event.handle));
      break;
    case Kind::kJoinRetry:
      retry_join(event.node, event.handle);
      break;
    case Kind::kTimer:
      timer_fires(event.node, event.handle);
      break;
    case Kind::kSweep:
      sweep(event.node, event.handle);
      break;
  }
}

// --- datagrams ---

void World::send_datagram(NodeIndex node, membership::SendDatagram& datagram) {
  ++statistics_.datagrams_sent;
  statistics_.datagram_bytes += datagram.bytes.size();
  hash_.add(datagram.bytes);
  const NodeIndex to = index_of(datagram.to);
  if (to >= hosts_.size()) {
    ++statistics_.datagrams_lost;
    return;
  }
  const Network::Arrivals arrivals = network_.datagram(node, to);
  if (arrivals.count == 0) ++statistics_.datagrams_lost;
  for (size_t i = 0; i < arrivals.count; ++i) {
    std::string bytes = i + 1 == arrivals.count ? std::move(datagram.bytes) : datagram.bytes;
    schedule(now_ + arrivals.delay[i], Kind::kDatagram, to,
             datagrams_.put({hosts_[node]->address, datagram.to, std::move(bytes)}));
  }
}

void World::datagram_arrives(NodeIndex node, Datagram datagram) {
  Host& host = *hosts_[node];
  const PortState port = port_state(datagram.to);
  if (port == PortState::kSilent) return;
  if (port == PortState::kRefusing) {
    const NodeIndex sender = index_of(datagram.from);
    if (!options_.refusals || sender >= hosts_.size()) return;
    const Network::Arrivals back = network_.datagram(node, sender);
    if (back.count == 0) return;
    datagram.bytes.clear();
    schedule(now_ + back.delay[0], Kind::kRefused, sender, datagrams_.put(std::move(datagram)));
    return;
  }
  if (!host.paused) {
    feed_datagram(host, node, datagram.from, datagram.bytes);
    settle(node);
    return;
  }
  const size_t size = datagram.bytes.size() + kDatagramOverhead;
  if (host.waiting_bytes + size > options_.socket_buffer) {
    ++statistics_.datagrams_overflowed;
    return;
  }
  host.waiting_bytes += size;
  host.waiting_datagrams.push_back({datagram.from, std::move(datagram.bytes), false});
}

void World::refusal_arrives(NodeIndex node, const Address& peer) {
  Host& host = *hosts_[node];
  if (!host.process) return;
  if (host.paused) {
    if (host.waiting_bytes + kDatagramOverhead > options_.socket_buffer) return;
    host.waiting_bytes += kDatagramOverhead;
    host.waiting_datagrams.push_back({peer, {}, true});
    return;
  }
  hash_.add(uint64_t{node} << 8 | 0xee);
  host.process->datagram_refused(local(host), peer);
  settle(node);
}

void World::feed_datagram(Host& host, NodeIndex node, const Address& from, std::string_view bytes) {
  ++statistics_.datagrams_delivered;
  hash_.add(uint64_t{node} << 40 ^ static_cast<uint64_t>(now_.time_since_epoch().count()));
  for (Observer* observer : observers_) observer->datagram_received(node, from, bytes);
  host.process->receive_datagram(local(host), from, bytes);
}

// --- streams ---

void World::schedule_stream(TimePoint at, uint32_t handle) {
  schedule(at, Kind::kStream, kNoNode, handle);
}

PortState World::port_state(const Address& address) const {
  const NodeIndex node = index_of(address);
  if (node >= hosts_.size() || !hosts_[node]->up) return PortState::kSilent;
  const Host& host = *hosts_[node];
  return host.process && host.address == address ? PortState::kListening : PortState::kRefusing;
}

bool World::host_up(NodeIndex node) const {
  return node < hosts_.size() && hosts_[node]->up;
}
bool World::paused(NodeIndex node) const {
  return hosts_[node]->paused;
}
Duration World::stream_timeout(NodeIndex node) const {
  return hosts_[node]->options.stream_timeout;
}

void World::deliver_stream(NodeIndex node, StreamInput input) {
  Host& host = *hosts_[node];
  if (!host.process) return;
  if (host.paused) {
    host.waiting_streams.push_back(std::move(input));
    return;
  }
  feed_stream(host, input);
  settle(node);
}

void World::feed_stream(Host& host, const StreamInput& input) {
  hash_.add(input.stream ^ (static_cast<uint64_t>(input.kind) << 56));
  hash_.add(static_cast<uint64_t>(now_.time_since_epoch().count()));
  const TimePoint time = local(host);
  switch (input.kind) {
    case StreamInput::Kind::kOpened:
      host.process->stream_opened(time, input.stream);
      break;
    case StreamInput::Kind::kAccepted:
      host.process->stream_accepted(time, input.stream, input.from);
      break;
    case StreamInput::Kind::kMessage:
      host.process->receive_stream(time, input.stream, input.bytes);
      break;
    case StreamInput::Kind::kClosed:
      host.process->stream_closed(time, input.stream, input.end);
      break;
  }
}

// --- timers ---

void World::arm(NodeIndex node) {
  Host& host = *hosts_[node];
  const TimePoint deadline = host.process->next_deadline();
  if (deadline == kNever) return;
  TimePoint due = std::max(host.clock.to_global(deadline), now_);
  if (due >= host.armed) return;  // the event that is on its way will look again
  if (options_.timer_lateness > Duration::zero()) {
    due += Duration(
        static_cast<int64_t>(random_.below(static_cast<size_t>(options_.timer_lateness.count()))));
    if (due >= host.armed) return;
  }
  host.armed = due;
  schedule(due, Kind::kTimer, node, host.boot);
}

void World::timer_fires(NodeIndex node, uint32_t boot) {
  Host& host = *hosts_[node];
  if (!host.process || host.boot != boot || host.armed != now_) return;
  host.armed = kNever;
  if (host.paused) return;  // resume looks at the timer
  if (host.process->next_deadline() <= local(host)) {
    ++statistics_.timers;
    host.process->advance(local(host));
  }
  settle(node);
}

void World::answer_due(NodeIndex node, PendingAnswer answer) {
  Host& host = *hosts_[node];
  if (host.node == nullptr || host.boot != answer.boot) return;
  if (host.paused) {
    schedule(now_ + kPausedRecheck, Kind::kAnswer, node, answers_.put(std::move(answer)));
    return;
  }
  // Refused when the deadline has passed meanwhile: nothing to do about it.
  (void)host.node->answer_query(local(host), answer.query, std::move(answer.answer));
  settle(node);
}

void World::sweep(NodeIndex node, uint32_t boot) {
  Host& host = *hosts_[node];
  if (!host.process || host.boot != boot) return;
  schedule(now_ + options_.sweep_interval, Kind::kSweep, node, boot);
  if (host.paused) return;
  if (host.node != nullptr) host.disk.save_clocks(host.node->clocks());
  for (Observer* observer : observers_) observer->sweep(node);
}

// --- faults of the network ---

void World::partition(const std::vector<std::vector<NodeIndex>>& groups) {
  network_.partition(groups);
  for (Observer* observer : observers_) observer->fault(Fault::kPartition, kNoNode);
}

void World::heal() {
  network_.heal();
  for (Observer* observer : observers_) observer->fault(Fault::kHeal, kNoNode);
}

void World::change_links(const std::function<void(Network&)>& change) {
  change(network_);
  for (Observer* observer : observers_) observer->fault(Fault::kLinks, kNoNode);
}

}  // namespace starling::simulation
