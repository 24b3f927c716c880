// SPDX-License-Identifier: Apache-2.0
//
// The command line's end of the control socket, or of Serf's RPC: blocking, plain POSIX (a client
// starts, asks and ends; an event loop would be most of its work). One thread. Invariant: at most
// one request is under way.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/control/client_wire.h"
#include "proto/control.pb.h"
#include "proto/support/result.h"

namespace starling::agent {

class Client {
 public:
  using Timeout = std::optional<std::chrono::milliseconds>;  ///< none: wait for ever
  /// Takes one reply of a stream; false ends the call (and leaves the client unusable).
  using OnReply = std::function<bool(const control::Reply& reply)>;

  /// Serf's clients give up after ten seconds as well.
  static constexpr std::chrono::milliseconds kDefaultTimeout = std::chrono::seconds(10);

  /// kUnavailable: no agent listens there; the message names the path and how to start one, or,
  /// when permission is missing, who may connect.
  [[nodiscard]] static Result<Client> connect(const std::string& path);

  /// An agent, of Serf or Starling, that offers Serf's RPC.
  struct SerfAddress {
    std::string host;  ///< a name or an IP without brackets
    uint16_t port = 0;
    std::string path;   ///< of a unix socket, instead of host and port
    std::string token;  ///< empty: none is shown
  };
  /// Connects, shakes hands and shows the token. kUnavailable: nobody listens there, or the agent
  /// refuses.
  [[nodiscard]] static Result<Client> connect(const SerfAddress& address);

  ~Client();
  Client(Client&& other) noexcept;
  Client& operator=(Client&& other) noexcept;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Whether this is Serf's RPC, which has fewer requests.
  [[nodiscard]] bool speaks_serf() const { return speaks_serf_; }

  /// Longest wait for room to send, and for each single reply. May be changed while a stream runs.
  void set_timeout(Timeout timeout) { timeout_ = timeout; }

  /// A descriptor that ends the wait for a reply when it is readable (a signalfd), with kConflict.
  void set_interrupt(int descriptor) { interrupt_ = descriptor; }

  /// Sends the request (its id is set here) and waits for the one reply. A reply with an `error` is
  /// a result, not a failure of the call. kTimeout; kUnavailable: the agent closed the connection;
  /// kTooLarge: the request is over the limit of a frame.
  [[nodiscard]] Result<control::Reply> call(control::Request request);

  /// As call(), for a request with several replies, the one with `done` included.
  [[nodiscard]] Result<void> call_stream(control::Request request, const OnReply& on_reply);

 private:
  Client(int descriptor, std::string path, std::unique_ptr<ClientWire> wire)
      : descriptor_(descriptor), path_(std::move(path)), wire_(std::move(wire)) {}

  Result<void> greet();
  /// Waits for a connection that is being made.
  Result<void> connected();
  Result<void> send(const std::string& frame);
  Result<void> wait(short events, std::chrono::steady_clock::time_point start);
  /// Passes replies to `on_reply` until it says false.
  Result<void> receive(const OnReply& on_reply);
  tl::unexpected<Error> lost(int error) const;

  int descriptor_ = -1;
  int interrupt_ = -1;
  std::string path_;
  Timeout timeout_ = kDefaultTimeout;
  std::uint64_t last_id_ = 0;
  bool speaks_serf_ = false;
  std::unique_ptr<ClientWire> wire_;
};

}  // namespace starling::agent
