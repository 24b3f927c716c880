// SPDX-License-Identifier: Apache-2.0
//
// What processes of this room are made of: descriptors, pidfds, the frames between agent and
// supervisor, and starting the server that forks supervisors (spawner.h). Linux only. No Asio.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>

#include "proto/support/result.h"

namespace starling::handlers {

/// Owns a file descriptor; -1: none.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { close(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void close();

 private:
  int fd_ = -1;
};

/// A started server that nobody has waited for yet, and our end.
struct ServerChild {
  pid_t pid = -1;
  FileDescriptor pidfd;
  FileDescriptor socket;  ///< of packets; does not block
};

/// Starts `program supervise` in a session of its own. Errors: kUnavailable. Then no child is left.
Result<ServerChild> spawn_server(const std::string& program);
/// Both ends of a connection, close-on-exec, the first of which does not block. `type`: of
/// socketpair(2). kUnavailable.
Result<std::pair<FileDescriptor, FileDescriptor>> connected_pair(int type);

/// A pidfd; kUnavailable: no such process.
Result<FileDescriptor> open_pidfd(pid_t pid);
/// False: it is gone.
bool signal_process(int pidfd, int signal);

/// What could not be had for a handler, with the remedy for a limit that was met: kUnavailable.
tl::unexpected<Error> cannot_start(const std::string& what, int error);

/// `bytes` with their length before them: 4 bytes, big endian.
[[nodiscard]] std::string frame(std::string_view bytes);

}  // namespace starling::handlers
