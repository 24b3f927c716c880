// SPDX-License-Identifier: Apache-2.0
#include "agent/net/socket.h"

#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace starling::agent {

using membership::Address;

namespace {

constexpr int kPickAttempts = 64;  // ports tried until one is free for UDP and TCP
constexpr int kBacklog = 1024;

bool set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

std::string bind_remedy(const Address& bind, int error) {
  switch (error) {
    case EADDRINUSE:
      return ": another process uses this port; stop it, or choose another with -bind";
    case EADDRNOTAVAIL:
      return ": no interface of this host has this address; see `ip address`";
    case EACCES:
      return ": ports below 1024 need privileges; choose another with -bind";
    case EAFNOSUPPORT:
      return bind.is_v4() ? ": this host has no IPv4" : ": this host has no IPv6; bind 0.0.0.0";
    case EMFILE:
    case ENFILE:
      return ": raise the limit of open files";
    default:
      return "";
  }
}

tl::unexpected<Error> bind_failure(const char* what, const Address& bind, int error) {
  return fail(ErrorKind::kUnavailable, std::string("cannot bind ") + what + " " + bind.to_string() +
                                           ": " + error_text(error) + bind_remedy(bind, error));
}

// 0, or errno.
int bind_one(const Address& bind, int type, FileDescriptor& socket_out) {
  const int family = family_of(bind);
  FileDescriptor fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  // `::` takes IPv4 too; any other IPv6 address does not, whatever the system's default.
  if (family == AF_INET6) {
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, bind.is_unspecified() ? 0 : 1);
  }
  // A restarted agent takes its port back while old streams are in TIME_WAIT. Not for UDP, where it
  // would let two agents share a port.
  if (type == SOCK_STREAM) set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  const auto address = to_socket_address(bind, family);
  if (::bind(fd.get(), address->get(), address->size) != 0) return errno;
  socket_out = std::move(fd);
  return 0;
}

uint16_t bound_port(int fd) {
  SocketAddress address;
  address.size = sizeof address.storage;
  if (getsockname(fd, address.get(), &address.size) != 0) return 0;
  const auto parsed = from_socket_address(address.storage);
  return parsed ? parsed->port() : 0;
}

// Refusals are reported (IP_RECVERR), losses counted (SO_RXQ_OVFL). All best effort: without them
// the agent is slower to notice, not wrong.
void set_udp_options(int fd, int family, int receive_buffer) {
  set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer);
  set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
  set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
  if (family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
}

}  // namespace

void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

int family_of(const Address& bind) {
  return bind.is_v4() ? AF_INET : AF_INET6;
}

std::optional<SocketAddress> to_socket_address(const Address& address, int family) {
  SocketAddress result;
  if (family == AF_INET6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port());
    std::memcpy(&v6.sin6_addr, address.ip().data(), address.ip().size());
    std::memcpy(&result.storage, &v6, sizeof v6);
    result.size = sizeof v6;
    return result;
  }
  if (!address.is_v4()) return std::nullopt;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(address.port());
  std::memcpy(&v4.sin_addr, address.ip().data() + 12, 4);
  std::memcpy(&result.storage, &v4, sizeof v4);
  result.size = sizeof v4;
  return result;
}

std::optional<Address> from_socket_address(const sockaddr_storage& storage) {
  Address::Bytes ip{};
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    ip[10] = ip[11] = 0xff;
    std::memcpy(ip.data() + 12, &v4.sin_addr, 4);
    return Address(ip, ntohs(v4.sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    std::memcpy(ip.data(), &v6.sin6_addr, ip.size());
    return Address(ip, ntohs(v6.sin6_port));
  }
  return std::nullopt;
}

std::string error_text(int error) {
  return std::generic_category().message(error);
}

Result<BoundSockets> bind_sockets(const Address& bind, int receive_buffer) {
  const int attempts = bind.port() == 0 ? kPickAttempts : 1;
  int error = EADDRINUSE;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    BoundSockets bound;
    error = bind_one(bind, SOCK_DGRAM, bound.udp);
    if (error != 0) return bind_failure("UDP", bind, error);
    bound.address = Address(bind.ip(), bound_port(bound.udp.get()));
    error = bind_one(bound.address, SOCK_STREAM, bound.listener);
    // Two listeners may bind one port before either listens: only listen() tells.
    if (error == 0 && listen(bound.listener.get(), kBacklog) != 0) error = errno;
    if (error == 0) {
      set_udp_options(bound.udp.get(), family_of(bind), receive_buffer);
      return bound;
    }
    if (error != EADDRINUSE) break;
  }
  return bind_failure("TCP", bind, error);
}

}  // namespace starling::agent
