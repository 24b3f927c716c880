// SPDX-License-Identifier: Apache-2.0
#include "handlers/supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>

#include "handlers/command.h"
#include "handlers/fault.h"
#include "handlers/job_file.h"
#include "handlers/output.h"
#include "handlers/plain_command.h"
#include "handlers/spawn.h"
#include "proto/job.pb.h"
#include "proto/support/unix_time.h"

namespace starling::handlers {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kChunk = size_t{64} << 10;
constexpr size_t kMaxOrder = size_t{64} << 20;
// A command that prints without end gets at most 200 MiB/s of our attention, and of the disk's.
constexpr size_t kPaceBytes = size_t{2} << 20;
constexpr auto kPaceInterval = std::chrono::milliseconds(10);

/// False: the agent is gone, or does not speak our language.
bool read_exactly(int fd, char* into, size_t size) {
  while (size > 0) {
    const ssize_t got = ::recv(fd, into, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

std::optional<job::Order> read_order(int fd) {
  std::array<unsigned char, 4> head{};
  if (!read_exactly(fd, reinterpret_cast<char*>(head.data()), head.size())) return std::nullopt;
  const size_t size =
      size_t{head[0]} << 24 | size_t{head[1]} << 16 | size_t{head[2]} << 8 | head[3];
  if (size > kMaxOrder) return std::nullopt;
  std::string bytes(size, '\0');
  if (!read_exactly(fd, bytes.data(), size)) return std::nullopt;
  job::Order order;
  if (!order.ParseFromString(bytes) || order.arguments().empty()) return std::nullopt;
  return order;
}

class Supervisor {
 public:
  Supervisor(FileDescriptor agent, job::Order order, std::optional<JobFile> file)
      : order_(std::move(order)),
        agent_(std::move(agent)),
        file_(std::move(file)),
        group_(order_.cgroup()),
        output_(order_.head_limit(), order_.tail_limit()) {}

  void run();

 private:
  [[nodiscard]] bool begin();
  void watch();
  void take_signals();
  void check_exit();
  void end(ProcessEnding why);
  void kill_now();
  void kill_all();
  void read_output();
  void drain_output();
  void write_down(std::string_view bytes);
  void listen_to_agent();
  void tell_signal(const siginfo_t& info);
  void finish();
  void report();
  void wait_for_agent();
  [[nodiscard]] int next_timeout() const;
  void timers();

  const job::Order order_;
  const FileDescriptor agent_;  ///< the socket to it
  std::optional<JobFile> file_;
  const ControlGroup group_;
  Output output_;
  FileDescriptor signals_;
  FileDescriptor pipe_;
  pid_t pid_ = -1;
  bool without_shell_ = false;
  bool exited_ = false;
  bool killed_ = false;
  bool done_ = false;
  bool agent_there_ = true;
  Clock::time_point started_;
  Clock::time_point limit_ = Clock::time_point::max();  ///< the time limit, then the grace period
  Clock::time_point pace_start_;
  Clock::time_point resume_;  ///< output is not read before
  size_t pace_bytes_ = 0;
  ProcessEnding cause_ = ProcessEnding::kExited;
  Ended ended_;
};

bool Supervisor::begin() {
  sigset_t watched;
  ::sigemptyset(&watched);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    ::sigaddset(&watched, signal);
  }
  ::sigprocmask(SIG_SETMASK, &watched, nullptr);
  signals_ = FileDescriptor(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (!group_.processes_file().empty()) {
    // The command inherits it. We leave when it runs, so that cgroup.kill spares us.
    const FileDescriptor list(::open(group_.processes_file().c_str(), O_WRONLY | O_CLOEXEC));
    if (list.get() >= 0) static_cast<void>(::write(list.get(), "0\n", 2));
  }
  const std::string own = group_.processes_file();
  started_ = pace_start_ = Clock::now();
  auto command = start_command(order_);
  if (!own.empty()) {
    const std::string above = own.substr(0, own.rfind('/', own.rfind('/') - 1)) + "/cgroup.procs";
    const FileDescriptor list(::open(above.c_str(), O_WRONLY | O_CLOEXEC));
    if (list.get() >= 0) static_cast<void>(::write(list.get(), "0\n", 2));
  }
  if (!command) {
    ended_.ending = ProcessEnding::kNotStarted;
    ended_.error = command.error().message;
    return false;
  }
  pid_ = command->pid;
  pipe_ = std::move(command->output);
  without_shell_ = command->without_shell;
  if (file_) file_->set_command(pid_);
  fault_point(FaultPoint::kCommandRuns);
  limit_ = started_ + std::chrono::milliseconds(order_.timeout_ms());
  return true;
}

void Supervisor::run() {
  if (begin()) watch();
  finish();
}

void Supervisor::watch() {
  while (!done_) {
    const bool read = pipe_.get() >= 0 && Clock::now() >= resume_;
    std::array<pollfd, 3> wait{
        {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
         {.fd = read ? pipe_.get() : -1, .events = POLLIN, .revents = 0},
         {.fd = agent_there_ ? agent_.get() : -1, .events = POLLIN, .revents = 0}}};
    if (::poll(wait.data(), wait.size(), next_timeout()) < 0 && errno != EINTR) break;
    if (wait[2].revents != 0) listen_to_agent();
    if (wait[1].revents != 0) read_output();
    if (wait[0].revents != 0) take_signals();
    timers();
  }
}

int Supervisor::next_timeout() const {
  Clock::time_point next = limit_;
  if (pipe_.get() >= 0 && resume_ > Clock::now()) next = std::min(next, resume_);
  if (next == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 3'600'000));
}

void Supervisor::timers() {
  if (done_ || Clock::now() < limit_) return;
  limit_ = Clock::time_point::max();
  if (cause_ != ProcessEnding::kExited) return kill_all();
  check_exit();  // it may have ended just in time
  if (!done_) end(ProcessEnding::kTimedOut);
}

void Supervisor::take_signals() {
  signalfd_siginfo info{};
  bool children = false;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) {
      children = true;
    } else if (info.ssi_signo == SIGUSR1) {
      kill_now();
    } else {
      end(ProcessEnding::kTerminated);
    }
  }
  if (!children) return;
  reap_others(pid_);
  if (!exited_) check_exit();
}

void Supervisor::check_exit() {
  // WNOWAIT: until it is reaped nobody else can get the group's id, so that it is safe to signal.
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid == 0) {
    return;
  }
  exited_ = true;
  drain_output();
  // Ended by itself: what it left running is its own business. Ended by us: the others of its
  // group have the rest of the grace period, unless all have closed their output, so are gone.
  if (cause_ == ProcessEnding::kExited || killed_) {
    done_ = true;
  } else if (pipe_.get() < 0) {
    kill_all();
  }
}

void Supervisor::end(ProcessEnding why) {
  if (done_ || cause_ != ProcessEnding::kExited) return;
  cause_ = why;
  ::kill(-pid_, SIGTERM);
  ::kill(-pid_, SIGCONT);  // a stopped process cannot heed it otherwise
  limit_ = Clock::now() + std::chrono::milliseconds(order_.grace_ms());
}

void Supervisor::kill_now() {
  if (cause_ == ProcessEnding::kExited) cause_ = ProcessEnding::kTerminated;
  kill_all();
}

void Supervisor::kill_all() {
  if (done_) return;
  killed_ = true;
  ::kill(-pid_, SIGKILL);
  group_.kill();
  kill_descendants(pid_);
  if (exited_) done_ = true;
  check_exit();
}

void Supervisor::write_down(std::string_view bytes) {
  output_.append(bytes);
  if (file_) file_->append(bytes);
}

void Supervisor::read_output() {
  std::array<char, kChunk> chunk;
  const ssize_t size = ::read(pipe_.get(), chunk.data(), chunk.size());
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    pipe_.close();
    if (exited_) kill_all();
    return;
  }
  write_down({chunk.data(), static_cast<size_t>(size)});
  const auto now = Clock::now();
  if (now - pace_start_ >= kPaceInterval) {
    pace_start_ = now;
    pace_bytes_ = 0;
  }
  pace_bytes_ += static_cast<size_t>(size);
  if (pace_bytes_ >= kPaceBytes) resume_ = pace_start_ + kPaceInterval;
}

void Supervisor::drain_output() {
  if (pipe_.get() < 0) return;
  // Only what is there now: a grandchild may go on printing for ever.
  int left = 0;
  if (::ioctl(pipe_.get(), FIONREAD, &left) != 0) return;
  std::array<char, kChunk> chunk;
  while (left > 0) {
    const ssize_t size =
        ::read(pipe_.get(), chunk.data(), std::min(chunk.size(), static_cast<size_t>(left)));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    write_down({chunk.data(), static_cast<size_t>(size)});
    left -= static_cast<int>(size);
  }
}

void Supervisor::listen_to_agent() {
  char byte = 0;
  const ssize_t got = ::recv(agent_.get(), &byte, 1, MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) agent_there_ = false;
  if (got == 1 && byte == kTerminate) end(ProcessEnding::kTerminated);
  if (got == 1 && byte == kKill) kill_now();
}

/// Killed by a signal that we did not send.
void Supervisor::tell_signal(const siginfo_t& info) {
  if (!without_shell_) {
    ended_.ending = ProcessEnding::kSignalled;
    return;
  }
  // As the shell in whose place it ran.
  ended_.status = shell_status(info.si_status);
  write_down(shell_remark(info.si_status, info.si_code == CLD_DUMPED));
}

void Supervisor::finish() {
  const bool ran = ended_.ending != ProcessEnding::kNotStarted;
  if (ran) {
    ended_.ending = cause_;
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) == 0 &&
        info.si_pid != 0) {
      ended_.status = info.si_status;
      if (cause_ == ProcessEnding::kExited && info.si_code != CLD_EXITED) tell_signal(info);
    }
    fault_point(FaultPoint::kCommandEnded);
  }
  pipe_.close();
  ended_.at_ms = unix_milliseconds();
  ended_.duration_us =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started_).count();
  if (file_) static_cast<void>(file_->end(ended_));
  if (agent_there_) report();
  wait_for_agent();
}

void Supervisor::report() {
  job::Report report;
  report.set_ending(static_cast<uint32_t>(ended_.ending));
  report.set_status(ended_.status);
  report.set_duration_us(static_cast<uint64_t>(ended_.duration_us));
  report.set_output_bytes(output_.total());
  report.set_tail(output_.tail());
  report.set_head(output_.take_head());
  report.set_error(ended_.error);
  const std::string bytes = frame(report.SerializeAsString());
  std::string_view left = bytes;
  while (!left.empty()) {
    const ssize_t sent = ::send(agent_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      agent_there_ = false;
      return;
    }
    left.remove_prefix(static_cast<size_t>(sent));
  }
  fault_point(FaultPoint::kReportSent);
}

/// Until the agent has recorded the end. If it will not, the file must outlive a power cut.
void Supervisor::wait_for_agent() {
  char byte = 0;
  // It may have said something else before it heard of the end.
  while (agent_there_ && read_exactly(agent_.get(), &byte, 1)) {
    if (byte == kRecorded) return;
  }
  if (file_) file_->sync();
}

}  // namespace

int supervise(FileDescriptor agent, FileDescriptor file, const std::string& boot) {
  std::optional<JobFile> kept;
  if (file.get() >= 0) {
    auto inherited = JobFile::inherit(std::move(file));
    if (!inherited) return 2;
    kept = *std::move(inherited);
  }
  auto order = read_order(agent.get());
  if (!order) return 0;
  fault_point(FaultPoint::kOrderRead);
  if (kept) {
    const int64_t self = ::getpid();
    if (!kept->begin({boot, self, start_time_of(self), unix_milliseconds()})) return 1;
  }
  Supervisor(std::move(agent), *std::move(order), std::move(kept)).run();
  return 0;
}

}  // namespace starling::handlers
