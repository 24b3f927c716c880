// SPDX-License-Identifier: Apache-2.0
#include "agent/control/channel.h"

#include <unistd.h>

#include <asio/buffer.hpp>
#include <asio/post.hpp>
#include <chrono>
#include <utility>

namespace starling::agent {

namespace {

// A client that does not close after the last words is not waited for any longer.
constexpr auto kLinger = std::chrono::seconds(2);
// Out of descriptors, most likely: trying again at once would only burn the processor.
constexpr auto kAcceptRetry = std::chrono::milliseconds(100);

}  // namespace

Channel::Channel(asio::io_context& io, ChannelSocket socket, const Limits& limits)
    : io_(io), socket_(std::move(socket)), lingering_(io), limits_(limits) {}

// --- in ----------------------------------------------------------------------------------------

void Channel::read() {
  if (state_ != State::kOpen || receiving_) return;
  const bool more = take(input_);
  if (state_ == State::kOpen && more) receive();
}

void Channel::receive() {
  if (receiving_) return;
  receiving_ = true;
  socket_.async_read_some(
      asio::buffer(buffer_),
      [self = shared_from_this()](const asio::error_code& error, std::size_t bytes) {
        self->receiving_ = false;
        if (self->state_ == State::kClosing || self->state_ == State::kClosed) return;
        if (error) return self->close();
        self->received(bytes);
      });
}

void Channel::received(std::size_t bytes) {
  if (state_ == State::kFinishing) return receive();  // what comes now is not wanted
  input_ = std::string_view(buffer_.data(), bytes);
  read();
}

void Channel::read_soon() {
  asio::post(io_, [self = shared_from_this()] { self->read(); });
}

// --- out ---------------------------------------------------------------------------------------

bool Channel::queue(std::string_view message) {
  const std::size_t queued = output_.size() - sent_ + waiting_.size();
  if (state_ != State::kOpen || message.size() > limits_.queued_bytes ||
      queued > limits_.queued_bytes - message.size() ||
      output_messages_ + waiting_messages_ >= limits_.queued_messages) {
    return false;
  }
  waiting_ += message;
  ++waiting_messages_;
  write();
  return true;
}

bool Channel::has_room() const {
  return (output_messages_ + waiting_messages_) * 2 < limits_.queued_messages &&
         waiting_.size() * 2 < limits_.queued_bytes;
}

void Channel::write() {
  if (writing_ || waiting_.empty()) return;
  output_ = std::exchange(waiting_, {});
  output_messages_ = std::exchange(waiting_messages_, 0);
  written(0);
}

void Channel::written(std::size_t bytes) {
  writing_ = false;
  sent_ += bytes;
  if (sent_ == output_.size()) {
    output_.clear();
    sent_ = 0;
    output_messages_ = 0;
    write();
    if (writing_) return;
    if (state_ == State::kFinishing) return end_output();
    return drained();
  }
  writing_ = true;
  socket_.async_write_some(
      asio::buffer(output_.data() + sent_, output_.size() - sent_),
      [self = shared_from_this()](const asio::error_code& error, std::size_t sent) {
        if (self->state_ == State::kClosed) return;
        if (error) return self->close();
        self->written(sent);
      });
}

// --- the end -----------------------------------------------------------------------------------

void Channel::finish() {
  if (state_ != State::kOpen) return;
  state_ = State::kFinishing;
  lingering_.expires_after(kLinger);
  lingering_.async_wait([self = shared_from_this()](const asio::error_code& error) {
    if (!error) self->close();
  });
  if (!writing_) end_output();
  receive();
}

void Channel::end_output() {
  asio::error_code ignored;
  socket_.shutdown(ChannelSocket::shutdown_send, ignored);
}

// Others may be walking over their clients while they send: they hear of the end later.
void Channel::close_soon() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosing;
  asio::post(io_, [self = shared_from_this()] { self->close(); });
}

void Channel::close() {
  if (std::exchange(state_, State::kClosed) == State::kClosed) return;
  asio::error_code ignored;
  lingering_.cancel();
  socket_.close(ignored);
  on_close();
}

// --- accepting ---------------------------------------------------------------------------------

Listener::Listener(asio::io_context& io) : acceptor_(io), retry_(io) {}

Listener::~Listener() {
  stop();
}

bool Listener::start(int descriptor, int family, Accepted accepted, std::string& error) {
  asio::error_code failed;
  acceptor_.assign(asio::generic::stream_protocol(family, 0), descriptor, failed);
  if (failed) {
    ::close(descriptor);
    error = failed.message();
    return false;
  }
  accepted_ = std::move(accepted);
  open_ = std::make_shared<bool>(true);
  accept();
  return true;
}

void Listener::accept() {
  acceptor_.async_accept([this, open = std::weak_ptr<bool>(open_)](const asio::error_code& error,
                                                                   ChannelSocket socket) {
    if (open.expired() || error == asio::error::operation_aborted) return;
    if (!error) {
      accepted_(std::move(socket));
      if (!open.expired()) accept();
      return;
    }
    retry_.expires_after(kAcceptRetry);
    retry_.async_wait([this, open](const asio::error_code& cancelled) {
      if (!open.expired() && !cancelled) accept();
    });
  });
}

void Listener::stop() {
  if (!open_) return;
  open_.reset();
  asio::error_code ignored;
  acceptor_.close(ignored);
  retry_.cancel();
}

}  // namespace starling::agent
