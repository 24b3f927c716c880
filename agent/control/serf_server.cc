// SPDX-License-Identifier: Apache-2.0
#include "agent/control/serf_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <set>
#include <utility>

#include "agent/control/serf_connection.h"
#include "agent/control/socket_path.h"
#include "agent/net/socket.h"

namespace starling::agent {

using membership::Address;

namespace {

constexpr int kBacklog = 64;

struct BoundTcp {
  FileDescriptor descriptor;
  Address address;
};

Result<BoundTcp> bind_tcp(const Address& address) {
  const auto failed = [&](int error) {
    std::string text = "cannot listen on " + address.to_string() + " for Serf's RPC: ";
    text += error_text(error);
    return fail(error == EADDRINUSE ? ErrorKind::kConflict : ErrorKind::kUnavailable, text);
  };
  const int family = family_of(address);
  const auto name = to_socket_address(address, family);
  FileDescriptor descriptor(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!descriptor) return failed(errno);
  const int on = 1;
  ::setsockopt(descriptor.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  if (::bind(descriptor.get(), name->get(), name->size) != 0 ||
      ::listen(descriptor.get(), kBacklog) != 0 ||
      ::getsockname(descriptor.get(), bound.get(), &bound.size) != 0) {
    return failed(errno);
  }
  return BoundTcp{std::move(descriptor),
                  from_socket_address(bound.storage).value_or(Address(address))};
}

std::string peer_of(const ChannelSocket& socket) {
  asio::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return "a client";
  sockaddr_storage storage = {};
  std::copy_n(reinterpret_cast<const char*>(endpoint.data()),
              std::min(endpoint.size(), sizeof storage), reinterpret_cast<char*>(&storage));
  const auto address = from_socket_address(storage);
  return address ? "client " + address->to_string() : "a client of the unix socket";
}

}  // namespace

struct SerfServer::State {
  State(asio::io_context& io, SerfServerOptions server_options, RequestHandler& handler, Log& log)
      : options(std::move(server_options)),
        house{io,
              options,
              counters,
              handler,
              log,
              [this](const std::shared_ptr<SerfConnection>& gone) {
                connections.erase(gone);
                farewell();
              }},
        listener(io),
        patience(io) {}

  void accepted(ChannelSocket socket);
  void close();
  void farewell();

  SerfServerOptions options;
  SerfServerCounters counters;
  SerfConnection::House house;
  Listener listener;
  std::string local_address;
  std::optional<BoundSocket> bound_path;
  std::set<std::shared_ptr<SerfConnection>> connections;
  asio::steady_timer patience;
  std::function<void()> left;  // see when_leavers_gone()
};

void SerfServer::State::accepted(ChannelSocket socket) {
  const std::string peer = peer_of(socket);
  if (connections.size() >= options.connections) {
    ++counters.refused;
    house.log.warn("rpc", peer + " refused: there are " + std::to_string(options.connections) +
                              " connections, which is the limit");
    return;
  }
  ++counters.accepted;
  const auto connection = std::make_shared<SerfConnection>(house, std::move(socket), peer);
  connections.insert(connection);
  connection->start();
}

void SerfServer::State::farewell() {
  const auto waited_for = [](const auto& one) { return one->asked_to_leave(); };
  if (!left || std::any_of(connections.begin(), connections.end(), waited_for)) return;
  patience.cancel();
  asio::post(house.io, std::exchange(left, nullptr));
}

void SerfServer::State::close() {
  listener.stop();
  if (bound_path) remove_control_socket(options.path, *bound_path);
  bound_path.reset();
  while (!connections.empty()) {
    const auto connection = *connections.begin();
    connection->close();
  }
}

SerfServer::SerfServer(asio::io_context& io, SerfServerOptions options, RequestHandler& handler,
                       Log& log)
    : state_(std::make_unique<State>(io, std::move(options), handler, log)) {}

SerfServer::~SerfServer() {
  close();
}

Result<void> SerfServer::listen() {
  if (state_->listener.started()) {
    return fail(ErrorKind::kConflict, "already listening on " + state_->local_address);
  }
  int descriptor = -1;
  int family = AF_UNIX;
  if (state_->options.address) {
    auto bound = bind_tcp(*state_->options.address);
    if (!bound) return tl::unexpected(bound.error());
    family = family_of(bound->address);
    state_->local_address = bound->address.to_string();
    descriptor = bound->descriptor.release();
  } else {
    const auto bound = bind_control_socket(state_->options.path);
    if (!bound) return tl::unexpected(bound.error());
    state_->bound_path = *bound;
    state_->local_address = state_->options.path;
    descriptor = bound->fd;
  }
  std::string error;
  const auto accepted = [state = state_.get()](ChannelSocket socket) {
    state->accepted(std::move(socket));
  };
  if (state_->listener.start(descriptor, family, accepted, error)) return {};
  state_->close();
  return fail(ErrorKind::kUnavailable, "cannot listen on " + state_->local_address + ": " + error);
}

void SerfServer::when_leavers_gone(std::chrono::milliseconds within, std::function<void()> left) {
  state_->left = std::move(left);
  state_->patience.expires_after(within);
  state_->patience.async_wait([state = state_.get()](const asio::error_code& error) {
    if (error || !state->left) return;
    std::exchange(state->left, nullptr)();
  });
  state_->farewell();
}

void SerfServer::close() {
  state_->close();
}

const std::string& SerfServer::local_address() const {
  return state_->local_address;
}
std::size_t SerfServer::connections() const {
  return state_->connections.size();
}
const SerfServerCounters& SerfServer::counters() const {
  return state_->counters;
}

}  // namespace starling::agent
