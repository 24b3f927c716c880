// SPDX-License-Identifier: Apache-2.0
//
// The door for Serf's clients: its RPC, msgpack over TCP or a unix socket. A codec over the control
// service; of its own it has only what is about the connection: handshake, token, and the numbers
// (Seq) by which a client knows its requests. Event-loop thread only.
//
// Bounds: connections; size, values and nesting of a message; streams and queries of a connection;
// replies waiting for one client. Requests of a connection are carried out one after the other, as
// in Serf. A client that does not read is cut off, and the log says so.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/control/session.h"
#include "agent/log.h"
#include "membership/address.h"
#include "proto/support/result.h"

namespace asio {
class io_context;
}

namespace starling::agent {

struct SerfServerOptions {
  /// Port 0: the system picks one. With none, `path` is the unix socket to listen on.
  std::optional<membership::Address> address;
  std::string path;
  std::string auth;  ///< the token that clients have to show; empty: none

  std::size_t connections = 128;
  std::size_t message_bytes = 1U << 20;
  std::size_t first_message_bytes = 64U << 10;  ///< before the client has shown the token
  std::size_t streams = 64;                     ///< and queries, of one connection
  std::size_t queued_bytes = 8U << 20;          ///< replies waiting for one client
  std::size_t queued_replies = 4096;            ///< replies waiting for one client
  unsigned wrong_tokens = 5;                    ///< of one connection, which is then closed
  unsigned greeting_seconds = 30;               ///< for handshake and token
};

/// What happened since the start; for metrics.
struct SerfServerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;    ///< over the limit of connections
  std::uint64_t malformed = 0;  ///< connections closed for what is no request
  std::uint64_t denied = 0;     ///< wrong tokens
  std::uint64_t closed_slow = 0;
};

class SerfServer {
 public:
  /// `io`, `handler` and `log` outlive the server. Nothing happens before listen().
  SerfServer(asio::io_context& io, SerfServerOptions options, RequestHandler& handler, Log& log);
  ~SerfServer();
  SerfServer(const SerfServer&) = delete;
  SerfServer& operator=(const SerfServer&) = delete;

  /// kConflict: somebody listens there already. kUnavailable: the system refused.
  [[nodiscard]] Result<void> listen();

  /// Calls `left` once, from the loop, when no client that asked the agent to leave is connected
  /// any more, or after `within`. Serf's own client takes the end of a connection that comes right
  /// behind the answer for a failure.
  void when_leavers_gone(std::chrono::milliseconds within, std::function<void()> left);

  /// Ends every connection (each handler's session_closed() is called). Idempotent; the destructor
  /// does it.
  void close();

  /// "127.0.0.1:7373", with the port that was picked, or the path.
  [[nodiscard]] const std::string& local_address() const;
  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] const SerfServerCounters& counters() const;

 private:
  struct State;

  std::unique_ptr<State> state_;
};

}  // namespace starling::agent
