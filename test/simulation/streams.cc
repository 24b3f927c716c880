// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/streams.h"

#include <algorithm>
#include <utility>

namespace starling::simulation {

namespace {
constexpr Duration kFirstSynRetry = 1s;
constexpr Duration kFirstRetransmit = 200ms;
constexpr Duration kRetransmitMax = 2s;
constexpr Duration kPausedRecheck = 1s;
}  // namespace

std::map<StreamId, Streams::Reference>& Streams::of(NodeIndex node) {
  if (node >= by_node_.size()) by_node_.resize(node + 1);
  return by_node_[node];
}

Streams::Reference* Streams::find(NodeIndex node, StreamId stream) {
  auto& streams = of(node);
  const auto it = streams.find(stream);
  return it == streams.end() ? nullptr : &it->second;
}

size_t Streams::open_streams(NodeIndex node) const {
  return node < by_node_.size() ? by_node_[node].size() : 0;
}

void Streams::schedule(TimePoint at, Event event) {
  ++connections_[event.connection].pending;
  host_.schedule_stream(at, events_.put(std::move(event)));
}

void Streams::open(NodeIndex node, const Address& self, StreamId stream, const Address& to,
                   Duration timeout) {
  uint32_t number = 0;
  if (free_.empty()) {
    number = static_cast<uint32_t>(connections_.size());
    connections_.emplace_back();
  } else {
    number = free_.back();
    free_.pop_back();
    connections_[number] = Connection();
  }
  Connection& connection = connections_[number];
  connection.from = self;
  connection.to = to;
  connection.deadline = host_.now() + timeout;
  connection.sides[0].node = node;
  connection.sides[0].stream = stream;
  connection.sides[0].state = State::kConnecting;
  connection.sides[1].node = index_of(to);
  of(node)[stream] = {number, 0};
  schedule(connection.deadline, {.kind = Kind::kDeadline, .connection = number});
  schedule(host_.now(), {.kind = Kind::kAttempt, .connection = number, .backoff = kFirstSynRetry});
}

void Streams::send(NodeIndex node, StreamId stream, std::string bytes) {
  const Reference* reference = find(node, stream);
  if (reference == nullptr) return;
  Endpoint& endpoint = connections_[reference->connection].sides[reference->side];
  if (endpoint.outbox_bytes + bytes.size() > kOutboxMax) {
    // As a driver with a bounded buffer: the stream is given up.
    const Reference copy = *reference;
    drop(connections_[copy.connection], copy.side);
    enqueue(copy.connection, copy.side, {.end = true});
    host_.deliver_stream(
        node,
        {.kind = StreamInput::Kind::kClosed, .stream = stream, .end = StreamEnd::kUnreachable});
    return;
  }
  endpoint.active = host_.now();
  enqueue(reference->connection, reference->side, {.bytes = std::move(bytes)});
}

void Streams::close(NodeIndex node, StreamId stream) {
  const Reference* reference = find(node, stream);
  if (reference == nullptr) return;
  const Reference copy = *reference;
  drop(connections_[copy.connection], copy.side);
  enqueue(copy.connection, copy.side, {.end = true});
}

void Streams::process_died(NodeIndex node, bool host_alive) {
  for (const auto& [stream, reference] : std::exchange(of(node), {})) {
    Endpoint& endpoint = connections_[reference.connection].sides[reference.side];
    endpoint.state = State::kClosed;
    endpoint.outbox.clear();
    endpoint.outbox_bytes = 0;
    if (host_alive) {
      endpoint.gave_up = host_.now() + host_.stream_timeout(node);
      enqueue(reference.connection, reference.side, {.end = true});
    }
  }
}

/// Takes an endpoint from its process; what it sent before may still go out.
void Streams::drop(Connection& connection, uint8_t side) {
  Endpoint& endpoint = connection.sides[side];
  endpoint.state = State::kClosed;
  endpoint.gave_up = host_.now() + host_.stream_timeout(endpoint.node);
  of(endpoint.node).erase(endpoint.stream);
}

/// Ends an endpoint and tells its process.
void Streams::finish(Connection& connection, uint8_t side, StreamEnd end) {
  Endpoint& endpoint = connection.sides[side];
  if (endpoint.state != State::kConnecting && endpoint.state != State::kOpen) return;
  drop(connection, side);
  endpoint.outbox.clear();
  endpoint.outbox_bytes = 0;
  host_.deliver_stream(
      endpoint.node,
      {.kind = StreamInput::Kind::kClosed, .stream = endpoint.stream, .bytes = {}, .end = end});
}

void Streams::enqueue(uint32_t number, uint8_t side, Outgoing outgoing) {
  Connection& connection = connections_[number];
  Endpoint& endpoint = connection.sides[side];
  if (connection.sides[1 - side].state == State::kAbsent && side == 0 && outgoing.end) {
    return;  // never connected: the other side knows nothing of it
  }
  endpoint.outbox_bytes += outgoing.bytes.size();
  endpoint.outbox.push_back(std::move(outgoing));
  if (endpoint.state != State::kConnecting) start_pump(number, side);
}

void Streams::start_pump(uint32_t number, uint8_t side) {
  Endpoint& endpoint = connections_[number].sides[side];
  if (endpoint.pumping || endpoint.outbox.empty()) return;
  endpoint.pumping = true;
  schedule(host_.now(),
           {.kind = Kind::kPump, .side = side, .connection = number, .backoff = kFirstRetransmit});
}

void Streams::handle(uint32_t handle) {
  Event event = events_.take(handle);
  const uint32_t number = event.connection;
  Connection& connection = connections_[number];
  switch (event.kind) {
    case Kind::kAttempt:
      attempt(connection, event);
      break;
    case Kind::kArrived:
      arrived(connection, event);
      break;
    case Kind::kAccepted:
      if (connection.sides[0].state == State::kConnecting) {
        connection.sides[0].state = State::kOpen;
        connection.sides[0].active = host_.now();
        idle(connection, {.side = 0, .connection = number});
        start_pump(number, 0);
        host_.deliver_stream(connection.sides[0].node, {.kind = StreamInput::Kind::kOpened,
                                                        .stream = connection.sides[0].stream});
      }
      break;
    case Kind::kRefused:
      finish(connection, 0, StreamEnd::kRefused);
      break;
    case Kind::kDeadline:
      if (connection.sides[0].state == State::kConnecting) {
        finish(connection, 0, StreamEnd::kUnreachable);
      }
      break;
    case Kind::kPump:
      pump(connection, event);
      break;
    case Kind::kMessage:
      message(connection, std::move(event));
      break;
    case Kind::kEnd:
      finish(connection, event.side, event.end);
      break;
    case Kind::kIdle:
      idle(connection, event);
      break;
  }
  --connection.pending;
  release(number);
}

void Streams::release(uint32_t number) {
  Connection& connection = connections_[number];
  const auto done = [](const Endpoint& endpoint) {
    return endpoint.state == State::kAbsent || endpoint.state == State::kClosed;
  };
  if (connection.pending > 0 || !done(connection.sides[0]) || !done(connection.sides[1])) return;
  connection = Connection();
  free_.push_back(number);
}

void Streams::attempt(Connection& connection, const Event& event) {
  if (connection.sides[0].state != State::kConnecting) return;
  const NodeIndex from = connection.sides[0].node;
  const NodeIndex to = connection.sides[1].node;
  const auto delay =
      to == kNoNode ? std::nullopt : network_.stream_message(from, to, 0, host_.now());
  if (delay) {
    schedule(host_.now() + *delay, {.kind = Kind::kArrived, .connection = event.connection});
  } else if (host_.now() + event.backoff < connection.deadline) {
    Event again = event;
    again.backoff *= 2;
    schedule(host_.now() + event.backoff, std::move(again));
  }
}

void Streams::arrived(Connection& connection, const Event& event) {
  Endpoint& acceptor = connection.sides[1];
  const NodeIndex opener = connection.sides[0].node;
  const PortState port = host_.port_state(connection.to);
  if (port == PortState::kSilent) return;
  const auto back = network_.stream_message(acceptor.node, opener, 0, host_.now());
  if (port == PortState::kRefusing) {
    if (back) {
      schedule(host_.now() + *back, {.kind = Kind::kRefused, .connection = event.connection});
    }
    return;
  }
  if (!back || connection.sides[0].state != State::kConnecting) return;
  if (acceptor.node >= accepted_.size()) accepted_.resize(acceptor.node + 1);
  acceptor.stream = membership::kFirstAcceptedStream + accepted_[acceptor.node]++;
  acceptor.state = State::kOpen;
  acceptor.active = host_.now();
  of(acceptor.node)[acceptor.stream] = {event.connection, 1};
  idle(connection, {.side = 1, .connection = event.connection});
  schedule(host_.now() + *back, {.kind = Kind::kAccepted, .connection = event.connection});
  host_.deliver_stream(
      acceptor.node,
      {.kind = StreamInput::Kind::kAccepted, .stream = acceptor.stream, .from = connection.from});
}

void Streams::idle(Connection& connection, const Event& event) {
  Endpoint& endpoint = connection.sides[event.side];
  if (endpoint.state != State::kOpen) return;
  TimePoint due = endpoint.active + host_.stream_timeout(endpoint.node);
  if (due <= host_.now()) {
    if (!host_.paused(endpoint.node)) {
      finish(connection, event.side, StreamEnd::kUnreachable);
      enqueue(event.connection, event.side, {.end = true});
      return;
    }
    due = host_.now() + kPausedRecheck;
  }
  schedule(due, {.kind = Kind::kIdle, .side = event.side, .connection = event.connection});
}

void Streams::pump(Connection& connection, const Event& event) {
  Endpoint& sender = connection.sides[event.side];
  const Endpoint& receiver = connection.sides[1 - event.side];
  sender.pumping = false;
  while (!sender.outbox.empty()) {
    if (sender.gave_up < host_.now()) {
      sender.outbox.clear();
      sender.outbox_bytes = 0;
      return;
    }
    const Outgoing& next = sender.outbox.front();
    const auto delay =
        network_.stream_message(sender.node, receiver.node, next.bytes.size(), host_.now());
    if (!delay || !host_.host_up(sender.node)) {
      Event again = event;
      again.backoff = std::min(event.backoff * 2, kRetransmitMax);
      sender.pumping = true;
      schedule(host_.now() + event.backoff, std::move(again));
      return;
    }
    sender.last_arrival = std::max(host_.now() + *delay, sender.last_arrival + Duration(1));
    sender.outbox_bytes -= next.bytes.size();
    Event arrival{.kind = next.end ? Kind::kEnd : Kind::kMessage,
                  .side = static_cast<uint8_t>(1 - event.side),
                  .connection = event.connection,
                  .bytes = next.bytes};
    sender.outbox.pop_front();
    schedule(sender.last_arrival, std::move(arrival));
  }
}

void Streams::message(Connection& connection, Event event) {
  Endpoint& receiver = connection.sides[event.side];
  if (receiver.state != State::kOpen) {
    // Nobody has this connection any more, and its host says so.
    if (host_.host_up(receiver.node)) {
      schedule(
          host_.now() + network_.base_latency(connection.sides[0].node, connection.sides[1].node),
          {.kind = Kind::kEnd,
           .side = static_cast<uint8_t>(1 - event.side),
           .connection = event.connection});
    }
    return;
  }
  receiver.active = host_.now();
  connection.sides[1 - event.side].active = host_.now();
  host_.deliver_stream(receiver.node, {.kind = StreamInput::Kind::kMessage,
                                       .stream = receiver.stream,
                                       .bytes = std::move(event.bytes)});
}

}  // namespace starling::simulation
