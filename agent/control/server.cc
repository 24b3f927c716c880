// SPDX-License-Identifier: Apache-2.0
#include "agent/control/server.h"

#include <unistd.h>

#include <array>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/control/frame.h"
#include "agent/control/socket_path.h"

namespace starling::agent {

using Socket = asio::local::stream_protocol::socket;

struct UnixServer::State {
  State(asio::io_context& context, std::string socket_path, RequestHandler& request_handler,
        UnixServerLimits server_limits)
      : io(context),
        path(std::move(socket_path)),
        handler(request_handler),
        limits(server_limits),
        acceptor(context),
        retry(context) {}

  void accept();
  void accepted(Socket socket);
  void refuse(Socket socket);

  asio::io_context& io;
  std::string path;
  RequestHandler& handler;
  UnixServerLimits limits;
  UnixServerCounters counters;
  asio::local::stream_protocol::acceptor acceptor;
  asio::steady_timer retry;
  BoundSocket bound;
  std::set<std::shared_ptr<Connection>> connections;
  // Callbacks of the acceptor and the timer may still be queued when the server is gone.
  std::shared_ptr<bool> open;
};

/// One client. The server keeps it while it is connected, the service while a request is open, and
/// each pending operation for itself. After close() it is a shell: send() says false.
class UnixServer::Connection final : public Session,
                                     public std::enable_shared_from_this<Connection> {
 public:
  Connection(State& server, Socket socket)
      : server_(&server), socket_(std::move(socket)), owner_(opened_by_owner()) {}

  bool send(const control::Reply& reply) override;
  bool offer(const control::Reply& reply) override;
  void when_room(std::function<void()> room) override;
  [[nodiscard]] bool is_owner() const override { return owner_; }
  void read();
  void close();

 private:
  bool opened_by_owner();
  bool fits(std::size_t bytes) const;
  bool may_read() const;
  bool queue(const std::string& frame, bool done);
  void resume();
  void tell_room();
  bool decode();
  bool handle(std::string_view message);
  void close_soon();
  void write();
  void written(std::size_t bytes);

  State* server_;  // null once closed
  Socket socket_;
  bool owner_;
  FrameDecoder decoder_;
  std::array<char, 16384> input_ = {};
  std::string_view undecoded_;  // of input_
  bool reading_ = false;
  bool paused_ = false;  // see may_read()
  bool writing_ = false;
  bool closing_ = false;
  std::size_t open_requests_ = 0;
  std::string output_;  // being written, from output_sent_ on
  std::size_t output_sent_ = 0;
  std::size_t output_replies_ = 0;
  std::string waiting_;  // behind output_
  std::size_t waiting_replies_ = 0;
  std::vector<std::function<void()>> want_room_;
};

bool UnixServer::Connection::opened_by_owner() {
  ucred peer = {};
  socklen_t size = sizeof peer;
  const int got = ::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
  return got == 0 && (peer.uid == 0 || peer.uid == ::geteuid());
}

bool UnixServer::Connection::fits(std::size_t bytes) const {
  const std::size_t queued = output_.size() - output_sent_ + waiting_.size();
  return bytes <= server_->limits.queued_bytes && queued <= server_->limits.queued_bytes - bytes &&
         output_replies_ + waiting_replies_ < server_->limits.queued_replies;
}

/// A client that asks faster than it is answered, or than it reads, has to wait.
bool UnixServer::Connection::may_read() const {
  return open_requests_ < server_->limits.open_requests &&
         (output_replies_ + waiting_replies_) * 2 < server_->limits.queued_replies &&
         waiting_.size() * 2 < server_->limits.queued_bytes;
}

void UnixServer::Connection::resume() {
  if (!paused_ || !may_read()) return;
  paused_ = false;
  // Not at once: send() is called by the service, which does not expect a request meanwhile.
  asio::post(server_->io, [self = shared_from_this()] { self->read(); });
}

bool UnixServer::Connection::send(const control::Reply& reply) {
  if (server_ == nullptr || closing_) return false;
  Result<std::string> frame = encode_frame(reply);
  if (!frame && reply.done()) {
    control::Reply failure;
    failure.set_id(reply.id());
    failure.set_error("the answer cannot be sent: " + frame.error().message);
    failure.set_done(true);
    ++server_->counters.dropped_replies;
    frame = encode_frame(failure);
  }
  if (!frame || !fits(frame->size())) {
    ++server_->counters.dropped_replies;
    if (reply.done()) {
      ++server_->counters.closed_slow;
      close_soon();
    }
    return false;
  }
  return queue(*frame, reply.done());
}

bool UnixServer::Connection::queue(const std::string& frame, bool done) {
  waiting_ += frame;
  ++waiting_replies_;
  if (done && open_requests_ > 0) --open_requests_;
  write();
  resume();
  return true;
}

bool UnixServer::Connection::offer(const control::Reply& reply) {
  if (server_ == nullptr || closing_) return false;
  const Result<std::string> frame = encode_frame(reply);
  if (!frame) {  // it will never fit: whoever keeps it would wait for ever
    ++server_->counters.dropped_replies;
    return true;
  }
  return fits(frame->size()) && queue(*frame, false);
}

void UnixServer::Connection::when_room(std::function<void()> room) {
  if (server_ == nullptr || closing_) return;
  want_room_.push_back(std::move(room));
  tell_room();
}

void UnixServer::Connection::tell_room() {
  const bool room =
      (output_replies_ + waiting_replies_) * 2 <= server_->limits.queued_replies &&
      (output_.size() - output_sent_ + waiting_.size()) * 2 <= server_->limits.queued_bytes;
  if (!room || want_room_.empty()) return;
  asio::post(server_->io, [waiting = std::exchange(want_room_, {})] {
    for (const auto& one : waiting) one();
  });
}

void UnixServer::Connection::read() {
  if (server_ == nullptr || closing_ || reading_ || !decode()) return;
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(input_),
      [self = shared_from_this()](const asio::error_code& error, std::size_t bytes) {
        self->reading_ = false;
        if (self->server_ == nullptr || self->closing_) return;
        if (error) return self->close();
        self->undecoded_ = std::string_view(self->input_.data(), bytes);
        self->read();
      });
}

/// False when there is nothing to read for: the client is gone, or has to wait.
bool UnixServer::Connection::decode() {
  const auto taken =
      decoder_.receive(undecoded_, [this](std::string_view message) { return handle(message); });
  if (server_ == nullptr || closing_) return false;
  if (!taken) {
    ++server_->counters.malformed;
    close();
    return false;
  }
  undecoded_.remove_prefix(*taken);
  paused_ = !may_read();
  return !paused_;
}

bool UnixServer::Connection::handle(std::string_view message) {
  control::Request request;
  if (!request.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    ++server_->counters.malformed;
    close();
    return false;
  }
  ++open_requests_;
  server_->handler.handle(shared_from_this(), request);
  return server_ != nullptr && !closing_ && may_read();
}

void UnixServer::Connection::write() {
  if (writing_ || waiting_.empty()) return;
  output_ = std::exchange(waiting_, {});
  output_replies_ = std::exchange(waiting_replies_, 0);
  written(0);
}

void UnixServer::Connection::written(std::size_t bytes) {
  writing_ = false;
  output_sent_ += bytes;
  if (output_sent_ == output_.size()) {
    output_.clear();
    output_sent_ = 0;
    output_replies_ = 0;
    write();
    tell_room();
    return resume();
  }
  writing_ = true;
  const auto rest = asio::buffer(output_.data() + output_sent_, output_.size() - output_sent_);
  socket_.async_write_some(
      rest, [self = shared_from_this()](const asio::error_code& error, std::size_t sent) {
        if (self->server_ == nullptr) return;
        if (error) return self->close();
        self->written(sent);
      });
}

// The service may be walking over its sessions while it sends: it hears of the end later.
void UnixServer::Connection::close_soon() {
  closing_ = true;
  asio::post(server_->io, [self = shared_from_this()] { self->close(); });
}

void UnixServer::Connection::close() {
  if (server_ == nullptr) return;
  State* server = std::exchange(server_, nullptr);
  asio::error_code ignored;
  socket_.close(ignored);
  const auto self = shared_from_this();
  server->connections.erase(self);
  server->handler.session_closed(self);
}

void UnixServer::State::accept() {
  acceptor.async_accept(
      [this, alive = std::weak_ptr<bool>(open)](const asio::error_code& error, Socket socket) {
        if (alive.expired() || error == asio::error::operation_aborted) return;
        if (!error) {
          accepted(std::move(socket));
          return accept();
        }
        // Out of descriptors, most likely: trying again at once would only burn the processor.
        retry.expires_after(std::chrono::milliseconds(100));
        retry.async_wait([this, alive](const asio::error_code& cancelled) {
          if (!alive.expired() && !cancelled) accept();
        });
      });
}

void UnixServer::State::accepted(Socket socket) {
  if (connections.size() >= limits.connections) return refuse(std::move(socket));
  ++counters.accepted;
  const auto connection = std::make_shared<Connection>(*this, std::move(socket));
  connections.insert(connection);
  connection->read();
}

void UnixServer::State::refuse(Socket socket) {
  ++counters.refused;
  control::Reply reply;
  reply.set_error("the agent already has " + std::to_string(limits.connections) +
                  " control clients, which is its limit; end one (a `monitor` perhaps) or try "
                  "again");
  reply.set_done(true);
  const auto frame = encode_frame(reply);
  asio::error_code ignored;
  socket.non_blocking(true, ignored);
  // A fresh socket has room for this; if not, the client sees a closed connection.
  if (frame) socket.write_some(asio::buffer(*frame), ignored);
}

UnixServer::UnixServer(asio::io_context& io, std::string path, RequestHandler& handler,
                       UnixServerLimits limits)
    : state_(std::make_unique<State>(io, std::move(path), handler, limits)) {}

UnixServer::~UnixServer() {
  close();
}

Result<void> UnixServer::listen() {
  if (state_->open) return fail(ErrorKind::kConflict, "already listening on " + state_->path);
  const auto bound = bind_control_socket(state_->path);
  if (!bound) return tl::unexpected(bound.error());
  state_->bound = *bound;
  asio::error_code error;
  state_->acceptor.assign(asio::local::stream_protocol(), bound->fd, error);
  if (error) {
    ::close(bound->fd);
    remove_control_socket(state_->path, *bound);
    return fail(ErrorKind::kUnavailable,
                "cannot listen on " + state_->path + ": " + error.message());
  }
  state_->open = std::make_shared<bool>(true);
  state_->accept();
  return {};
}

void UnixServer::close() {
  if (!state_->open) return;
  state_->open.reset();
  asio::error_code ignored;
  state_->acceptor.close(ignored);
  state_->retry.cancel();
  remove_control_socket(state_->path, state_->bound);
  while (!state_->connections.empty()) {
    const auto connection = *state_->connections.begin();
    connection->close();
  }
}

std::size_t UnixServer::connections() const {
  return state_->connections.size();
}
const UnixServerCounters& UnixServer::counters() const {
  return state_->counters;
}
const std::string& UnixServer::path() const {
  return state_->path;
}

}  // namespace starling::agent
