// SPDX-License-Identifier: Apache-2.0
#include "handlers/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio.hpp>
#include <cerrno>
#include <utility>

#include "handlers/output.h"
#include "handlers/spawn.h"

namespace starling::handlers {
namespace {

constexpr size_t kChunk = size_t{64} << 10;
// A child that prints without end gets at most 100 MiB/s of the loop's attention.
constexpr size_t kPaceBytes = size_t{1} << 20;
constexpr auto kPaceInterval = std::chrono::milliseconds(10);
// How long a destructor waits for a killed child; one in uninterruptible sleep stays a zombie.
constexpr int kLastWaitMs = 1000;

}  // namespace

/// One child, from its start to the report. The loop's pending callbacks keep it alive.
class Process::Run : public std::enable_shared_from_this<Run> {
 public:
  Run(asio::io_context& loop, ProcessRequest request, Done done)
      : request_(std::move(request)),
        done_(std::move(done)),
        output_kept_(request_.head_limit, request_.tail_limit),
        pidfd_(loop),
        input_(loop),
        output_(loop),
        limit_timer_(loop),
        pace_timer_(loop) {}
  ~Run() { abandon(); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Result<void> start();
  void end(ProcessEnding why);
  void kill();
  void abandon();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  void wait_for_exit();
  void check_exit();
  void exited();
  void finish();

  void arm_limit(Duration after);
  void limit_reached();
  void signal_group(int signal) const { ::kill(-pid_, signal); }

  void wait_for_input_space();
  void write_input();
  void wait_for_output();
  void read_output();
  void output_ended();
  void drain_output();

  ProcessRequest request_;
  Done done_;
  Output output_kept_;
  pid_t pid_ = -1;
  bool running_ = false;  ///< started and not reaped
  bool exited_ = false;   ///< a zombie that holds the group's id until the group is dead
  bool killed_ = false;   ///< SIGKILL was sent to the group
  bool output_open_ = false;
  ProcessEnding cause_ = ProcessEnding::kExited;  ///< kTimedOut, kTerminated: ended by us
  TimePoint started_;
  size_t input_written_ = 0;
  size_t pace_bytes_ = 0;
  TimePoint pace_start_;

  asio::posix::stream_descriptor pidfd_;
  asio::posix::stream_descriptor input_;
  asio::posix::stream_descriptor output_;
  asio::steady_timer limit_timer_;  ///< the time limit, then the grace period
  asio::steady_timer pace_timer_;
};

Result<void> Process::Run::start() {
  started_ = pace_start_ = TimePoint::clock::now();
  Result<Child> child = spawn_shell(request_.command, request_.environment, request_.input);
  if (!child) return tl::unexpected(child.error());
  pid_ = child->pid;
  running_ = true;
  input_written_ = child->input_written;
  asio::error_code errors[3];
  pidfd_.assign(child->pidfd.get(), errors[0]);
  if (!errors[0]) (void)child->pidfd.release();
  output_.assign(child->output.get(), errors[1]);
  if (!errors[1]) (void)child->output.release();
  if (input_written_ < request_.input.size()) {
    input_.assign(child->input.get(), errors[2]);
    if (!errors[2]) (void)child->input.release();
  } else {
    child->input.close();
  }
  for (const asio::error_code& error : errors) {
    if (!error) continue;
    abandon();
    return fail(ErrorKind::kUnavailable, "cannot watch a handler's process: " + error.message());
  }
  output_open_ = true;
  wait_for_exit();
  wait_for_output();
  if (input_.is_open()) wait_for_input_space();
  arm_limit(request_.timeout);
  return {};
}

void Process::Run::wait_for_exit() {
  pidfd_.async_wait(asio::posix::stream_descriptor::wait_read,
                    [self = shared_from_this()](const asio::error_code& error) {
                      if (!error && self->running_) self->check_exit();
                    });
}

void Process::Run::check_exit() {
  // The wait is only a hint (Asio before 1.38 completes it with another descriptor's old event).
  // WNOWAIT: until it is reaped, nobody else can get the group's id, so that it is safe to signal.
  siginfo_t info{};
  const int result = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  if (result != 0 && errno == EINTR) return wait_for_exit();
  if (result != 0) {
    cause_ = ProcessEnding::kLost;
    return finish();
  }
  if (info.si_pid == 0) return wait_for_exit();
  exited();
}

void Process::Run::exited() {
  exited_ = true;
  drain_output();
  // Ended by itself: what it left running is its own business. Ended by us: the others of its
  // group have the rest of the grace period, unless all have closed their output, so are gone.
  if (cause_ == ProcessEnding::kExited || killed_) return finish();
  if (!output_open_) kill();
}

void Process::Run::finish() {
  ProcessResult result;
  result.ending = cause_;
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
    result.ending = ProcessEnding::kLost;
  } else {
    result.status = info.si_status;
    if (cause_ == ProcessEnding::kExited && info.si_code != CLD_EXITED) {
      result.ending = ProcessEnding::kSignalled;
    }
  }
  result.duration = TimePoint::clock::now() - started_;
  result.output_bytes = output_kept_.total();
  result.tail = output_kept_.tail();
  result.head = output_kept_.take_head();
  running_ = output_open_ = false;
  asio::error_code ignored;
  pidfd_.close(ignored);
  input_.close(ignored);
  output_.close(ignored);
  limit_timer_.cancel();
  pace_timer_.cancel();
  if (Done done = std::exchange(done_, nullptr)) done(std::move(result));
}

void Process::Run::arm_limit(Duration after) {
  limit_timer_.expires_after(after);
  limit_timer_.async_wait([self = shared_from_this()](const asio::error_code& error) {
    if (!error && self->running_) self->limit_reached();
  });
}

void Process::Run::limit_reached() {
  if (cause_ == ProcessEnding::kExited) {
    // The exit may be waiting in the loop's queue behind this timer.
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid != 0) {
      return exited();
    }
    return end(ProcessEnding::kTimedOut);
  }
  kill();
}

void Process::Run::end(ProcessEnding why) {
  if (!running_ || cause_ != ProcessEnding::kExited) return;
  cause_ = why;
  signal_group(SIGTERM);
  signal_group(SIGCONT);  // a stopped process cannot heed it otherwise
  arm_limit(request_.grace);
}

void Process::Run::kill() {
  if (!running_) return;
  if (cause_ == ProcessEnding::kExited) cause_ = ProcessEnding::kTerminated;
  killed_ = true;
  signal_group(SIGKILL);
  limit_timer_.cancel();
  if (exited_) finish();
}

void Process::Run::abandon() {
  if (!running_) return;
  done_ = nullptr;
  cause_ = ProcessEnding::kTerminated;
  signal_group(SIGKILL);
  siginfo_t info{};
  const TimePoint give_up = TimePoint::clock::now() + std::chrono::milliseconds(kLastWaitMs);
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0 && TimePoint::clock::now() < give_up) {
    pollfd wait{
        .fd = pidfd_.is_open() ? pidfd_.native_handle() : -1, .events = POLLIN, .revents = 0};
    ::poll(&wait, 1, 10);
  }
  finish();
}

void Process::Run::wait_for_input_space() {
  input_.async_wait(asio::posix::stream_descriptor::wait_write,
                    [self = shared_from_this()](const asio::error_code& error) {
                      if (!error && self->running_) self->write_input();
                    });
}

void Process::Run::write_input() {
  const size_t left = std::min(request_.input.size() - input_written_, kChunk);
  const ssize_t written =
      write_without_signal(input_.native_handle(), request_.input.data() + input_written_, left);
  if (written > 0) input_written_ += static_cast<size_t>(written);
  const bool again = written >= 0 || errno == EAGAIN || errno == EINTR;
  if (again && input_written_ < request_.input.size()) return wait_for_input_space();
  // All written, or the child has closed its end: either way there is nothing more to say.
  asio::error_code ignored;
  input_.close(ignored);
  request_.input = std::string();
}

void Process::Run::wait_for_output() {
  output_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const asio::error_code& error) {
                       if (!error && self->running_ && self->output_open_) self->read_output();
                     });
}

void Process::Run::read_output() {
  std::array<char, kChunk> chunk;  // one at a time: others get their turn between two chunks
  const ssize_t size = ::read(output_.native_handle(), chunk.data(), chunk.size());
  if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) return output_ended();
  if (size < 0) return wait_for_output();
  output_kept_.append({chunk.data(), static_cast<size_t>(size)});

  const TimePoint now = TimePoint::clock::now();
  if (now - pace_start_ >= kPaceInterval) {
    pace_start_ = now;
    pace_bytes_ = 0;
  }
  pace_bytes_ += static_cast<size_t>(size);
  if (pace_bytes_ < kPaceBytes) return wait_for_output();
  pace_timer_.expires_at(pace_start_ + kPaceInterval);
  pace_timer_.async_wait([self = shared_from_this()](const asio::error_code& error) {
    if (!error && self->running_ && self->output_open_) self->wait_for_output();
  });
}

void Process::Run::output_ended() {
  output_open_ = false;
  asio::error_code ignored;
  output_.close(ignored);
  if (exited_) kill();
}

void Process::Run::drain_output() {
  if (!output_open_) return;
  // Only what is there now: a grandchild may go on printing for ever.
  int left = 0;
  if (::ioctl(output_.native_handle(), FIONREAD, &left) != 0) return;
  std::array<char, kChunk> chunk;
  while (left > 0) {
    const ssize_t size = ::read(output_.native_handle(), chunk.data(),
                                std::min(chunk.size(), static_cast<size_t>(left)));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    output_kept_.append({chunk.data(), static_cast<size_t>(size)});
    left -= static_cast<int>(size);
  }
}

Process::Process(std::shared_ptr<Run> run) : run_(std::move(run)) {}

Process::~Process() {
  run_->abandon();
}

Result<std::unique_ptr<Process>> Process::start(asio::io_context& loop, ProcessRequest request,
                                                Done done) {
  auto run = std::make_shared<Run>(loop, std::move(request), std::move(done));
  if (Result<void> started = run->start(); !started) return tl::unexpected(started.error());
  return std::unique_ptr<Process>(new Process(std::move(run)));
}

void Process::terminate() {
  run_->end(ProcessEnding::kTerminated);
}
void Process::kill() {
  run_->kill();
}
pid_t Process::pid() const {
  return run_->pid();
}

}  // namespace starling::handlers
