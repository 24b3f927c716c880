// SPDX-License-Identifier: Apache-2.0
#include "agent/net/transport.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/net/seal.h"
#include "agent/net/socket.h"
#include "agent/net/stream.h"
#include "agent/net/udp.h"
#include "proto/support/assert.h"

namespace starling::agent {

namespace {

using membership::kFirstAcceptedStream;

// Work in one turn of the loop, so that timers and other sockets have theirs.
constexpr size_t kDatagramsAtOnce = 4 * UdpSocket::kBatch;
constexpr int kAcceptsAtOnce = 16;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr auto kHandshakePause = std::chrono::milliseconds(2);

}  // namespace

class Transport::Impl : public std::enable_shared_from_this<Transport::Impl>, public StreamOwner {
 public:
  Impl(asio::io_context& io, BoundSockets sockets, const Keyring& keyring,
       const membership::NodeId& self, uint32_t epoch, Callbacks callbacks, TransportLimits limits)
      : io_(io),
        address_(sockets.address),
        keyring_(std::make_shared<Keyring>(keyring.clone())),
        sealer_(keyring, self, epoch),
        callbacks_(std::move(callbacks)),
        limits_(limits),
        udp_(std::move(sockets.udp), family_of(sockets.address)),
        udp_wait_(io, udp_.fd()),
        listener_(std::move(sockets.listener)),
        listener_wait_(io, listener_.get()),
        accept_timer_(io) {
    scratch = std::make_unique_for_overwrite<char[]>(StreamOwner::kScratch);
  }

  void start() {
    wait_datagrams();
    wait_connections();
  }
  void stop();

  void send(const Address& to, std::string_view plain);
  void flush();
  size_t drain(size_t max_datagrams) { return in_callback_ ? 0 : read_datagrams(max_datagrams); }
  void open_stream(StreamId id, const Address& to, membership::Duration timeout, StreamGoal goal);
  void send_stream(StreamId id, std::string_view message);
  void close_stream(StreamId id);
  void set_keyring(const Keyring& keyring) {
    keyring_ = std::make_shared<Keyring>(keyring.clone());
    sealer_.set_keyring(keyring);
    for (const auto& [id, stream] : streams_) stream->set_keyring(keyring_);
  }

  [[nodiscard]] const Address& address() const { return address_; }
  [[nodiscard]] TransportStatistics snapshot() const;
  [[nodiscard]] const Strangers& strangers() const { return strangers_; }

 private:
  void stream_established(Stream& stream) override;
  void stream_message(Stream& stream, std::string_view message) override;
  void stream_over(Stream& stream) override;

  void wait_datagrams();
  size_t read_datagrams(size_t max);
  /// True when it was delivered.
  bool datagram(const UdpSocket::Datagram& datagram);
  void count(OpenFailure failure, const Address& from);
  void note_stranger(const Address& from, StrangerReason reason);
  bool deliver_refusals();
  void post_refusals();
  void read_errors();

  void wait_connections();
  void accept_connections();
  void accept_after(std::chrono::steady_clock::duration pause);
  void accepted(FileDescriptor socket, const Address& from);
  [[nodiscard]] size_t established_streams() const { return streams_.size() - handshakes_.size(); }

  template <typename Callback, typename... Arguments>
  void call(const Callback& callback, Arguments&&... arguments) {
    const bool outer = std::exchange(in_callback_, true);
    callback(std::forward<Arguments>(arguments)...);
    in_callback_ = outer;
  }

  asio::io_context& io_;
  Address address_;
  std::shared_ptr<const Keyring> keyring_;
  PacketSealer sealer_;
  Callbacks callbacks_;
  TransportLimits limits_;
  UdpSocket udp_;
  asio::posix::stream_descriptor udp_wait_;  // waits, does not own
  FileDescriptor listener_;
  asio::posix::stream_descriptor listener_wait_;  // waits, does not own
  asio::steady_timer accept_timer_;
  Strangers strangers_;
  std::vector<Address> refused_;
  bool refusals_posted_ = false;
  bool in_callback_ = false;
  bool stopped_ = false;
  std::unordered_map<StreamId, std::shared_ptr<Stream>> streams_;
  std::map<StreamId, std::chrono::steady_clock::time_point>
      handshakes_;  // accepted and unproven, and since when
  StreamId next_accepted_ = kFirstAcceptedStream;
};

void Transport::Impl::stop() {
  STARLING_ASSERT(!in_callback_);
  stopped_ = true;
  for (const auto& [id, stream] : streams_) stream->abandon();
  streams_.clear();
  handshakes_.clear();
  accept_timer_.cancel();
  udp_wait_.release();
  listener_wait_.release();
  listener_.reset();
}

// --- datagrams ---

void Transport::Impl::send(const Address& to, std::string_view plain) {
  if (plain.size() > membership::kMaxPacket) {
    ++statistics.send_too_large;
    return;
  }
  if (udp_.full()) flush();
  std::string* sealed = udp_.add(to);
  if (sealed == nullptr) {
    ++statistics.send_failed;
    return;
  }
  sealer_.seal(plain, *sealed);
}

void Transport::Impl::flush() {
  if (!udp_.waiting()) return;
  const UdpSocket::Sent result = udp_.flush();
  statistics.packets_sent += result.sent;
  statistics.bytes_sent += result.bytes;
  statistics.send_buffer_full += result.buffer_full;
  statistics.send_failed += result.failed;
  post_refusals();
}

/// Woken, and nothing has come: it may have been the error queue.
void Transport::Impl::read_errors() {
  udp_.read_error_queue();
  if (deliver_refusals()) call(callbacks_.on_delivered);
}

/// What flush() came across is told later: no callback runs inside it.
void Transport::Impl::post_refusals() {
  if (!udp_.has_refusals() || std::exchange(refusals_posted_, true)) return;
  asio::post(io_, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || self->stopped_) return;
    self->refusals_posted_ = false;
    if (self->deliver_refusals()) self->call(self->callbacks_.on_delivered);
  });
}

void Transport::Impl::wait_datagrams() {
  // Also completes when the error queue has something (EPOLLERR).
  udp_wait_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [weak = weak_from_this()](const asio::error_code& error) {
                         const auto self = weak.lock();
                         if (error || !self || self->stopped_) return;
                         if (self->read_datagrams(kDatagramsAtOnce) == 0) self->read_errors();
                         self->wait_datagrams();
                       });
}

size_t Transport::Impl::read_datagrams(size_t max) {
  size_t total = 0;
  bool more = true;
  while (more && total < max) {
    const size_t wanted = std::min(max - total, UdpSocket::kBatch);
    const auto& batch = udp_.read(wanted);
    bool delivered = false;
    for (const UdpSocket::Datagram& item : batch) delivered = datagram(item) || delivered;
    total += batch.size();
    more = batch.size() == wanted;
    if (!more) delivered = deliver_refusals() || delivered;
    if (delivered) call(callbacks_.on_delivered);
  }
  return total;
}

bool Transport::Impl::datagram(const UdpSocket::Datagram& datagram) {
  if (datagram.cut) {
    ++statistics.dropped_too_large;
    return false;
  }
  const auto plain = sealer_.open(datagram.bytes);
  if (!plain) {
    count(plain.error(), datagram.from);
    return false;
  }
  ++statistics.packets_received;
  statistics.bytes_received += datagram.bytes.size();
  call(callbacks_.on_datagram, datagram.from, *plain);
  return true;
}

void Transport::Impl::note_stranger(const Address& from, StrangerReason reason) {
  strangers_.note(from, reason, std::chrono::steady_clock::now());
}

void Transport::Impl::count(OpenFailure failure, const Address& from) {
  switch (failure) {
    case OpenFailure::kTooShort:
    case OpenFailure::kVersion:
      ++statistics.dropped_malformed;
      break;
    case OpenFailure::kTooLong:
      ++statistics.dropped_too_large;
      break;
    case OpenFailure::kUnknownKey:
      ++statistics.dropped_unknown_key;
      note_stranger(from, StrangerReason::kUnknownKey);
      break;
    case OpenFailure::kForged:
      ++statistics.dropped_forged;
      // One byte names a key: of other keys every 256th looks like one of ours.
      note_stranger(from, StrangerReason::kUnknownKey);
      break;
    case OpenFailure::kOwn:
      ++statistics.dropped_own;
      break;
    case OpenFailure::kReplayed:
      ++statistics.dropped_replayed;
      break;
    case OpenFailure::kOldBoot:
      ++statistics.dropped_old_boot;
      note_stranger(from, StrangerReason::kOldBoot);
      break;
    case OpenFailure::kTwin:
      ++statistics.dropped_twin;
      note_stranger(from, StrangerReason::kTwin);
      break;
  }
}

/// True when there were any.
bool Transport::Impl::deliver_refusals() {
  if (!udp_.has_refusals()) return false;
  udp_.take_refusals(refused_);
  std::vector<Address> refused;
  refused.swap(refused_);
  statistics.refused += refused.size();
  for (const Address& peer : refused) call(callbacks_.on_refused, peer);
  return !refused.empty();
}

// --- streams ---

void Transport::Impl::open_stream(StreamId id, const Address& to, membership::Duration timeout,
                                  StreamGoal goal) {
  STARLING_ASSERT(id < kFirstAcceptedStream && !streams_.contains(id));
  const bool full = established_streams() >= limits_.streams;
  auto stream = std::make_shared<Stream>(io_, *this, keyring_, limits_, id, to);
  streams_.emplace(id, stream);
  if (full) {
    ++statistics.stream_limit;
    stream->refuse(StreamEnd::kUnreachable,
                   "this agent has " + std::to_string(limits_.streams) + " streams, the limit");
    return;
  }
  stream->connect(address_, timeout, goal);
}

void Transport::Impl::send_stream(StreamId id, std::string_view message) {
  const auto found = streams_.find(id);
  if (found != streams_.end()) found->second->send(message);
}

void Transport::Impl::close_stream(StreamId id) {
  const auto found = streams_.find(id);
  if (found != streams_.end()) found->second->close();
}

void Transport::Impl::stream_established(Stream& stream) {
  if (!stream.accepted()) {
    ++(stream.established() ? statistics.streams_opened : statistics.streams_checked);
    call(callbacks_.on_opened, stream.id());
    return;
  }
  if (established_streams() >= limits_.streams) {
    ++statistics.stream_limit;
    stream.close();  // still among the handshakes: it was never announced
    return;
  }
  handshakes_.erase(stream.id());
  ++statistics.streams_accepted;
  call(callbacks_.on_accepted, stream.id(), stream.peer());
}

void Transport::Impl::stream_message(Stream& stream, std::string_view message) {
  call(callbacks_.on_message, stream.id(), message);
}

void Transport::Impl::stream_over(Stream& stream) {
  const StreamId id = stream.id();
  const auto node = streams_.extract(id);  // keeps it alive until the end of this function
  if (node.empty()) return;
  const bool unproven = handshakes_.erase(id) > 0;
  if (stream.failure() == StreamFailure::kForged || stream.failure() == StreamFailure::kTooLong) {
    ++statistics.stream_forged;
  }
  if (unproven && stream.reset_unheard()) {
    ++statistics.streams_reset;
    return;
  }
  if (unproven) {
    ++statistics.handshakes_failed;
    if (stream.failure() == StreamFailure::kUnknownKey) {
      ++statistics.handshakes_unknown_key;
      note_stranger(Address(stream.peer().ip(), 0), StrangerReason::kUnknownKey);
    }
    return;
  }
  if (!stream.accepted() && !stream.announced()) ++statistics.streams_failed;
  if (stream.silent()) return;
  call(callbacks_.on_closed, id, stream.end()->end, stream.end()->why);
}

// --- accepting ---

void Transport::Impl::wait_connections() {
  listener_wait_.async_wait(asio::posix::stream_descriptor::wait_read,
                            [weak = weak_from_this()](const asio::error_code& error) {
                              const auto self = weak.lock();
                              if (error || !self || self->stopped_) return;
                              self->accept_connections();
                            });
}

void Transport::Impl::accept_connections() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    // Many members that come at once are let in one after the other, not at each other's cost.
    if (handshakes_.size() >= limits_.handshakes &&
        std::chrono::steady_clock::now() - handshakes_.begin()->second < limits_.handshake_grace) {
      return accept_after(kHandshakePause);
    }
    SocketAddress peer;
    peer.size = sizeof peer.storage;
    FileDescriptor socket(
        accept4(listener_.get(), peer.get(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      if (const auto from = from_socket_address(peer.storage)) accepted(std::move(socket), *from);
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    ++statistics.accept_failed;
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) continue;
    // The connection stays in the kernel's queue: trying again at once would only burn time.
    return accept_after(kAcceptPause);
  }
  wait_connections();
}

void Transport::Impl::accept_after(std::chrono::steady_clock::duration pause) {
  accept_timer_.expires_after(pause);
  accept_timer_.async_wait([weak = weak_from_this()](const asio::error_code& error) {
    const auto self = weak.lock();
    if (!error && self && !self->stopped_) self->wait_connections();
  });
}

void Transport::Impl::accepted(FileDescriptor socket, const Address& from) {
  // Members prove themselves within a round trip or two; who has been at it longest is most likely
  // not one. Refusing the newcomer instead would let a few silent strangers lock members out.
  if (handshakes_.size() >= limits_.handshakes) {
    ++statistics.handshake_limit;
    const auto oldest = streams_.find(handshakes_.begin()->first);
    oldest->second->close();
    stream_over(*oldest->second);
  }
  const StreamId id = next_accepted_++;
  auto stream = std::make_shared<Stream>(io_, *this, keyring_, limits_, id, from);
  streams_.emplace(id, stream);
  handshakes_.emplace(id, std::chrono::steady_clock::now());
  stream->accept(std::move(socket));
}

TransportStatistics Transport::Impl::snapshot() const {
  TransportStatistics result = statistics;
  result.dropped_by_kernel = udp_.dropped_by_kernel();
  result.streams_now = streams_.size();
  return result;
}

// --- the outside ---

Result<std::unique_ptr<Transport>> Transport::open(asio::io_context& io, const Address& bind,
                                                   const Keyring& keyring,
                                                   const membership::NodeId& self, uint32_t epoch,
                                                   Callbacks callbacks, TransportLimits limits) {
  STARLING_ASSERT(callbacks.on_datagram && callbacks.on_refused && callbacks.on_delivered &&
                  callbacks.on_accepted && callbacks.on_opened && callbacks.on_message &&
                  callbacks.on_closed);
  auto sockets = bind_sockets(bind, limits.receive_buffer);
  if (!sockets) return tl::unexpected(std::move(sockets.error()));
  auto impl = std::make_shared<Impl>(io, std::move(*sockets), keyring, self, epoch,
                                     std::move(callbacks), limits);
  impl->start();
  return std::unique_ptr<Transport>(new Transport(std::move(impl)));
}

Transport::Transport(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Transport::~Transport() {
  impl_->stop();
}

void Transport::send(const Address& to, std::string_view plain) {
  impl_->send(to, plain);
}

void Transport::flush() {
  impl_->flush();
}

void Transport::open_stream(StreamId id, const Address& to, membership::Duration timeout,
                            StreamGoal goal) {
  impl_->open_stream(id, to, timeout, goal);
}

void Transport::send_stream(StreamId id, std::string_view message) {
  impl_->send_stream(id, message);
}

void Transport::close_stream(StreamId id) {
  impl_->close_stream(id);
}

void Transport::set_keyring(const Keyring& keyring) {
  impl_->set_keyring(keyring);
}

size_t Transport::drain(size_t max_datagrams) {
  return impl_->drain(max_datagrams);
}

Transport::Address Transport::local_address() const {
  return impl_->address();
}

const std::vector<Stranger>& Transport::strangers() const {
  return impl_->strangers().list();
}

TransportStatistics Transport::statistics() const {
  return impl_->snapshot();
}

}  // namespace starling::agent
