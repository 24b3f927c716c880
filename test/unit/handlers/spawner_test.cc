// SPDX-License-Identifier: Apache-2.0
//
// The server of supervisors when it is killed, stuck, idle, or left behind.
#include "handlers/spawner.h"

#include <signal.h>
#include <sys/socket.h>

#include <optional>

#include "handlers/job_file.h"
#include "handlers/process.h"
#include "test/catch.h"
#include "test/unit/handlers/process_loop.h"

using namespace std::chrono_literals;
using starling::ErrorKind;
using starling::handlers::childless;
using starling::handlers::Evidence;
using starling::handlers::examine;
using starling::handlers::is_running;
using starling::handlers::JobFile;
using starling::handlers::Process;
using starling::handlers::ProcessEnding;
using starling::handlers::ProcessLoop;
using starling::handlers::ProcessResult;
using starling::handlers::run_until;
using starling::handlers::shell_request;
using starling::handlers::Spawner;
using starling::handlers::TempDir;
using starling::handlers::until_file;

namespace {

struct Job {
  std::string path;
  std::unique_ptr<Process> process;
  std::optional<ProcessResult> result;
};

/// Jobs with files.
struct Bench : ProcessLoop {
  using ProcessLoop::ProcessLoop;

  Job& start(const std::string& command) {
    jobs.push_back(std::make_unique<Job>());
    Job& job = *jobs.back();
    job.path = dir.file("job" + std::to_string(jobs.size()));
    auto file = JobFile::create(job.path, 65'536);
    REQUIRE(file);
    auto process = Process::start(loop, *spawner, shell_request(command), file->release(), job.path,
                                  [&job](ProcessResult told) {
                                    job.result = std::move(told);
                                    job.process->recorded();
                                  });
    REQUIRE(process);
    job.process = *std::move(process);
    return job;
  }
  bool until_end(const Job& job) {
    return until([&] { return job.result.has_value(); });
  }

  TempDir dir;
  std::vector<std::unique_ptr<Job>> jobs;
};

}  // namespace

TEST_CASE("one server serves many jobs") {
  Bench bench;
  bench.spawner->prepare();
  const pid_t server = bench.spawner->server_pid();
  REQUIRE(server > 0);
  for (int i = 0; i < 5; ++i) {
    const Job& job = bench.start("exit " + std::to_string(i));
    REQUIRE(bench.until_end(job));
    CHECK(job.result->status == i);
  }
  CHECK(bench.spawner->server_pid() == server);
}

TEST_CASE("jobs go on when their server is killed and the next job gets a new one") {
  Bench bench;
  Job& job = bench.start("echo $$ > " + bench.dir.file("pid") + "; " +
                         until_file(bench.dir.file("go")) + "; echo whole; exit 5");
  const pid_t command = bench.pid_in(bench.dir.file("pid"));
  const pid_t server = bench.spawner->server_pid();
  ::kill(server, SIGKILL);
  const Job& next = bench.start("echo next");  // whether or not its end is known by now
  REQUIRE(bench.until_end(next));
  if (!next.result->began) {
    // It was with the server when that died.
    const Job& again = bench.start("echo again");
    REQUIRE(bench.until_end(again));
    CHECK(again.result->succeeded());
  }
  CHECK(bench.spawner->server_pid() != server);
  CHECK(is_running(command));
  bench.dir.touch("go");
  REQUIRE(bench.until_end(job));
  CHECK(job.result->status == 5);
  CHECK(job.result->tail == "whole\n");
}

TEST_CASE("a job that was with a killed server has not begun") {
  Bench bench;
  bench.spawner->prepare();
  const pid_t server = bench.spawner->server_pid();
  ::kill(server, SIGSTOP);
  const Job& job = bench.start("echo run > " + bench.dir.file("ran"));
  CHECK(examine(job.path) == Evidence::kStarting);  // it may still come
  ::kill(server, SIGKILL);
  REQUIRE(bench.until_end(job));
  CHECK(job.result->ending == ProcessEnding::kLost);
  CHECK_FALSE(job.result->began);
  // The kernel lets go of what was on its way to the server, a locked file too, in its own time.
  CHECK(bench.until([&] { return examine(job.path) == Evidence::kNeverBegan; }));
  CHECK_FALSE(bench.dir.has("ran"));
}

TEST_CASE("a server that is stuck is replaced") {
  Bench bench({.idle = 60s, .stuck = 300ms});
  Job& running = bench.start(until_file(bench.dir.file("go")) + "; exit 6");
  REQUIRE(bench.until([&] { return examine(running.path) == Evidence::kRunning; }));
  const pid_t server = bench.spawner->server_pid();
  ::kill(server, SIGSTOP);
  const Job& held = bench.start("true");
  REQUIRE(bench.until_end(held));
  CHECK_FALSE(held.result->began);
  CHECK(bench.spawner->server_pid() == -1);
  CHECK(bench.until([&] { return !is_running(server); }));
  const Job& next = bench.start("exit 7");
  REQUIRE(bench.until_end(next));
  CHECK(next.result->status == 7);
  bench.dir.touch("go");
  REQUIRE(bench.until_end(running));
  CHECK(running.result->status == 6);
}

TEST_CASE("a server that is slow is given its time") {
  Bench bench({.idle = 60s, .stuck = 20s});
  bench.spawner->prepare();
  const pid_t server = bench.spawner->server_pid();
  ::kill(server, SIGSTOP);
  const Job& job = bench.start("exit 8");
  bench.loop.run_for(100ms);
  ::kill(server, SIGCONT);
  REQUIRE(bench.until_end(job));
  CHECK(job.result->status == 8);
  CHECK(bench.spawner->server_pid() == server);
}

TEST_CASE("more jobs than a stuck server's queue takes get another server") {
  Bench bench;
  bench.spawner->prepare();
  const pid_t stuck = bench.spawner->server_pid();
  ::kill(stuck, SIGSTOP);
  std::vector<Spawner::Supervisor> held;
  while (bench.spawner->server_pid() == stuck && held.size() < 100'000) {
    auto supervisor = bench.spawner->start(-1);
    REQUIRE(supervisor);
    held.push_back(*std::move(supervisor));
    if (held.size() > 400) held.erase(held.begin());
  }
  CHECK(bench.spawner->server_pid() > 0);
  CHECK(bench.spawner->server_pid() != stuck);
}

TEST_CASE("a server without jobs ends and one with a job does not") {
  Bench bench({.idle = 50ms, .stuck = 30ms});
  Job& job =
      bench.start("echo $$ > " + bench.dir.file("pid") + "; " + until_file(bench.dir.file("go")));
  bench.pid_in(bench.dir.file("pid"));
  const pid_t server = bench.spawner->server_pid();
  bench.loop.restart();
  bench.loop.run_for(300ms);
  CHECK(bench.spawner->server_pid() == server);
  bench.dir.touch("go");
  REQUIRE(bench.until_end(job));
  CHECK(bench.until([&] { return bench.spawner->server_pid() == -1; }));
  CHECK(bench.until([&] { return childless(); }));
  const Job& next = bench.start("exit 9");
  REQUIRE(bench.until_end(next));
  CHECK(next.result->status == 9);
}

TEST_CASE("what was handed over runs though its agent is gone before the server forks") {
  Bench bench;
  bench.spawner->prepare();
  const pid_t server = bench.spawner->server_pid();
  ::kill(server, SIGSTOP);
  Job& job = bench.start("echo run >> " + bench.dir.file("ran"));
  const std::string path = job.path;
  job.process.reset();
  bench.spawner.reset();
  CHECK(examine(path) == Evidence::kStarting);
  ::kill(server, SIGCONT);
  REQUIRE(bench.until([&] { return examine(path) == Evidence::kEnded; }));
  CHECK(bench.dir.read("ran") == "run\n");
  CHECK(bench.until([] { return childless(); }));
}

TEST_CASE("a server that cannot be started is said to be so") {
  asio::io_context loop;
  Spawner spawner(loop, "/nonexistent/starling");
  spawner.prepare();
  const auto supervisor = spawner.start(-1);
  REQUIRE_FALSE(supervisor);
  CHECK(supervisor.error().kind == ErrorKind::kUnavailable);
  CHECK(supervisor.error().message ==
        "cannot start a handler: /nonexistent/starling: No such file or directory");
}

TEST_CASE("a program that is no server costs a job nothing but its start") {
  asio::io_context loop;
  Spawner spawner(loop, "/bin/false");
  for (int i = 0; i < 3; ++i) {
    // Whether or not its end is seen in time: no job is with it for ever.
    if (auto supervisor = spawner.start(-1)) {
      CHECK(run_until(loop, [&] {
        char byte = 0;
        return ::recv(supervisor->socket.get(), &byte, 1, MSG_DONTWAIT) == 0;
      }));
    }
  }
}
