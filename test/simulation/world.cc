// SPDX-License-Identifier: Apache-2.0
//
// Time and the network's side of the world.
#include "test/simulation/world.h"

#include <algorithm>
#include <utility>

namespace starling::simulation {

World::World(const WorldOptions& options)
    : options_(options),
      random_(mix64(options.seed)),
      network_(options.links, options.seed),
      streams_(*this, network_) {
  if (!options_.make_process) options_.make_process = production_nodes();
  hash_.add(options.seed);
}

World::~World() = default;

void World::add_observer(Observer* observer) {
  observers_.push_back(observer);
  if ((observer->interests() & kSentDatagrams) != 0) sent_observers_.push_back(observer);
  if ((observer->interests() & kReceivedDatagrams) != 0) received_observers_.push_back(observer);
}

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
    case Kind::kWork:
      work(event.node, event.handle);
      break;
    case Kind::kFlap:
      flap_due(event.node, event.handle);
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
  const Network::Arrivals arrivals = network_.datagram(node, to, datagram.bytes.size(), now_);
  if (arrivals.count == 0) ++statistics_.datagrams_lost;
  for (size_t i = 0; i < arrivals.count; ++i) {
    std::string bytes = i + 1 == arrivals.count ? std::move(datagram.bytes) : datagram.bytes;
    schedule(now_ + arrivals.delay[i], Kind::kDatagram, to,
             datagrams_.put({hosts_[node]->address, datagram.to, std::move(bytes)}));
  }
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
  return hosts_[node]->paused || hosts_[node]->blocked;
}
Duration World::stream_timeout(NodeIndex node) const {
  return hosts_[node]->options.stream_timeout;
}

}  // namespace starling::simulation
