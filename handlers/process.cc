// SPDX-License-Identifier: Apache-2.0
#include "handlers/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio.hpp>
#include <cerrno>
#include <utility>

#include "handlers/fault.h"
#include "handlers/spawner.h"
#include "handlers/supervise.h"
#include "proto/job.pb.h"
#include "proto/support/unix_time.h"

namespace starling::handlers {
namespace {

constexpr size_t kChunk = size_t{64} << 10;
// Beside head and tail.
constexpr size_t kReportOverhead = 4096;

uint64_t milliseconds(Duration duration) {
  return static_cast<uint64_t>(
      std::chrono::ceil<std::chrono::milliseconds>(std::max(duration, Duration{0})).count());
}

std::string make_order(const ProcessRequest& request) {
  job::Order order;
  for (const std::string& argument : request.arguments) order.add_arguments(argument);
  for (const std::string& variable : request.environment) order.add_environment(variable);
  order.set_input(request.input);
  order.set_timeout_ms(milliseconds(request.timeout));
  order.set_grace_ms(milliseconds(request.grace));
  order.set_head_limit(request.head_limit);
  order.set_tail_limit(request.tail_limit);
  order.set_user(request.setting.user);
  order.set_directory(request.setting.directory);
  order.set_nice(request.setting.nice);
  order.set_io_priority(request.setting.io_priority);
  order.set_set_umask(request.setting.umask >= 0);
  if (request.setting.umask >= 0) order.set_umask(static_cast<uint32_t>(request.setting.umask));
  order.set_cgroup(request.cgroup);
  return frame(order.SerializeAsString());
}

ProcessResult result_of(job::Report report) {
  ProcessResult result;
  result.ending = static_cast<ProcessEnding>(
      std::min<uint32_t>(report.ending(), static_cast<uint32_t>(ProcessEnding::kNotStarted)));
  result.status = report.status();
  result.duration = std::chrono::microseconds(report.duration_us());
  result.head = std::move(*report.mutable_head());
  result.tail = std::move(*report.mutable_tail());
  result.output_bytes = report.output_bytes();
  result.error = std::move(*report.mutable_error());
  result.ended_ms = unix_milliseconds();
  return result;
}

}  // namespace

ProcessResult result_of(const JobFile& file, const Ended& ended, size_t tail_limit) {
  ProcessResult result;
  result.ending = ended.ending;
  result.status = ended.status;
  result.duration = std::chrono::microseconds(ended.duration_us);
  result.output_bytes = ended.output_bytes;
  const uint64_t from =
      ended.output_bytes > tail_limit ? ended.output_bytes - tail_limit : uint64_t{0};
  result.tail = file.read(from, tail_limit).bytes;
  result.error = ended.error;
  result.ended_ms = ended.at_ms;
  return result;
}

/// One run, from its start or adoption to the report, and until the supervisor is gone. The loop's
/// pending callbacks keep it alive.
class Process::Run : public std::enable_shared_from_this<Run> {
 public:
  Run(asio::io_context& loop, std::string path, Done done)
      : path_(std::move(path)), done_(std::move(done)), socket_(loop), pidfd_(loop) {}

  Result<void> start(Spawner& spawner, const ProcessRequest& request, FileDescriptor file);
  Result<void> adopt(size_t tail_limit);
  void terminate() { tell_supervisor(kTerminate, SIGTERM); }
  void kill() { tell_supervisor(kKill, SIGUSR1); }
  void recorded();
  void let_go();

 private:
  void tell_supervisor(char order, int signal);
  void send_rest();
  void read_report();
  void take_report();
  void wait_for_exit();
  void gone();
  void tell(ProcessResult result);
  void close_socket();

  const std::string path_;
  Done done_;
  size_t tail_limit_ = 0;
  size_t report_limit_ = 0;
  TimePoint started_;
  std::shared_ptr<SpawnerLease> lease_;
  std::string unsent_;  ///< the order, and what is said after it
  size_t sent_ = 0;     ///< of these
  std::string report_;
  asio::posix::stream_descriptor socket_;  ///< to a supervisor that we have started
  asio::posix::stream_descriptor pidfd_;   ///< of one that is adopted
};

Result<void> Process::Run::start(Spawner& spawner, const ProcessRequest& request,
                                 FileDescriptor file) {
  started_ = TimePoint::clock::now();
  tail_limit_ = request.tail_limit;
  report_limit_ = request.head_limit + request.tail_limit + kReportOverhead;
  fault_point(FaultPoint::kBeforeSpawn);
  auto supervisor = spawner.start(file.get());
  if (!supervisor) return tl::unexpected(supervisor.error());
  fault_point(FaultPoint::kAfterSpawn);
  file.close();  // from now on only the supervisor holds the lock
  asio::error_code error;
  socket_.assign(supervisor->socket.get(), error);
  if (error) {
    // Without its order it runs nothing.
    done_ = nullptr;
    return fail(ErrorKind::kUnavailable, "cannot watch a handler's process: " + error.message());
  }
  static_cast<void>(supervisor->socket.release());
  lease_ = std::move(supervisor->lease);
  unsent_ = make_order(request);
  send_rest();
  fault_point(FaultPoint::kOrderSent);
  read_report();
  return {};
}

Result<void> Process::Run::adopt(size_t tail_limit) {
  tail_limit_ = tail_limit;
  started_ = TimePoint::clock::now();
  auto file = JobFile::open(path_);
  if (!file) return tl::unexpected(file.error());
  const auto begun = file->begun();
  if (!begun) return fail(ErrorKind::kNotFound, path_ + ": it has not begun");
  auto pidfd = open_pidfd(static_cast<pid_t>(begun->pid));
  if (!pidfd) return fail(ErrorKind::kNotFound, path_ + ": its supervisor is gone");
  // The pidfd is of whoever has the number now. He who still holds the lock has had it all along.
  if (!file->locked() || start_time_of(begun->pid) != begun->start_time) {
    return fail(ErrorKind::kNotFound, path_ + ": its supervisor is gone");
  }
  asio::error_code error;
  pidfd_.assign(pidfd->get(), error);
  if (error) {
    return fail(ErrorKind::kUnavailable, "cannot watch a handler's process: " + error.message());
  }
  static_cast<void>(pidfd->release());
  wait_for_exit();
  return {};
}

void Process::Run::send_rest() {
  while (sent_ < unsent_.size()) {
    const ssize_t sent = ::send(socket_.native_handle(), unsent_.data() + sent_,
                                unsent_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      sent_ += static_cast<size_t>(sent);
    } else if (sent < 0 && errno == EAGAIN) {
      socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                         [self = shared_from_this()](const asio::error_code& error) {
                           if (!error && self->socket_.is_open()) self->send_rest();
                         });
      return;
    } else if (sent < 0 && errno != EINTR) {
      break;  // it is gone: the end of what it says tells
    }
  }
  unsent_ = std::string();
  sent_ = 0;
}

/// By the socket, where nothing else can be meant; to an adopted one by a signal.
void Process::Run::tell_supervisor(char order, int signal) {
  if (pidfd_.is_open()) signal_process(pidfd_.native_handle(), signal);
  if (!socket_.is_open()) return;
  const bool sending = !unsent_.empty();
  unsent_.push_back(order);
  if (!sending) send_rest();
}

void Process::Run::read_report() {
  socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const asio::error_code& error) {
                       if (!error && self->socket_.is_open()) self->take_report();
                     });
}

void Process::Run::take_report() {
  std::array<char, kChunk> chunk;  // one at a time: others get their turn between two chunks
  const ssize_t got = ::recv(socket_.native_handle(), chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return read_report();
  if (got <= 0 || report_.size() + static_cast<size_t>(got) > report_limit_) return gone();
  report_.append(chunk.data(), static_cast<size_t>(got));
  size_t size = 0;
  for (size_t i = 0; i < 4 && report_.size() >= 4; ++i) {
    size = size << 8 | static_cast<unsigned char>(report_[i]);
  }
  if (report_.size() < 4 || report_.size() - 4 < size) return read_report();
  job::Report report;
  if (!report.ParseFromArray(report_.data() + 4, static_cast<int>(size))) return gone();
  report_ = std::string();
  lease_.reset();
  fault_point(FaultPoint::kReportRead);
  tell(result_of(std::move(report)));
}

void Process::Run::wait_for_exit() {
  pidfd_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](
                                                                   const asio::error_code& error) {
    if (error || !self->pidfd_.is_open()) return;
    // Asio may complete a wait with another descriptor's old event.
    pollfd ended{.fd = self->pidfd_.native_handle(), .events = POLLIN, .revents = 0};
    if (::poll(&ended, 1, 0) != 1) return self->wait_for_exit();
    self->gone();
  });
}

/// The supervisor is gone, without a report. Its file tells.
void Process::Run::gone() {
  asio::error_code ignored;
  pidfd_.close(ignored);
  close_socket();
  const std::shared_ptr<SpawnerLease> lease = std::exchange(lease_, nullptr);
  if (!done_) return;
  ProcessResult result;
  result.duration = TimePoint::clock::now() - started_;
  result.ended_ms = unix_milliseconds();
  result.error = "its supervisor was killed";
  if (const auto file = JobFile::open(path_)) {
    result.began = file->begun().has_value();
    if (const auto ended = file->ended()) {
      result = handlers::result_of(*file, *ended, tail_limit_);
      result.began = true;
    } else {
      kill_leftovers(*file);
      const uint64_t total = file->total();
      result.output_bytes = total;
      result.tail = file->read(total > tail_limit_ ? total - tail_limit_ : 0, tail_limit_).bytes;
    }
  }
  if (lease && !result.began) lease->lost = true;
  tell(std::move(result));
}

void Process::Run::tell(ProcessResult result) {
  if (Done done = std::exchange(done_, nullptr)) done(std::move(result));
}

void Process::Run::recorded() {
  if (!socket_.is_open()) return;
  fault_point(FaultPoint::kBeforeRecorded);
  static_cast<void>(::send(socket_.native_handle(), &kRecorded, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
  close_socket();
}

void Process::Run::let_go() {
  done_ = nullptr;
  close_socket();
  lease_.reset();
}

void Process::Run::close_socket() {
  asio::error_code ignored;
  socket_.close(ignored);
}

Process::Process(std::shared_ptr<Run> run) : run_(std::move(run)) {}

Process::~Process() {
  run_->let_go();
}

Result<std::unique_ptr<Process>> Process::start(asio::io_context& loop, Spawner& spawner,
                                                const ProcessRequest& request, FileDescriptor file,
                                                std::string path, Done done) {
  auto run = std::make_shared<Run>(loop, std::move(path), std::move(done));
  if (auto started = run->start(spawner, request, std::move(file)); !started) {
    return tl::unexpected(started.error());
  }
  return std::unique_ptr<Process>(new Process(std::move(run)));
}

Result<std::unique_ptr<Process>> Process::adopt(asio::io_context& loop, std::string path,
                                                size_t tail_limit, Done done) {
  auto run = std::make_shared<Run>(loop, std::move(path), std::move(done));
  if (auto adopted = run->adopt(tail_limit); !adopted) return tl::unexpected(adopted.error());
  return std::unique_ptr<Process>(new Process(std::move(run)));
}

void Process::terminate() {
  run_->terminate();
}
void Process::kill() {
  run_->kill();
}
void Process::recorded() {
  run_->recorded();
}

}  // namespace starling::handlers
