// SPDX-License-Identifier: Apache-2.0
#include "handlers/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <system_error>

namespace starling::handlers {
namespace {

constexpr const char* kShell = "/bin/sh";

tl::unexpected<Error> unavailable(const char* what, int error) {
  std::string message = std::string("cannot start a handler: ") + what + ": " +
                        std::generic_category().message(error);
  if (error == EMFILE || error == ENFILE) message += "; raise the limit of open files";
  if (error == EAGAIN) message += "; raise the limit of processes";
  if (error == E2BIG) message += "; shorten the tags, the event's name or the command";
  return fail(ErrorKind::kUnavailable, std::move(message));
}

struct Pipe {
  FileDescriptor read;
  FileDescriptor write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return unavailable("pipe", errno);
  return Pipe{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

/// Only this end: the child's is another open file and keeps blocking, as programs expect.
void do_not_block(const FileDescriptor& fd) {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK);
}

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
  int prepare(int input, int output) {
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    constexpr short kFlags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    for (const int error : {
             ::posix_spawn_file_actions_adddup2(&actions_, input, STDIN_FILENO),
             ::posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO),
             ::posix_spawn_file_actions_adddup2(&actions_, output, STDERR_FILENO),
             // Not every descriptor of this process is close-on-exec: Asio's sockets are not.
             ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1),
             ::posix_spawnattr_setpgroup(&attributes_, 0),
             ::posix_spawnattr_setsigdefault(&attributes_, &all),
             ::posix_spawnattr_setsigmask(&attributes_, &none),
             ::posix_spawnattr_setflags(&attributes_, kFlags),
         }) {
      if (error != 0) return error;
    }
    return 0;
  }

  /// 0 or an error.
  int run(const std::string& command, const std::vector<std::string>& environment, pid_t& pid) {
    // posix_spawn takes char*, but changes nothing.
    std::string shell = kShell;
    std::string flag = "-c";
    std::string script = command;
    char* arguments[] = {shell.data(), flag.data(), script.data(), nullptr};
    std::vector<char*> variables;
    variables.reserve(environment.size() + 1);
    for (const std::string& entry : environment) {
      variables.push_back(const_cast<char*>(entry.c_str()));
    }
    variables.push_back(nullptr);
    return ::posix_spawn(&pid, kShell, &actions_, &attributes_, arguments, variables.data());
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

/// Moves a pipe's end away from 0, 1 and 2 (free in a daemon that closed them), where the child's
/// dup2 calls would overwrite it.
int move_up(FileDescriptor& fd) {
  if (fd.get() > STDERR_FILENO) return 0;
  const int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (copy < 0) return errno;
  fd = FileDescriptor(copy);
  return 0;
}

}  // namespace

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

Result<Child> spawn_shell(const std::string& command, const std::vector<std::string>& environment,
                          const std::string& input) {
  Result<Pipe> in = make_pipe();
  if (!in) return tl::unexpected(in.error());
  Result<Pipe> out = make_pipe();
  if (!out) return tl::unexpected(out.error());
  for (FileDescriptor* end : {&in->read, &in->write, &out->read, &out->write}) {
    if (const int error = move_up(*end); error != 0) return unavailable("dup", error);
  }
  do_not_block(in->write);
  do_not_block(out->read);

  Child child;
  // Most inputs fit the pipe: written now, while we hold the other end, they need no watching.
  if (!input.empty()) {
    const ssize_t written = ::write(in->write.get(), input.data(), input.size());
    if (written > 0) child.input_written = static_cast<size_t>(written);
  }
  SpawnPlan plan;
  int error = plan.prepare(in->read.get(), out->write.get());
  if (error == 0) error = plan.run(command, environment, child.pid);
  if (error != 0) return unavailable(kShell, error);

  // By number, since glibc 2.36's header lacks extern "C". The child cannot be gone: only we wait.
  const long pidfd = ::syscall(SYS_pidfd_open, child.pid, 0);
  if (pidfd < 0) {
    error = errno;
    ::kill(-child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    return unavailable("pidfd_open", error);
  }
  child.pidfd = FileDescriptor(static_cast<int>(pidfd));
  child.input = std::move(in->write);
  child.output = std::move(out->read);
  return child;
}

ssize_t write_without_signal(int fd, const char* data, size_t size) {
  // SIGPIPE goes to the writing thread: blocked here and taken back, it reaches no handler, and
  // nothing of the process's own signal handling is changed.
  sigset_t pipe_signal;
  sigset_t before;
  sigset_t pending;
  ::sigemptyset(&pipe_signal);
  ::sigaddset(&pipe_signal, SIGPIPE);
  ::sigemptyset(&pending);
  ::sigpending(&pending);
  const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t written = ::write(fd, data, size);
  const int error = errno;
  if (written < 0 && error == EPIPE && !was_pending) {
    const timespec at_once{};
    ::sigtimedwait(&pipe_signal, nullptr, &at_once);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

}  // namespace starling::handlers
