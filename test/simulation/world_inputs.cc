// SPDX-License-Identifier: Apache-2.0
//
// What reaches a process, and when: inputs, its timer, and what keeps it from taking them.
#include <algorithm>
#include <utility>

#include "test/simulation/world.h"

namespace starling::simulation {

namespace {
constexpr Duration kPausedRecheck = 50ms;
/// What a queued datagram takes of a socket buffer besides its bytes (Linux: sk_buff overhead).
constexpr size_t kDatagramOverhead = 256;
/// A daemon that is behind lets its timers have a turn after so many inputs.
constexpr unsigned kInputsInRow = 512;
/// Refusals that may come at once (Linux: XRLIM_BURST_FACTOR).
constexpr int kRefusalBurst = 6;
}  // namespace

// --- datagrams ---

void World::datagram_arrives(NodeIndex node, Datagram datagram) {
  Host& host = *hosts_[node];
  const PortState port = port_state(datagram.to);
  if (port == PortState::kSilent) return;
  if (port == PortState::kRefusing) {
    refuse(node, std::move(datagram));
  } else if (host.prompt()) {
    feed_datagram(host, node, datagram.from, datagram.bytes);
    settle(node);
  } else {
    enqueue(node, {.kind = Host::Waiting::Kind::kDatagram,
                   .from = datagram.from,
                   .bytes = std::move(datagram.bytes),
                   .stream = {}});
  }
}

void World::refuse(NodeIndex node, Datagram datagram) {
  const NodeIndex sender = index_of(datagram.from);
  if (!options_.refusals || sender >= hosts_.size()) return;
  if (options_.refusal_interval > Duration::zero() && sender != node) {
    // A token bucket: `next` runs ahead of the time by what has been used.
    TimePoint& next = refusals_.try_emplace({node, sender}, TimePoint::min()).first->second;
    next = std::max(next, now_ - (kRefusalBurst - 1) * options_.refusal_interval);
    if (next > now_) return;
    next += options_.refusal_interval;
  }
  const Network::Arrivals back = network_.datagram(node, sender, 0, now_);
  if (back.count == 0) return;
  datagram.bytes.clear();
  schedule(now_ + back.delay[0], Kind::kRefused, sender, datagrams_.put(std::move(datagram)));
}

void World::refusal_arrives(NodeIndex node, const Address& peer) {
  Host& host = *hosts_[node];
  if (!host.process) return;
  Host::Waiting input{
      .kind = Host::Waiting::Kind::kRefused, .from = peer, .bytes = {}, .stream = {}};
  if (host.prompt()) {
    feed(host, node, input);
    settle(node);
  } else {
    enqueue(node, std::move(input));
  }
}

void World::feed_datagram(Host& host, NodeIndex node, const Address& from, std::string_view bytes) {
  ++statistics_.datagrams_delivered;
  hash_.add(uint64_t{node} << 40 ^ static_cast<uint64_t>(now_.time_since_epoch().count()));
  for (Observer* observer : received_observers_) observer->datagram_received(node, from, bytes);
  host.process->receive_datagram(local(host), from, bytes);
}

// --- streams ---

void World::deliver_stream(NodeIndex node, StreamInput input) {
  Host& host = *hosts_[node];
  if (!host.process) return;
  if (host.prompt()) {
    feed_stream(host, input);
    settle(node);
  } else {
    enqueue(node, {.kind = Host::Waiting::Kind::kStream,
                   .from = {},
                   .bytes = {},
                   .stream = std::move(input)});
  }
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

// --- what waits ---

void World::enqueue(NodeIndex node, Host::Waiting input) {
  Host& host = *hosts_[node];
  if (input.kind != Host::Waiting::Kind::kStream) {
    const size_t size = input.bytes.size() + kDatagramOverhead;
    if (host.waiting_bytes + size > options_.socket_buffer) {
      ++statistics_.datagrams_overflowed;
      return;
    }
    host.waiting_bytes += size;
  }
  host.waiting.push_back(std::move(input));
  if (!host.paused && !host.blocked) start_work(node);
}

void World::feed(Host& host, NodeIndex node, const Host::Waiting& input) {
  switch (input.kind) {
    case Host::Waiting::Kind::kDatagram:
      feed_datagram(host, node, input.from, input.bytes);
      break;
    case Host::Waiting::Kind::kRefused:
      hash_.add(uint64_t{node} << 8 | 0xee);
      host.process->datagram_refused(local(host), input.from);
      break;
    case Host::Waiting::Kind::kStream:
      feed_stream(host, input.stream);
      break;
  }
}

void World::start_work(NodeIndex node) {
  Host& host = *hosts_[node];
  if (host.working) return;
  host.working = true;
  schedule(now_ + host.input_cost, Kind::kWork, node, host.boot);
}

void World::wake(NodeIndex node) {
  Host& host = *hosts_[node];
  if (!host.process || host.paused || host.blocked) return;
  host.held_bytes = 0;
  for (membership::Action& action : std::exchange(host.held, {})) carry_out(node, action);
  if (host.working) return;
  if (host.input_cost > Duration::zero()) {
    if (!host.waiting.empty()) {
      start_work(node);
    } else {
      settle(node);
    }
    return;
  }
  // As a daemon does: all that waits in the sockets comes before any timer.
  const uint32_t boot = host.boot;
  while (!host.waiting.empty()) {
    const Host::Waiting input = std::move(host.waiting.front());
    host.waiting.pop_front();
    feed(host, node, input);
    settle(node);
    if (!host.process || host.boot != boot) return;
  }
  host.waiting_bytes = 0;
  host.process->advance(local(host));
  settle(node);
}

/// One input, or the timer, has had its processor time: now it takes effect.
void World::work(NodeIndex node, uint32_t boot) {
  Host& host = *hosts_[node];
  if (!host.process || host.boot != boot) return;
  host.working = false;
  if (host.paused || host.blocked) return;
  if (host.input_cost == Duration::zero()) return wake(node);
  host.working = true;  // keeps settle() from arming the timer
  if (std::exchange(host.timer_next, false) || host.waiting.empty()) {
    host.inputs_in_row = 0;
    ++statistics_.timers;
    host.process->advance(local(host));
  } else {
    const Host::Waiting input = std::move(host.waiting.front());
    host.waiting.pop_front();
    if (input.kind != Host::Waiting::Kind::kStream) {
      host.waiting_bytes -= input.bytes.size() + kDatagramOverhead;
    }
    feed(host, node, input);
    host.timer_next = ++host.inputs_in_row >= kInputsInRow;
  }
  settle(node);
  if (!host.process || host.boot != boot) return;
  host.working = false;
  if (host.timer_next || !host.waiting.empty()) {
    start_work(node);
  } else {
    arm(node);
  }
}

// --- timers ---

void World::arm(NodeIndex node) {
  Host& host = *hosts_[node];
  if (host.working) return;  // the end of the work looks again
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
  if (host.paused || host.working) return;  // the end of it looks at the timer
  if (host.process->next_deadline() <= local(host)) {
    if (host.input_cost > Duration::zero()) {
      host.timer_next = true;
      start_work(node);
      return;
    }
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
  if (host.node != nullptr && !host.disk_full) host.disk.save_clocks(host.node->clocks());
  for (Observer* observer : observers_) observer->sweep(node);
}

}  // namespace starling::simulation
