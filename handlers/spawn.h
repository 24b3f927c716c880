// SPDX-License-Identifier: Apache-2.0
//
// spawn_shell: start `/bin/sh -c COMMAND` with pipes, by posix_spawn. Linux only. No Asio.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

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

/// A started child that nobody has waited for yet, and our ends.
struct Child {
  pid_t pid = -1;  ///< also the id of its process group
  FileDescriptor pidfd;
  FileDescriptor input;      ///< write end, does not block
  FileDescriptor output;     ///< read end of its standard output and error, does not block
  size_t input_written = 0;  ///< bytes of the input that the pipe took at once
};

/// Errors: kUnavailable. Then no child is left.
Result<Child> spawn_shell(const std::string& command, const std::vector<std::string>& environment,
                          const std::string& input);

/// write(2) that answers EPIPE without raising SIGPIPE, whatever the process does about it.
ssize_t write_without_signal(int fd, const char* data, size_t size);

}  // namespace starling::handlers
