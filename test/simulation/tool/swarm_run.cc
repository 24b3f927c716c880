// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/swarm_run.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "proto/support/assert.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

constexpr size_t kViolationsKept = 10;
constexpr size_t kDetailsMax = 4000;
/// Results that may wait for an earlier seed: a worker with a slow one does not stop the others,
/// but memory stays bounded.
constexpr uint64_t kAheadMax = 10'000;

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The fixed part of a Report as it goes through a pipe; two strings follow.
struct Frame {
  uint64_t seed, nodes, trace_hash;
  int64_t virtual_ns, recovery_ns;
  double wall_seconds;
  uint64_t events, queries, false_failures, datagrams, packets_per_second_max, violations;
  int64_t violated_ns;
  uint32_t failure_size, details_size;
};
static_assert(std::is_trivially_copyable_v<Frame>);

bool write_all(int fd, const void* data, size_t size) {
  const char* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool read_all(int fd, void* data, size_t size) {
  char* bytes = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = ::read(fd, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool send_report(int fd, const Report& r) {
  const Frame wire{r.seed,
                   r.nodes,
                   r.trace_hash,
                   r.virtual_ns,
                   r.recovery_ns,
                   r.wall_seconds,
                   r.events,
                   r.queries,
                   r.false_failures,
                   r.datagrams,
                   r.packets_per_second_max,
                   r.violations,
                   r.violated_ns,
                   static_cast<uint32_t>(r.failure.size()),
                   static_cast<uint32_t>(r.details.size())};
  return write_all(fd, &wire, sizeof wire) && write_all(fd, r.failure.data(), r.failure.size()) &&
         write_all(fd, r.details.data(), r.details.size());
}

bool receive_report(int fd, Report& r) {
  Frame wire{};
  if (!read_all(fd, &wire, sizeof wire)) return false;
  r.seed = wire.seed;
  r.nodes = wire.nodes;
  r.trace_hash = wire.trace_hash;
  r.virtual_ns = wire.virtual_ns;
  r.recovery_ns = wire.recovery_ns;
  r.wall_seconds = wire.wall_seconds;
  r.events = wire.events;
  r.queries = wire.queries;
  r.false_failures = wire.false_failures;
  r.datagrams = wire.datagrams;
  r.packets_per_second_max = wire.packets_per_second_max;
  r.violations = wire.violations;
  r.violated_ns = wire.violated_ns;
  r.failure.resize(wire.failure_size);
  r.details.resize(wire.details_size);
  return read_all(fd, r.failure.data(), r.failure.size()) &&
         read_all(fd, r.details.data(), r.details.size());
}

/// A child process that runs scenarios: a seed or an index goes in, a Report comes out.
class Worker {
 public:
  using Draw = std::function<Scenario(uint64_t)>;

  explicit Worker(const Draw& draw) : draw_(draw) { start(); }
  ~Worker() { stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  [[nodiscard]] int fd() const { return results_; }
  [[nodiscard]] bool busy() const { return seed_.has_value(); }
  [[nodiscard]] double runs_for() const { return since(begin_); }

  void give(uint64_t seed) {
    seed_ = seed;
    begin_ = Clock::now();
    (void)write_all(orders_, &seed, sizeof seed);  // a dead worker shows at its other pipe
  }
  /// When fd() is readable. A worker that died is reported and replaced.
  Report take() {
    Report report;
    if (receive_report(results_, report)) {
      seed_.reset();
      return report;
    }
    return bury("crash");
  }
  Report give_up() {
    ::kill(pid_, SIGKILL);
    return bury("timeout");
  }

 private:
  void start();
  void stop();
  [[noreturn]] void serve(int orders, int results);
  Report bury(const char* failure);
  [[nodiscard]] std::string last_words();

  const Draw& draw_;
  pid_t pid_ = -1;
  int orders_ = -1;
  int results_ = -1;
  std::FILE* said_ = nullptr;  ///< what the child wrote to its standard error
  std::optional<uint64_t> seed_;
  Clock::time_point begin_;
};

void Worker::start() {
  int orders[2];
  int results[2];
  said_ = std::tmpfile();
  STARLING_ASSERT(said_ != nullptr && ::pipe(orders) == 0 && ::pipe(results) == 0);
  std::fflush(nullptr);
  pid_ = ::fork();
  STARLING_ASSERT(pid_ >= 0);
  if (pid_ == 0) {
    ::close(orders[1]);
    ::close(results[0]);
    serve(orders[0], results[1]);
  }
  ::close(orders[0]);
  ::close(results[1]);
  orders_ = orders[1];
  results_ = results[0];
}

void Worker::serve(int orders, int results) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(::fileno(said_), STDERR_FILENO);
  uint64_t seed = 0;
  while (read_all(orders, &seed, sizeof seed)) {
    const Scenario scenario = draw_(seed);
    Report report = report_of(scenario, run_scenario(scenario));
    report.seed = seed;
    if (!send_report(results, report)) break;
  }
  ::_exit(0);
}

void Worker::stop() {
  if (pid_ < 0) return;
  ::close(orders_);
  ::close(results_);
  ::kill(pid_, SIGKILL);  // it keeps nothing, and a younger worker may hold its pipe open
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  std::fclose(said_);
  pid_ = -1;
}

std::string Worker::last_words() {
  std::string text;
  std::rewind(said_);
  char buffer[1024];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, said_)) text.append(buffer, n);
  if (text.size() > kDetailsMax) text = "..." + text.substr(text.size() - kDetailsMax);
  return text;
}

Report Worker::bury(const char* failure) {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  Report report;
  report.seed = seed_.value_or(0);
  report.nodes = draw_(report.seed).nodes;
  report.wall_seconds = runs_for();
  report.violations = 1;
  report.failure = failure;
  report.details = last_words();
  if (std::strcmp(failure, "crash") == 0) {
    report.details += WIFSIGNALED(status)
                          ? std::string("ended by ") + ::strsignal(WTERMSIG(status)) + '\n'
                          : "ended with status " + std::to_string(WEXITSTATUS(status)) + '\n';
  } else {
    report.details += format("was not done after %.0f s of real time\n", report.wall_seconds);
  }
  ::close(orders_);
  ::close(results_);
  std::fclose(said_);
  seed_.reset();
  start();
  return report;
}

/// Hands out the seeds and puts the results in order.
class Swarm {
 public:
  explicit Swarm(const SwarmRun& run) : run_(run), next_(run.first), due_(run.first) {}

  uint64_t run() {
    const uint64_t count = run_.last - run_.first + 1;
    const auto jobs = static_cast<size_t>(std::min<uint64_t>(run_.jobs, count));
    for (size_t i = 0; i < jobs; ++i) workers_.push_back(std::make_unique<Worker>(run_.draw));
    while (!ended_ && due_ <= run_.last) {
      for (const auto& worker : workers_) {
        if (!worker->busy() && next_ <= run_.last && next_ - due_ < kAheadMax) {
          worker->give(next_++);
        }
      }
      collect();
    }
    return due_ - run_.first;
  }

 private:
  void collect() {
    std::vector<pollfd> fds;
    for (const auto& worker : workers_) {
      fds.push_back({worker->busy() ? worker->fd() : -1, POLLIN, 0});
    }
    ::poll(fds.data(), fds.size(), 1000);
    for (size_t i = 0; i < fds.size() && !ended_; ++i) {
      if (!workers_[i]->busy()) continue;
      if (fds[i].revents != 0) {
        done(workers_[i]->take());
      } else if (workers_[i]->runs_for() > run_.timeout_seconds) {
        done(workers_[i]->give_up());
      }
    }
  }
  void done(Report report) {
    const uint64_t seed = report.seed;
    waiting_.emplace(seed, std::move(report));
    if (run_.progress) run_.progress(++done_);
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == due_ && !ended_;
         first = waiting_.erase(first)) {
      ended_ = !run_.report(first->second);
      ++due_;
    }
  }

  const SwarmRun& run_;
  uint64_t next_;
  uint64_t due_;
  uint64_t done_ = 0;
  bool ended_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<uint64_t, Report> waiting_;
};

}  // namespace

Report report_of(const Scenario& scenario, const ScenarioResult& result) {
  Report report;
  report.seed = scenario.world.seed;
  report.nodes = scenario.nodes;
  report.trace_hash = result.trace_hash;
  report.virtual_ns = result.virtual_time.count();
  report.recovery_ns = result.recovery.count();
  report.wall_seconds = result.wall_seconds;
  report.events = result.events;
  report.queries = result.queries;
  report.false_failures = result.false_failures;
  report.datagrams = result.statistics.datagrams_sent;
  report.packets_per_second_max = result.packets_per_second_max;
  report.violations = result.violations.size();
  if (result.ok()) return report;
  report.failure = result.violations.front().invariant;
  report.violated_ns = (result.violations.front().at - kStart).count();
  const size_t shown = std::min(kViolationsKept, result.violations.size());
  for (size_t i = 0; i < shown; ++i) report.details += result.violations[i].to_string() + '\n';
  if (shown < result.violations.size()) {
    report.details += "... " + std::to_string(result.violations.size()) + " in all\n";
  }
  if (report.details.size() > kDetailsMax) report.details.resize(kDetailsMax);
  return report;
}

Report run_in_sandbox(const Scenario& scenario, double timeout_seconds) {
  SwarmRun run;
  run.timeout_seconds = timeout_seconds;
  run.draw = [&](uint64_t /*seed*/) { return scenario; };
  Report result;
  run.report = [&](const Report& report) {
    result = report;
    return true;
  };
  run_swarm(run);
  result.seed = scenario.world.seed;
  return result;
}

uint64_t run_swarm(const SwarmRun& run) {
  // A worker that died must not take us with it when we write to it.
  std::signal(SIGPIPE, SIG_IGN);
  return Swarm(run).run();
}

}  // namespace starling::simulation
