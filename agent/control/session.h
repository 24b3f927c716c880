// SPDX-License-Identifier: Apache-2.0
//
// Between the doors (unix socket, Serf RPC) and the one control service: a door turns bytes into
// requests and replies into bytes, the service does the rest. Event-loop thread only.
#pragma once

#include <functional>
#include <memory>

#include "proto/control.pb.h"

namespace starling::agent {

/// One client as the service sees it: where its replies go. The door keeps it alive while the
/// client is connected; the service keeps it while a request is unanswered.
class Session {
 public:
  virtual ~Session() = default;

  /// Queues a reply. False when it was dropped: the client is gone, or reads too slowly and its
  /// bounded queue is full. A reply with `done` is never dropped for slowness; a door that cannot
  /// take it closes the connection.
  virtual bool send(const control::Reply& reply) = 0;

  /// As send(), but a reply that finds no room now is not dropped: its owner keeps it and waits
  /// with when_room(). Not for replies with `done`.
  virtual bool offer(const control::Reply& reply) = 0;
  /// Calls `room` once, later, when at least half of the queue is free; never when the client goes.
  virtual void when_room(std::function<void()> room) = 0;

  /// The client certainly is root, or runs as the same user as the agent.
  [[nodiscard]] virtual bool is_owner() const { return false; }
};

/// The service, as a door sees it.
class RequestHandler {
 public:
  virtual ~RequestHandler() = default;

  /// Answers with one or more replies to `session`, now or later, the last one with `done`.
  virtual void handle(const std::shared_ptr<Session>& session, const control::Request& request) = 0;

  /// The client is gone: running requests of this session end.
  virtual void session_closed(const std::shared_ptr<Session>& session) = 0;
};

}  // namespace starling::agent
