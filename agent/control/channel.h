// SPDX-License-Identifier: Apache-2.0
//
// What the doors share: a listener that accepts clients up to a limit, and a channel, one client's
// connection with a bounded queue of what it has not read yet. Bytes only; what they mean is the
// doors' business. Event-loop thread only.
#pragma once

#include <array>
#include <asio/basic_socket_acceptor.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace starling::agent {

using ChannelSocket = asio::generic::stream_protocol::socket;

/// One client. Its door keeps it while it is connected, and each pending operation for itself.
/// After close() it is a shell.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  struct Limits {
    std::size_t queued_bytes = 8U << 20;
    std::size_t queued_messages = 1024;
  };

  Channel(asio::io_context& io, ChannelSocket socket, const Limits& limits);
  virtual ~Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Takes what has been read and asks for more. Again after take() had to wait.
  void read();
  /// At once. on_close() is called, once.
  void close();

 protected:
  /// Uses up the front of `input`. False: read no more until read() is called again.
  virtual bool take(std::string_view& input) = 0;
  /// Everything queued has been handed to the system.
  virtual void drained() {}
  virtual void on_close() = 0;

  /// Queues a message as one piece. False when it does not fit: nothing is queued.
  [[nodiscard]] bool queue(std::string_view message);
  /// At most half of the queue is in use.
  [[nodiscard]] bool has_room() const;
  /// read(), but from the loop: not inside a call of somebody who does not expect it.
  void read_soon();
  /// close(), but from the loop; nothing is taken or queued meanwhile.
  void close_soon();
  /// Takes nothing more; closes when what is queued has been sent and the client has closed, or
  /// soon after. Closing at once could reset the connection before the client has read the last
  /// words.
  void finish();
  [[nodiscard]] bool is_open() const { return state_ == State::kOpen; }

 private:
  enum class State { kOpen, kFinishing, kClosing, kClosed };

  void receive();
  void received(std::size_t bytes);
  void write();
  void written(std::size_t bytes);
  void end_output();

  asio::io_context& io_;
  ChannelSocket socket_;
  asio::steady_timer lingering_;
  Limits limits_;
  State state_ = State::kOpen;
  bool receiving_ = false;
  bool writing_ = false;
  std::array<char, 16384> buffer_ = {};
  std::string_view input_;  // of buffer_
  std::string output_;      // being written, from sent_ on
  std::size_t sent_ = 0;
  std::size_t output_messages_ = 0;
  std::string waiting_;  // behind output_
  std::size_t waiting_messages_ = 0;
};

/// Accepts clients on a listening descriptor.
class Listener {
 public:
  using Accepted = std::function<void(ChannelSocket)>;

  explicit Listener(asio::io_context& io);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Takes over `descriptor`, a listening stream socket of `family`. False, with the descriptor
  /// closed and the reason in `error`, when the loop cannot watch it.
  bool start(int descriptor, int family, Accepted accepted, std::string& error);
  /// Accepts no more. Idempotent.
  void stop();
  [[nodiscard]] bool started() const { return open_ != nullptr; }

 private:
  void accept();

  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor_;
  asio::steady_timer retry_;
  Accepted accepted_;
  // Callbacks of the acceptor and the timer may still be queued when the listener is gone.
  std::shared_ptr<bool> open_;
};

}  // namespace starling::agent
