// SPDX-License-Identifier: Apache-2.0
#include "handlers/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "handlers/supervise.h"

namespace starling::handlers {
namespace {

/// posix_spawn's two lists, destroyed with the scope.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  /// 0 or the first error.
  int prepare(int socket) {
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    constexpr short kFlags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    int error = 0;
    const auto add = [&error](int result) {
      if (error == 0) error = result;
    };
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      add(::posix_spawn_file_actions_addopen(&actions_, stream, "/dev/null", O_RDWR, 0));
    }
    add(::posix_spawn_file_actions_adddup2(&actions_, socket, kServerSocket));
    // Not every descriptor of this process is close-on-exec: Asio's sockets are not.
    add(::posix_spawn_file_actions_addclosefrom_np(&actions_, kServerSocket + 1));
    add(::posix_spawnattr_setsigdefault(&attributes_, &all));
    add(::posix_spawnattr_setsigmask(&attributes_, &none));
    add(::posix_spawnattr_setflags(&attributes_, kFlags));
    return error;
  }

  /// 0 or an error.
  int run(const std::string& program, pid_t& pid) {
    // posix_spawn takes char*, but changes nothing.
    std::string name = "starling";
    std::string command = "supervise";
    char* arguments[] = {name.data(), command.data(), nullptr};
    return ::posix_spawn(&pid, program.c_str(), &actions_, &attributes_, arguments, environ);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

tl::unexpected<Error> cannot_start(const std::string& what, int error) {
  std::string message =
      "cannot start a handler: " + what + ": " + std::generic_category().message(error);
  if (error == EMFILE || error == ENFILE) message += "; raise the limit of open files";
  if (error == EAGAIN) message += "; raise the limit of processes";
  return fail(ErrorKind::kUnavailable, std::move(message));
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void FileDescriptor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<FileDescriptor> open_pidfd(pid_t pid) {
  // By number, since glibc 2.36's header lacks extern "C".
  const long pidfd = ::syscall(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) return cannot_start("pidfd_open", errno);
  return FileDescriptor(static_cast<int>(pidfd));
}

bool signal_process(int pidfd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

Result<std::pair<FileDescriptor, FileDescriptor>> connected_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) {
    return cannot_start("socket", errno);
  }
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);  // of our end only
  return std::pair(FileDescriptor(ends[0]), FileDescriptor(ends[1]));
}

Result<ServerChild> spawn_server(const std::string& program) {
  auto ends = connected_pair(SOCK_SEQPACKET);
  if (!ends) return tl::unexpected(ends.error());
  // Above the number that the server gets, so that dup2 takes its close-on-exec away.
  const FileDescriptor theirs(::fcntl(ends->second.get(), F_DUPFD_CLOEXEC, kServerSocket + 1));
  if (theirs.get() < 0) return cannot_start("dup", errno);
  SpawnPlan plan;
  ServerChild child;
  int error = plan.prepare(theirs.get());
  if (error == 0) error = plan.run(program, child.pid);
  if (error != 0) return cannot_start(program, error);
  child.socket = std::move(ends->first);
  // The child cannot be gone: only we wait for it.
  auto pidfd = open_pidfd(child.pid);
  if (!pidfd) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    return tl::unexpected(pidfd.error());
  }
  child.pidfd = *std::move(pidfd);
  return child;
}

std::string frame(std::string_view bytes) {
  std::string framed;
  framed.reserve(bytes.size() + 4);
  for (int shift = 24; shift >= 0; shift -= 8) {
    framed.push_back(static_cast<char>(bytes.size() >> shift & 0xff));
  }
  framed.append(bytes);
  return framed;
}

}  // namespace starling::handlers
