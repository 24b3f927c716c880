// SPDX-License-Identifier: Apache-2.0
//
// Streams between processes as TCP would carry them: connecting takes a round trip, messages are
// reliable and in order, a cut link delays them, a dead process refuses, a dead host is silent.
// Single-threaded. Both directions of every stream are bounded by kOutboxMax; an endpoint that
// moves nothing for its process' stream time-out is closed as unreachable.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "membership/node.h"
#include "test/simulation/network.h"
#include "test/simulation/types.h"

namespace starling::simulation {

using membership::StreamEnd;
using membership::StreamId;

/// What a process is told about one of its streams.
struct StreamInput {
  enum class Kind : uint8_t { kOpened, kAccepted, kMessage, kClosed };
  Kind kind = Kind::kOpened;
  StreamId stream = 0;
  Address from{};       ///< kAccepted
  std::string bytes{};  ///< kMessage
  StreamEnd end = StreamEnd::kClosed;
};

/// What answers at an address.
enum class PortState : uint8_t {
  kListening,
  kRefusing,  ///< the host is up, nobody listens
  kSilent,    ///< no such host, or it is down
};

/// What Streams needs from the world around it.
class StreamHost {
 public:
  virtual ~StreamHost() = default;
  [[nodiscard]] virtual TimePoint now() const = 0;
  /// Call Streams::handle(handle) at `at`.
  virtual void schedule_stream(TimePoint at, uint32_t handle) = 0;
  [[nodiscard]] virtual PortState port_state(const Address& address) const = 0;
  [[nodiscard]] virtual bool host_up(NodeIndex node) const = 0;
  /// The process takes no input at present.
  [[nodiscard]] virtual bool paused(NodeIndex node) const = 0;
  [[nodiscard]] virtual Duration stream_timeout(NodeIndex node) const = 0;
  virtual void deliver_stream(NodeIndex node, StreamInput input) = 0;
};

class Streams {
 public:
  static constexpr size_t kOutboxMax = 8U << 20;  ///< bytes per direction

  Streams(StreamHost& host, Network& network) : host_(host), network_(network) {}

  // --- actions of a process ---
  void open(NodeIndex node, const Address& self, StreamId stream, const Address& to,
            Duration timeout);
  /// Unknown or closed streams are ignored, as a driver that lost a race would.
  void send(NodeIndex node, StreamId stream, std::string bytes);
  void close(NodeIndex node, StreamId stream);

  /// The process is gone; with its host, nobody is told.
  void process_died(NodeIndex node, bool host_alive);

  /// A scheduled event is due.
  void handle(uint32_t handle);

  /// Endpoints that a process has at present.
  [[nodiscard]] size_t open_streams(NodeIndex node) const;
  /// Connections that still take memory.
  [[nodiscard]] size_t connections() const { return connections_.size() - free_.size(); }

 private:
  enum class State : uint8_t { kAbsent, kConnecting, kOpen, kClosed };
  struct Outgoing {
    std::string bytes{};
    bool end = false;
  };
  struct Endpoint {
    NodeIndex node = kNoNode;
    StreamId stream = 0;
    State state = State::kAbsent;
    TimePoint active;  ///< last message in or out
    std::deque<Outgoing> outbox;
    size_t outbox_bytes = 0;
    bool pumping = false;        ///< a kPump event is on its way
    TimePoint gave_up = kNever;  ///< after a close: what has not gone by then never goes
    TimePoint last_arrival;      ///< at the other side: keeps messages in order
  };
  struct Connection {
    Endpoint sides[2];  ///< 0 opened, 1 accepts
    Address from;
    Address to;
    TimePoint deadline;  ///< of connecting
    uint32_t pending = 0;
  };
  enum class Kind : uint8_t {
    kAttempt,   ///< the opener tries (again)
    kArrived,   ///< the attempt is at the other host
    kAccepted,  ///< the answer is back at the opener
    kRefused,
    kDeadline,  ///< of connecting
    kPump,      ///< try to send what waits
    kMessage,
    kEnd,
    kIdle,
  };
  struct Event {
    Kind kind = Kind::kAttempt;
    uint8_t side = 0;  ///< where it happens
    uint32_t connection = 0;
    std::string bytes{};
    StreamEnd end = StreamEnd::kClosed;
    Duration backoff{};
  };
  struct Reference {
    uint32_t connection;
    uint8_t side;
  };

  void schedule(TimePoint at, Event event);
  void attempt(Connection& connection, const Event& event);
  void arrived(Connection& connection, const Event& event);
  void idle(Connection& connection, const Event& event);
  void pump(Connection& connection, const Event& event);
  void message(Connection& connection, Event event);
  void finish(Connection& connection, uint8_t side, StreamEnd end);
  void enqueue(uint32_t number, uint8_t side, Outgoing outgoing);
  void start_pump(uint32_t number, uint8_t side);
  void drop(Connection& connection, uint8_t side);
  void release(uint32_t number);
  Reference* find(NodeIndex node, StreamId stream);
  std::map<StreamId, Reference>& of(NodeIndex node);

  StreamHost& host_;
  Network& network_;
  std::deque<Connection> connections_;  ///< a deque: references stay valid while it grows
  std::vector<uint32_t> free_;
  std::vector<std::map<StreamId, Reference>> by_node_;
  std::vector<StreamId> accepted_;  ///< per node, streams accepted so far
  Slab<Event> events_;
};

}  // namespace starling::simulation
