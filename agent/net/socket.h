// SPDX-License-Identifier: Apache-2.0
//
// Sockets as the kernel gives them: descriptors that close themselves, addresses, and binding UDP
// and TCP to one port. Everything is non-blocking and closed on exec.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <utility>

#include "membership/address.h"
#include "proto/support/result.h"

namespace starling::agent {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() { reset(); }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// Whose holder closes it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset();

 private:
  int fd_ = -1;
};

/// An address as the system calls take it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

/// The address family of a socket that is bound to `bind`: AF_INET or AF_INET6.
[[nodiscard]] int family_of(const membership::Address& bind);

/// For a socket of `family`; IPv4 is mapped into IPv6. None for IPv6 on an IPv4 socket.
[[nodiscard]] std::optional<SocketAddress> to_socket_address(const membership::Address& address,
                                                             int family);
/// None for families other than IPv4 and IPv6.
[[nodiscard]] std::optional<membership::Address> from_socket_address(
    const sockaddr_storage& storage);

/// "Connection refused" and the like.
[[nodiscard]] std::string error_text(int error);

struct BoundSockets {
  FileDescriptor udp;
  FileDescriptor listener;
  membership::Address address;  ///< with the port that was picked
};

/// Binds both to `bind`; with port 0 to a port that is free for both. `receive_buffer`: bytes asked
/// for the UDP socket. kUnavailable names the address, the reason and what to do.
Result<BoundSockets> bind_sockets(const membership::Address& bind, int receive_buffer);

}  // namespace starling::agent
