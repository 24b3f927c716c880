// SPDX-License-Identifier: Apache-2.0
#include "agent/net/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>

#include "proto/support/assert.h"

namespace starling::agent {

namespace {

using Clock = std::chrono::steady_clock;

// Bytes taken from one stream before others have their turn: kReadsAtOnce times the scratch of one
// message, but no more than one scratch of several, each of which may take long.
constexpr int kReadsAtOnce = 4;
// What the other side still sends while we only wait for it to close.
constexpr size_t kMaxDiscarded = 4U << 20;
constexpr size_t kKeepCapacity = 64U << 10;

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

Stream::StreamEnd connect_end(int error) {
  return error == ECONNREFUSED ? Stream::StreamEnd::kRefused : Stream::StreamEnd::kUnreachable;
}

void set_option(int fd, int level, int name, int value = 1) {
  setsockopt(fd, level, name, &value, sizeof value);
}

// Connect without a word: the acknowledgement that ends TCP's handshake waits for what we send, and
// that is a reset. The other side's kernel has answered by then, and its agent is not woken.
void connect_only(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
  const linger reset{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

}  // namespace

struct Stream::Io {
  explicit Io(asio::io_context& context) : descriptor(context), timer(context) {}
  asio::posix::stream_descriptor descriptor;  // waits for socket_, does not own it
  asio::steady_timer timer;
  Clock::time_point deadline;
};

Stream::Stream(asio::io_context& io, StreamOwner& owner, std::shared_ptr<const Keyring> keyring,
               const TransportLimits& limits, StreamId id, const Address& peer)
    : owner_(&owner),
      limits_(limits),
      id_(id),
      peer_(peer),
      keyring_(std::move(keyring)),
      codec_(*keyring_, id >= membership::kFirstAcceptedStream ? StreamCodec::Role::kAccepter
                                                               : StreamCodec::Role::kOpener),
      io_(std::make_unique<Io>(io)) {}

Stream::~Stream() {
  abandon();
}

void Stream::abandon() {
  owner_ = nullptr;
  state_ = State::kOver;
  io_->timer.cancel();
  if (io_->descriptor.is_open()) io_->descriptor.release();
  socket_.reset();
}

// --- opening ---

void Stream::connect(const Address& bound, membership::Duration timeout, StreamGoal goal) {
  goal_ = goal;
  const int family = family_of(bound);
  const auto to = to_socket_address(peer_, family);
  if (!to) {
    refuse(StreamEnd::kUnreachable, "this agent is bound to IPv4 only; bind :: for both");
    return;
  }
  if (!prepare(bound, family)) return;
  const int result = ::connect(socket_.get(), to->get(), to->size);
  if (result != 0 && errno != EINPROGRESS) {
    refuse(connect_end(errno), error_text(errno));
    return;
  }
  state_ = State::kConnecting;
  io_->descriptor.assign(socket_.get());
  set_deadline(timeout);
  arm_timer();
  wait_writable();
}

bool Stream::prepare(const Address& bound, int family) {
  socket_ = FileDescriptor(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_) {
    refuse(StreamEnd::kUnreachable, "no socket: " + error_text(errno));
    return false;
  }
  set_option(socket_.get(), IPPROTO_TCP, TCP_NODELAY);
  if (goal_ == StreamGoal::kConnect) connect_only(socket_.get());
  if (bound.is_unspecified()) return true;
  // The other side is to see the address that we go by.
  set_option(socket_.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
  const auto from = to_socket_address(Address(bound.ip(), 0), family);
  if (::bind(socket_.get(), from->get(), from->size) == 0) return true;
  refuse(StreamEnd::kUnreachable, "cannot bind " + bound.ip_string() + ": " + error_text(errno));
  return false;
}

void Stream::connected() {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    finish(connect_end(error), error_text(error));
    return;
  }
  SocketAddress peer;
  peer.size = sizeof peer.storage;
  if (getpeername(socket_.get(), peer.get(), &peer.size) != 0) {
    wait_writable();  // not yet: a spurious wake-up
    return;
  }
  if (goal_ == StreamGoal::kTalk) return start_handshake();
  announced_ = true;
  owner_->stream_established(*this);
  close();
}

void Stream::accept(FileDescriptor socket) {
  socket_ = std::move(socket);
  set_option(socket_.get(), IPPROTO_TCP, TCP_NODELAY);
  io_->descriptor.assign(socket_.get());
  set_deadline(limits_.handshake_timeout);
  arm_timer();
  start_handshake();
}

// The deadline of connecting covers the handshake too.
void Stream::start_handshake() {
  state_ = State::kHandshake;
  codec_.take_handshake(out_);
  write_out();
  wait_readable();
}

void Stream::refuse(StreamEnd end, std::string_view why) {
  finish(end, why);
}

// --- reading ---

void Stream::wait_readable() {
  if (over()) return;
  io_->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                             [self = shared_from_this()](const asio::error_code& error) {
                               if (error || self->over()) return;
                               self->readable();
                             });
}

void Stream::readable() {
  const uint64_t before = owner_->statistics.stream_messages_received;
  for (int i = 0; i < kReadsAtOnce && !over(); ++i) {
    const ReadResult result = read_some();
    if (result == ReadResult::kEnd) return;
    if (result == ReadResult::kEmpty) break;
    if (owner_->statistics.stream_messages_received != before) break;
  }
  wait_readable();
}

Stream::ReadResult Stream::read_some() {
  char* const scratch = owner_->scratch.get();
  const ssize_t count = recv(socket_.get(), scratch, StreamOwner::kScratch, MSG_DONTWAIT);
  if (count < 0 && would_block(errno)) return ReadResult::kEmpty;
  if (count <= 0) {
    closed_by_peer(count == 0 ? 0 : errno);
    return ReadResult::kEnd;
  }
  const auto size = static_cast<size_t>(count);
  owner_->statistics.stream_bytes_received += size;
  if (state_ == State::kFlushing) {
    discarded_ += size;
    if (discarded_ <= kMaxDiscarded) return ReadResult::kMore;
    finish(StreamEnd::kClosed, "the other side goes on sending");
    return ReadResult::kEnd;
  }
  if (state_ == State::kOpen) set_deadline(limits_.idle_timeout);
  received({scratch, size});
  return over() ? ReadResult::kEnd : ReadResult::kMore;
}

void Stream::closed_by_peer(int error) {
  reset_ = reset_ || error == ECONNRESET;
  if (state_ == State::kHandshake && codec_.can_seal()) {
    // It has seen our hello, and gone instead of proving that it holds a key.
    finish(StreamEnd::kProtocol,
           "closed by the other side during the handshake: it may not hold our cluster key");
  } else if (error != 0) {
    finish(StreamEnd::kClosed, error_text(error));
  } else if (state_ == State::kHandshake) {
    finish(StreamEnd::kClosed, "closed by the other side before the handshake");
  } else {
    finish(StreamEnd::kClosed, codec_.mid_frame() ? "closed by the other side within a message"
                                                  : "closed by the other side");
  }
}

void Stream::received(std::string_view bytes) {
  codec_.receive(bytes);
  while (!over() && state_ != State::kFlushing) {
    const StreamCodec::Event event = codec_.next();
    codec_.take_handshake(out_);
    switch (event) {
      case StreamCodec::Event::kNone:
        if (written_ < out_.size()) queued();
        return;
      case StreamCodec::Event::kEstablished:
        established_now();
        break;
      case StreamCodec::Event::kMessage:
        ++owner_->statistics.stream_messages_received;
        owner_->stream_message(*this, codec_.message());
        break;
      case StreamCodec::Event::kFailed:
        // Who reaches only itself has found that nobody else listens there.
        finish(
            codec_.failure() == StreamFailure::kSelf ? StreamEnd::kRefused : StreamEnd::kProtocol,
            stream_failure_text(codec_.failure()));
        return;
    }
  }
}

void Stream::established_now() {
  state_ = State::kOpen;
  set_deadline(limits_.idle_timeout);
  arm_timer();  // it may be earlier than the handshake's
  for (const std::string& message : early_) codec_.seal(message, out_);
  early_.clear();
  early_bytes_ = 0;
  queued();
  if (over()) return;
  announced_ = true;
  owner_->stream_established(*this);
}

// --- writing ---

void Stream::send(std::string_view message) {
  if (over() || state_ == State::kFlushing) return;
  if (message.size() > membership::kMaxStreamMessage) {
    finish(StreamEnd::kProtocol, "a message over the size limit was to be sent");
    return;
  }
  const size_t waiting = out_.size() - written_ + early_bytes_;
  if (waiting + message.size() > limits_.stream_output) {
    ++owner_->statistics.stream_output_full;
    finish(StreamEnd::kClosed, "the other side reads too slowly: " + std::to_string(waiting) +
                                   " bytes are waiting for it");
    return;
  }
  ++owner_->statistics.stream_messages_sent;
  if (state_ != State::kOpen) {
    early_.emplace_back(message);
    early_bytes_ += message.size();
    return;
  }
  if (written_ > out_.size() / 2) {
    out_.erase(0, written_);
    written_ = 0;
  }
  codec_.seal(message, out_);
  queued();
}

void Stream::queued() {
  if (!waiting_writable_) write_out();
}

void Stream::write_out() {
  while (written_ < out_.size() && !write_broken_) {
    const ssize_t count = ::send(socket_.get(), out_.data() + written_, out_.size() - written_,
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && would_block(errno)) {
      wait_writable();
      return;
    }
    if (count < 0) {
      // The last words of the other side may be waiting to be read: reading will find the end.
      write_broken_ = true;
      reset_ = errno == ECONNRESET;
      break;
    }
    written_ += static_cast<size_t>(count);
    owner_->statistics.stream_bytes_sent += static_cast<uint64_t>(count);
    if (state_ == State::kOpen) set_deadline(limits_.idle_timeout);
  }
  out_.clear();
  written_ = 0;
  if (out_.capacity() > kKeepCapacity) out_.shrink_to_fit();
  if (state_ == State::kFlushing) flushed();
}

void Stream::wait_writable() {
  if (over() || waiting_writable_) return;
  waiting_writable_ = true;
  io_->descriptor.async_wait(asio::posix::stream_descriptor::wait_write,
                             [self = shared_from_this()](const asio::error_code& error) {
                               self->waiting_writable_ = false;
                               if (error || self->over()) return;
                               if (self->state_ == State::kConnecting) {
                                 self->connected();
                               } else {
                                 self->write_out();
                               }
                             });
}

// --- ending ---

void Stream::close() {
  silent_ = true;
  if (over() || state_ == State::kFlushing) return;
  if (state_ != State::kOpen) {
    finish(StreamEnd::kClosed, "given up before it was open");
    return;
  }
  state_ = State::kFlushing;
  set_deadline(limits_.flush_timeout);
  arm_timer();
  if (written_ == out_.size() || write_broken_) flushed();
}

// Closing with unread bytes in the socket would reset the connection and could take from the other
// side what it has not read yet. So: end our direction, and wait for the end of theirs.
void Stream::flushed() {
  if (shut_down_) return;
  shut_down_ = true;
  if (write_broken_ || shutdown(socket_.get(), SHUT_WR) != 0) {
    finish(StreamEnd::kClosed, "broken");
  }
}

void Stream::set_deadline(std::chrono::nanoseconds after) {
  // A caller's huge timeout must not overflow the clock.
  const auto bounded = std::min<std::chrono::nanoseconds>(after, std::chrono::hours(24));
  io_->deadline = Clock::now() + bounded;
}

// The deadline moves with every byte, the timer only when it has fired too early.
void Stream::arm_timer() {
  io_->timer.expires_at(io_->deadline);
  io_->timer.async_wait([self = shared_from_this()](const asio::error_code& error) {
    if (error || self->over()) return;
    if (Clock::now() < self->io_->deadline) {
      self->arm_timer();
    } else {
      self->deadline_passed();
    }
  });
}

void Stream::deadline_passed() {
  switch (state_) {
    case State::kConnecting:
      finish(StreamEnd::kUnreachable, "no answer: timed out connecting");
      break;
    case State::kHandshake:
      finish(StreamEnd::kUnreachable, "no answer: timed out in the handshake");
      break;
    case State::kOpen:
      ++owner_->statistics.stream_idle;
      finish(StreamEnd::kClosed, "nothing moved for too long");
      break;
    case State::kFlushing:
      finish(StreamEnd::kClosed, "the other side did not close in time");
      break;
    case State::kNew:
    case State::kOver:
      break;
  }
}

std::string Stream::describe(std::string_view why) const {
  std::string text = accepted() ? "stream from " : "stream to ";
  text += peer_.to_string();
  text += ": ";
  text += why;
  return text;
}

void Stream::finish(StreamEnd end, std::string_view why) {
  if (over()) return;
  state_ = State::kOver;
  end_ = End{end, describe(why)};
  asio::post(io_->timer.get_executor(), [self = shared_from_this()] {
    if (self->owner_ != nullptr) self->owner_->stream_over(*self);
  });
  io_->timer.cancel();
  if (io_->descriptor.is_open()) io_->descriptor.release();
  socket_.reset();
  out_.clear();
  out_.shrink_to_fit();
  early_.clear();
}

}  // namespace starling::agent
