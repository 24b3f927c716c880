// SPDX-License-Identifier: Apache-2.0
//
// Small files that must never be found half-written, and the lock that keeps a second agent out of
// a data directory. Blocking; any thread. Errors name the path and the remedy.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "proto/support/result.h"

namespace starling::agent {

/// Creates the directory (mode 0700) and its missing parents (0755). kUnavailable.
Result<void> make_directory(const std::string& path);

/// The whole file; none when there is no such file. kTooLarge over `limit` bytes, kUnavailable.
Result<std::optional<std::string>> read_file(const std::string& path, size_t limit);

/// Replaces the file at once or not at all, mode 0600, and returns when it is on disk: temporary
/// file, fsync, rename, fsync of the directory. kUnavailable; the old file is then untouched.
Result<void> write_file(const std::string& path, std::string_view content);

/// The same but for the fsync of the directory: until sync_directory() a power cut may bring the
/// old file back, or none if there was none. For several files at once.
Result<void> replace_file(const std::string& path, std::string_view content);
Result<void> sync_directory(const std::string& path);

/// Holds a directory for one process, until it is destroyed or the process ends in any way.
class DirectoryLock {
 public:
  /// kConflict when another process holds it, with its pid; kUnavailable.
  static Result<DirectoryLock> take(const std::string& directory);

  DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  DirectoryLock& operator=(DirectoryLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace starling::agent
