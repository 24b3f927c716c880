// SPDX-License-Identifier: Apache-2.0
//
// Starting a supervisor by posix_spawn, and the frames that go between it and the agent. Linux
// only. No Asio.
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

/// A started supervisor that nobody has waited for yet, and our ends.
struct SupervisorChild {
  pid_t pid = -1;
  FileDescriptor pidfd;
  FileDescriptor socket;  ///< does not block
};

/// Starts `program supervise` in a session of its own. `file`: a job's file, which it inherits; -1:
/// none. Errors: kUnavailable. Then no child is left.
Result<SupervisorChild> spawn_supervisor(const std::string& program, int file);

/// A pidfd; kUnavailable: no such process.
Result<FileDescriptor> open_pidfd(pid_t pid);
/// False: it is gone.
bool signal_process(int pidfd, int signal);

/// `bytes` with their length before them: 4 bytes, big endian.
[[nodiscard]] std::string frame(std::string_view bytes);

}  // namespace starling::handlers
