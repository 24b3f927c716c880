// SPDX-License-Identifier: Apache-2.0
//
// The unix-socket door: a stream socket on which each client sends control::Request frames and gets
// control::Reply frames. It knows nothing of what requests mean. Event-loop thread only. Who may
// connect is the mode of the socket file (0660: owner and group).
//
// Bounds: connections; queued replies per connection (send() says false); the size of a frame. A
// client with too many unanswered requests, or half a queue of replies that it does not read, is
// not read from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "agent/control/session.h"
#include "proto/support/result.h"

namespace asio {
class io_context;
}

namespace starling::agent {

struct UnixServerLimits {
  std::size_t connections = 64;
  std::size_t queued_bytes = 8u << 20;  ///< replies waiting for one client
  std::size_t queued_replies = 1024;    ///< replies waiting for one client
  std::size_t open_requests = 128;      ///< of one client, without a last reply
};

/// What happened since the start; for metrics.
struct UnixServerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;          ///< over the limit of connections
  std::uint64_t malformed = 0;        ///< connections closed for bytes that are no request
  std::uint64_t dropped_replies = 0;  ///< send() said false: queue full, or reply over the limit
  std::uint64_t closed_slow = 0;      ///< connections closed: no room for a last reply
};

class UnixServer {
 public:
  /// `handler` and `io` outlive the server. Nothing happens before listen().
  UnixServer(asio::io_context& io, std::string path, RequestHandler& handler,
             UnixServerLimits limits = {});
  ~UnixServer();
  UnixServer(const UnixServer&) = delete;
  UnixServer& operator=(const UnixServer&) = delete;

  /// Creates the socket (and a missing parent directory, mode 0750) and accepts clients. The file
  /// that a dead agent left is replaced. kConflict: a living agent listens there, or the path is
  /// something else than a socket. kInvalid: the path is empty or too long. kUnavailable: the
  /// system refused.
  [[nodiscard]] Result<void> listen();

  /// Ends every connection (each handler's session_closed() is called) and removes the socket
  /// file, if it is still this server's. Idempotent; the destructor does it.
  void close();

  std::size_t connections() const;
  const UnixServerCounters& counters() const;
  const std::string& path() const;

 private:
  class Connection;
  struct State;

  std::unique_ptr<State> state_;
};

}  // namespace starling::agent
