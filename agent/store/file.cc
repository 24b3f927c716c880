// SPDX-License-Identifier: Apache-2.0
#include "agent/store/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>

namespace starling::agent {

namespace {

constexpr int kMostWait_ms = 5000;
constexpr int kWaitStep_ms = 5;

tl::unexpected<Error> failed(const std::string& what, const std::string& path, int error) {
  std::string message = "cannot " + what + " " + path + ": " + std::strerror(error);
  if (error == EACCES || error == EPERM) {
    message += "; give the agent's user access, or choose another place with -data-dir";
  } else if (error == EROFS) {
    message += "; choose a place that can be written with -data-dir";
  } else if (error == ENOSPC || error == EDQUOT) {
    message += "; free some space";
  }
  return fail(ErrorKind::kUnavailable, std::move(message));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// 0, or errno.
int write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// The pid in a lock file, in digits.
std::string holder_of(int fd) {
  char text[32] = {};
  const ssize_t size = ::pread(fd, text, sizeof text - 1, 0);
  std::string holder(text, size > 0 ? static_cast<size_t>(size) : 0);
  holder.resize(std::min(holder.find_first_not_of("0123456789"), holder.size()));
  return holder;
}

bool is_dead(const std::string& holder) {
  int pid = 0;
  std::from_chars(holder.data(), holder.data() + holder.size(), pid);
  return pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

}  // namespace

Result<void> make_directory(const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST) {
      return failed("create the directory", parent, errno);
    }
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return failed("create the directory", path, errno);
  }
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return failed("look at", path, errno);
  if (!S_ISDIR(status.st_mode)) return failed("keep state in", path, ENOTDIR);
  return {};
}

Result<std::optional<std::string>> read_file(const std::string& path, size_t limit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT) return std::optional<std::string>();
    return failed("read", path, errno);
  }
  std::string content(limit + 1, '\0');
  size_t size = 0;
  while (size < content.size()) {
    const ssize_t got = ::read(file.get(), content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", path, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > limit) {
    return fail(ErrorKind::kTooLarge,
                path + " has more than " + std::to_string(limit) + " bytes: it is not ours");
  }
  content.resize(size);
  return std::optional<std::string>(std::move(content));
}

Result<void> replace_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".new";
  const Descriptor file(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0) return failed("write", temporary, errno);
  int error = ::fchmod(file.get(), 0600) == 0 ? 0 : errno;
  if (error == 0) error = write_all(file.get(), content);
  if (error == 0 && ::fsync(file.get()) != 0) error = errno;
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary.c_str());
    return failed("write", path, error);
  }
  return {};
}

Result<void> sync_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) return failed("write", path, errno);
  return {};
}

Result<void> write_file(const std::string& path, std::string_view content) {
  if (auto replaced = replace_file(path, content); !replaced) return replaced;
  return sync_directory(parent_of(path));
}

// --- the lock ----------------------------------------------------------------------------------

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);  // the file stays: removing it would let two processes in
}

Result<DirectoryLock> DirectoryLock::take(const std::string& directory) {
  const std::string path = directory + "/lock";
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.get() < 0) return failed("lock", path, errno);
  for (int waited_ms = 0; ::flock(file.get(), LOCK_EX | LOCK_NB) != 0;) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return failed("lock", path, errno);
    const std::string holder = holder_of(file.get());
    // An agent that is killed while it starts a process leaves it the lock until that has become
    // what it is to be.
    if (is_dead(holder) && waited_ms < kMostWait_ms) {
      ::usleep(kWaitStep_ms * 1000);
      waited_ms += kWaitStep_ms;
      continue;
    }
    return fail(ErrorKind::kConflict,
                directory + " is in use by another agent" +
                    (holder.empty() ? "" : " (pid " + holder + ")") +
                    ": stop it, or give this one its own place with -data-dir");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  int error = ::ftruncate(file.get(), 0) == 0 ? 0 : errno;
  if (error == 0) error = write_all(file.get(), pid);
  if (error != 0) return failed("write", path, error);
  return DirectoryLock(file.release());
}

}  // namespace starling::agent
