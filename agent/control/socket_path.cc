// SPDX-License-Identifier: Apache-2.0
#include "agent/control/socket_path.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

namespace starling::agent {
namespace {

constexpr mode_t kSocketMode = 0660;
constexpr mode_t kDirectoryMode = 0750;
constexpr int kBacklog = 64;

std::string reason(int error) {
  return std::generic_category().message(error);
}

/// Closes a descriptor at the end of a scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

Result<void> make_directory(const std::string& directory) {
  if (::mkdir(directory.c_str(), kDirectoryMode) == 0 || errno == EEXIST) return {};
  if (errno == ENOENT && parent_of(directory) != directory) {
    if (auto made = make_directory(parent_of(directory)); !made) return made;
    if (::mkdir(directory.c_str(), kDirectoryMode) == 0 || errno == EEXIST) return {};
  }
  return fail(ErrorKind::kUnavailable, "cannot create the directory " + directory +
                                           " for the control socket: " + reason(errno) +
                                           "; choose another socket with -control");
}

/// Two agents that start at the same moment must not both find the old file dead and replace each
/// other's: a lock on the directory lets one of them look and bind at a time. Who cannot get the
/// lock in a second goes on without: the lock guards a rare race, and must not stop a start.
Descriptor lock_directory(const std::string& directory) {
  Descriptor lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int attempt = 0; lock.get() >= 0 && attempt < 100; ++attempt) {
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return Descriptor(lock.release());
}

/// Makes room at `path`: a socket that nobody listens on is removed.
Result<void> remove_dead_socket(const std::string& path, const sockaddr_un& address) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail(ErrorKind::kUnavailable, "cannot look at " + path + ": " + reason(errno));
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(ErrorKind::kConflict,
                path +
                    " exists and is not a socket; remove it, or choose another socket with "
                    "-control");
  }
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe.get() < 0) {
    return fail(ErrorKind::kUnavailable, "cannot create a unix socket: " + reason(errno));
  }
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const int connected = ::connect(probe.get(), generic, sizeof address);
  if (connected == 0 || errno == EAGAIN || errno == EINPROGRESS) {
    return fail(ErrorKind::kConflict, "an agent is already listening on " + path +
                                          "; stop it, or choose another socket with -control");
  }
  if (errno != ECONNREFUSED && errno != ENOENT) {
    return fail(ErrorKind::kUnavailable, "cannot tell whether an agent is listening on " + path +
                                             ": " + reason(errno) +
                                             "; choose another socket with -control");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(ErrorKind::kUnavailable,
                "cannot remove the old socket " + path + ": " + reason(errno));
  }
  return {};
}

}  // namespace

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty()) return fail(ErrorKind::kInvalid, "the path of the control socket is empty");
  if (path.find('\0') != std::string::npos) {
    return fail(ErrorKind::kInvalid, "the path of the control socket has a NUL character");
  }
  if (path.size() >= sizeof address.sun_path) {
    return fail(ErrorKind::kInvalid, "the path of the control socket has " +
                                         std::to_string(path.size()) + " bytes, at most " +
                                         std::to_string(sizeof address.sun_path - 1) +
                                         " are possible: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<BoundSocket> bind_control_socket(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return tl::unexpected(address.error());
  if (auto made = make_directory(parent_of(path)); !made) return tl::unexpected(made.error());
  const Descriptor lock = lock_directory(parent_of(path));
  if (auto gone = remove_dead_socket(path, *address); !gone) return tl::unexpected(gone.error());

  const auto refused = [&path](const char* what) {
    const int error = errno;
    return fail(ErrorKind::kUnavailable, std::string("cannot ") + what + " the control socket " +
                                             path + ": " + reason(error) +
                                             "; choose another socket with -control");
  };
  Descriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (listener.get() < 0) return refused("create");
  // Linux gives the file the socket's own mode, less the umask: narrow from the first moment.
  if (::fchmod(listener.get(), kSocketMode) != 0) return refused("set the mode of");
  const auto* generic = reinterpret_cast<const sockaddr*>(&*address);
  if (::bind(listener.get(), generic, sizeof *address) != 0) return refused("bind");
  struct stat status = {};
  if (::chmod(path.c_str(), kSocketMode) != 0 || ::listen(listener.get(), kBacklog) != 0 ||
      ::lstat(path.c_str(), &status) != 0) {
    const auto error = refused("listen on");
    ::unlink(path.c_str());
    return error;
  }
  return BoundSocket{listener.release(), status.st_dev, status.st_ino};
}

Result<void> give_to_group(const std::string& path, const std::string& group) {
  if (group.empty()) return {};
  const struct group* const found = ::getgrnam(group.c_str());
  if (found == nullptr) {
    return fail(ErrorKind::kNotFound, "control_group: this host has no group '" + group + "'");
  }
  if (::lchown(path.c_str(), static_cast<uid_t>(-1), found->gr_gid) == 0) return {};
  return fail(ErrorKind::kUnavailable, "control_group: cannot give " + path + " to the group '" +
                                           group + "': " + reason(errno) +
                                           "; the agent's user has to be one of its members");
}

void remove_control_socket(const std::string& path, const BoundSocket& bound) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return;
  if (status.st_dev == bound.device && status.st_ino == bound.inode) ::unlink(path.c_str());
}

}  // namespace starling::agent
