// SPDX-License-Identifier: Apache-2.0
//
// The server of supervisors: from the agent's packets to processes.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "handlers/command.h"
#include "handlers/ending.h"
#include "handlers/fault.h"
#include "handlers/job_file.h"
#include "handlers/supervise.h"
#include "proto/job.pb.h"

namespace starling::handlers {
namespace {

/// What a packet brings.
struct Handed {
  FileDescriptor agent;
  FileDescriptor file;  ///< perhaps none
};

/// None: the agent is gone, or wants no more of us.
std::optional<Handed> receive() {
  char byte = 0;
  iovec data{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> room{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = room.data();
  message.msg_controllen = room.size();
  ssize_t got = -1;
  do {
    got = ::recvmsg(kServerSocket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return std::nullopt;
  Handed handed;
  const cmsghdr* const rights = CMSG_FIRSTHDR(&message);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS) return handed;
  std::array<int, 2> numbers{-1, -1};
  std::memcpy(numbers.data(), CMSG_DATA(rights), rights->cmsg_len - CMSG_LEN(0));
  handed.agent = FileDescriptor(numbers[0]);
  handed.file = FileDescriptor(numbers[1]);
  // Not all could be taken: a job must not run without its file.
  if ((message.msg_flags & MSG_CTRUNC) != 0) return Handed{};
  return handed;
}

/// In the supervisor's place, when there cannot be one.
void tell_not_started(const FileDescriptor& agent, int error) {
  job::Report report;
  report.set_ending(static_cast<uint32_t>(ProcessEnding::kNotStarted));
  report.set_error(cannot_start("fork", error).value().message);
  const std::string bytes = frame(report.SerializeAsString());
  static_cast<void>(::send(agent.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

class Server {
 public:
  Server() : boot_(boot_id()) {
    // Until a supervisor looks at them, its signals wait.
    ::sigemptyset(&watched_);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) ::sigaddset(&watched_, signal);
    prepare_commands();
    ::signal(SIGCHLD, SIG_IGN);  // the kernel reaps the supervisors
  }
  ~Server() { ::signal(SIGCHLD, SIG_DFL); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void run() {
    while (std::optional<Handed> handed = receive()) {
      fault_point(FaultPoint::kHandedOver);
      serve(*std::move(handed));
      fault_point(FaultPoint::kForked);
      ++served_;
      // Lost when the agent reads none: the next one says as much.
      static_cast<void>(
          ::send(kServerSocket, &served_, sizeof served_, MSG_NOSIGNAL | MSG_DONTWAIT));
    }
  }

 private:
  void serve(Handed handed) {
    if (handed.agent.get() < 0) return;
    sigset_t before;
    ::sigprocmask(SIG_BLOCK, &watched_, &before);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(kServerSocket);
      ::setsid();
      ::signal(SIGCHLD, SIG_DFL);
      // Not exit(): what is to be done at the server's end is not ours to do.
      ::_exit(supervise(std::move(handed.agent), std::move(handed.file), boot_));
    }
    const int error = errno;
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) tell_not_started(handed.agent, error);
  }

  const std::string boot_;
  sigset_t watched_{};
  ServedCount served_ = 0;
};

}  // namespace

int run_supervisor() {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kServerSocket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET) {
    std::fputs("starling supervise: started by the agent for its jobs, not by people\n", stderr);
    return 2;
  }
  ::fcntl(kServerSocket, F_SETFD, FD_CLOEXEC);
  Server().run();
  return 0;
}

}  // namespace starling::handlers
