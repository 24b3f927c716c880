// SPDX-License-Identifier: Apache-2.0
#include "handlers/process.h"

#include <fcntl.h>
#include <signal.h>

#include <optional>

#include "test/catch.h"
#include "test/unit/handlers/process_loop.h"

using namespace std::chrono_literals;
using starling::handlers::is_running;
using starling::handlers::open_files;
using starling::handlers::Process;
using starling::handlers::ProcessEnding;
using starling::handlers::ProcessLoop;
using starling::handlers::ProcessRequest;
using starling::handlers::ProcessResult;
using starling::handlers::resident_bytes;
using starling::handlers::shell_request;
using starling::handlers::TempDir;

namespace {

ProcessRequest request(std::string command) {
  ProcessRequest made = shell_request(std::move(command));
  made.head_limit = size_t{4} << 20;
  made.timeout = 60s;
  return made;
}

/// A run that leaves no trace.
auto start(ProcessLoop& loop, const ProcessRequest& made, Process::Done done) {
  return Process::start(loop.loop, *loop.spawner, made, {}, {}, std::move(done));
}

/// One command on a loop of its own.
class Runner {
 public:
  explicit Runner(ProcessRequest made) {
    auto started = start(loop_, made, [this](ProcessResult result) {
      result_ = std::move(result);
      process_->recorded();
    });
    REQUIRE(started);
    process_ = *std::move(started);
  }

  Process& process() { return *process_; }
  template <typename Condition>
  bool until(Condition condition) {
    return loop_.until(condition);
  }
  bool ended() const { return result_.has_value(); }
  pid_t pid_in(const std::string& path) { return loop_.pid_in(path); }
  ProcessResult result() {
    REQUIRE(until([this] { return ended(); }));
    return *result_;
  }

 private:
  ProcessLoop loop_;
  std::unique_ptr<Process> process_;
  std::optional<ProcessResult> result_;
};

ProcessResult run(ProcessRequest made) {
  return Runner(std::move(made)).result();
}
ProcessResult run(std::string command) {
  return run(request(std::move(command)));
}

}  // namespace

TEST_CASE("process tells the exit status") {
  CHECK(run("exit 0").succeeded());
  const ProcessResult result = run("exit 3");
  CHECK(result.ending == ProcessEnding::kExited);
  CHECK(result.status == 3);
  CHECK_FALSE(result.succeeded());
  CHECK(run("/nonexistent/command").status == 127);
}

TEST_CASE("process tells the signal") {
  const ProcessResult result = run("kill -9 $$");
  CHECK(result.ending == ProcessEnding::kSignalled);
  CHECK(result.status == SIGKILL);
}

TEST_CASE("process gives environment and input and takes output") {
  ProcessRequest made = request("echo \"$GREETING\"; cat; echo \"$#\" \"$0\"");
  made.environment.emplace_back("GREETING=good day");
  made.input = "line one\nline two\n";
  CHECK(run(made).head == "good day\nline one\nline two\n0 /bin/sh\n");
}

TEST_CASE("process without input has an empty one") {
  CHECK(run("wc -c").head == "0\n");
}

TEST_CASE("output and error are mixed in the order they were printed") {
  CHECK(run("echo e1 >&2; echo o1; echo e2 >&2; echo o2; echo o3; echo e3 >&2").head ==
        "e1\no1\ne2\no2\no3\ne3\n");
}

TEST_CASE("a script may reopen its streams by name") {
  ProcessRequest made = request("cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr");
  made.input = "in\n";
  CHECK(run(made).head == "in\nout\nerr\n");
}

TEST_CASE("process has its own group and no other descriptor") {
  const int extra = ::open("/dev/null", O_RDONLY);  // on purpose not close-on-exec
  REQUIRE(extra > 2);
  Runner runner(request("ls /proc/self/fd; echo $$ $(ps -o pgid= -p $$)"));
  const std::string output = runner.result().head;
  ::close(extra);
  CHECK(output.starts_with("0\n1\n2\n3\n"));  // 3: the directory that ls reads
  const size_t rest = std::string("0\n1\n2\n3\n").size();
  std::istringstream words(output.substr(rest));
  pid_t pid = 0;
  pid_t group = -1;
  words >> pid >> group;
  CHECK(pid == group);
}

TEST_CASE("process starts with default signals whatever the agent ignores or blocks") {
  sigset_t block;
  sigset_t before;
  sigemptyset(&block);
  sigaddset(&block, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &block, &before);
  const auto handler = ::signal(SIGPIPE, SIG_IGN);
  const ProcessResult terminated = run("kill -TERM $$; echo survived");
  const ProcessResult piped = run("kill -PIPE $$; echo survived");
  ::signal(SIGPIPE, handler);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  CHECK(terminated.status == SIGTERM);
  CHECK(piped.status == SIGPIPE);
}

TEST_CASE("a script that never reads its large input ends as it likes") {
  ProcessRequest made = request("exit 0");
  made.input.assign(size_t{1} << 20, 'x');
  CHECK(run(made).succeeded());
}

TEST_CASE("a script that closes its input early gets no one killed") {
  ProcessRequest made = request("head -c 10; exec <&-; echo; echo done");
  made.input.assign(size_t{1} << 20, 'x');
  const ProcessResult result = run(made);
  CHECK(result.succeeded());
  CHECK(result.head == "xxxxxxxxxx\ndone\n");
}

TEST_CASE("a large input arrives whole") {
  ProcessRequest made = request("sleep 0.05; cksum; echo more >&2");
  made.input.assign((size_t{1} << 20) + 12'345, 'x');
  CHECK(run(made).head == run("head -c 1060921 /dev/zero | tr '\\0' x | cksum; echo more").head);
}

TEST_CASE("a large output arrives whole and is counted") {
  const ProcessResult result = run("head -c 3000000 /dev/zero | tr '\\0' y");
  CHECK(result.output_bytes == 3'000'000);
  CHECK(result.head == std::string(3'000'000, 'y'));
  CHECK(result.tail == std::string(8192, 'y'));
}

TEST_CASE("a flood of output keeps memory bounded") {
  ProcessRequest made = request("head -c 200000000 /dev/zero; echo the end");
  made.head_limit = size_t{1} << 20;
  const size_t before = resident_bytes();
  const ProcessResult result = run(made);
  CHECK(result.output_bytes == 200'000'008);
  CHECK(result.head.size() == size_t{1} << 20);
  CHECK(result.tail.ends_with("the end\n"));
  CHECK(resident_bytes() < before + (size_t{16} << 20));
}

TEST_CASE("a flood of output leaves the loop to others") {
  ProcessLoop loop;
  bool ended = false;
  auto flood =
      start(loop, request("exec cat /dev/zero"), [&](const ProcessResult&) { ended = true; });
  REQUIRE(flood);
  int runs = 0;
  for (; runs < 5; ++runs) {
    bool done = false;
    auto other = start(loop, request("true"), [&](const ProcessResult&) { done = true; });
    REQUIRE(other);
    REQUIRE(loop.until([&] { return done; }));
  }
  CHECK_FALSE(ended);
  (*flood)->kill();
  CHECK(loop.until([&] { return ended; }));
}

TEST_CASE("a grandchild that keeps the output open does not hold up the end") {
  TempDir dir;
  Runner runner(request("sleep 1000 & echo $! > " + dir.file("pid") + "; echo started"));
  const ProcessResult result = runner.result();
  const pid_t grandchild = runner.pid_in(dir.file("pid"));
  CHECK(result.succeeded());
  CHECK(result.head == "started\n");
  CHECK(result.duration < 20s);
  CHECK(is_running(grandchild));  // its own business, as with Serf
  ::kill(grandchild, SIGKILL);
}

TEST_CASE("a grandchild that prints for ever does not hold up the end") {
  TempDir dir;
  Runner runner(request("cat /dev/zero & echo $! > " + dir.file("pid")));
  CHECK(runner.result().succeeded());
  ::kill(runner.pid_in(dir.file("pid")), SIGKILL);
}

TEST_CASE("a script may close its output and go on") {
  const ProcessResult result = run("echo before; exec >&- 2>&-; sleep 0.1; exit 4");
  CHECK(result.head == "before\n");
  CHECK(result.status == 4);
}

TEST_CASE("time limit ends the whole group") {
  TempDir dir;
  ProcessRequest made =
      request("sleep 1000 & echo $! > " + dir.file("pid") + "; echo waiting; wait");
  made.timeout = 2s;  // enough to write the file on a loaded host
  made.grace = 20s;
  Runner runner(made);
  const pid_t grandchild = runner.pid_in(dir.file("pid"));
  const ProcessResult result = runner.result();
  CHECK(result.ending == ProcessEnding::kTimedOut);
  CHECK(result.head == "waiting\n");
  CHECK(result.duration >= 2s);
  CHECK(result.duration < 15s);  // all heeded SIGTERM: no grace period to wait for
  CHECK(runner.until([&] { return !is_running(grandchild); }));
}

TEST_CASE("a group that ignores SIGTERM is killed after the grace period") {
  TempDir dir;
  ProcessRequest made = request("trap '' TERM; (while :; do sleep 1; done) & echo $! > " +
                                dir.file("pid") + "; while :; do sleep 1; done");
  made.timeout = 2s;
  made.grace = 200ms;
  Runner runner(made);
  const pid_t grandchild = runner.pid_in(dir.file("pid"));
  const ProcessResult result = runner.result();
  CHECK(result.ending == ProcessEnding::kTimedOut);
  CHECK(result.status == SIGKILL);
  CHECK(result.duration >= 2200ms);
  CHECK(runner.until([&] { return !is_running(grandchild); }));
}

TEST_CASE("a grandchild that ignores SIGTERM is killed though the shell heeds it") {
  TempDir dir;
  ProcessRequest made = request("(trap '' TERM; echo ready > " + dir.file("ready") +
                                "; while :; do sleep 1; done) & echo $! > " + dir.file("pid") +
                                "; while :; do sleep 1; done");
  made.timeout = 60s;
  made.grace = 300ms;
  Runner runner(made);
  const pid_t grandchild = runner.pid_in(dir.file("pid"));
  REQUIRE(runner.until([&] { return dir.has("ready"); }));
  runner.process().terminate();
  const ProcessResult result = runner.result();
  CHECK(result.ending == ProcessEnding::kTerminated);
  CHECK(runner.until([&] { return !is_running(grandchild); }));
}

TEST_CASE("a script may clean up when its time is over") {
  TempDir dir;
  ProcessRequest made = request("trap 'echo cleaned; exit 7' TERM; echo ready > " +
                                dir.file("ready") + "; while :; do sleep 0.05; done");
  Runner runner(made);
  REQUIRE(runner.until([&] { return dir.has("ready"); }));
  runner.process().terminate();
  const ProcessResult result = runner.result();
  CHECK(result.ending == ProcessEnding::kTerminated);
  CHECK(result.head.ends_with("cleaned\n"));  // the shell may tell of its sleep's end
}

TEST_CASE("a stopped script ends all the same") {
  Runner runner(request("kill -STOP $$"));
  runner.process().terminate();
  CHECK(runner.result().ending == ProcessEnding::kTerminated);
}

TEST_CASE("destroying a process lets the run go on without a report") {
  TempDir dir;
  ProcessLoop loop;
  bool reported = false;
  auto process = start(loop,
                       request("echo $$ > " + dir.file("pid") + "; while [ ! -e " + dir.file("go") +
                               " ]; do sleep 0.02; done; echo > " + dir.file("done")),
                       [&](const ProcessResult&) { reported = true; });
  REQUIRE(process);
  REQUIRE(loop.until([&] { return dir.read("pid").ends_with("\n"); }));
  process->reset();
  CHECK(is_running(static_cast<pid_t>(std::stol(dir.read("pid")))));
  dir.touch("go");
  CHECK(loop.until([&] { return dir.has("done"); }));
  CHECK(loop.end_server());
  CHECK_FALSE(reported);
}

TEST_CASE("a process may be destroyed by its own report") {
  ProcessLoop loop;
  std::unique_ptr<Process> process;
  auto started = start(loop, request("true"), [&](const ProcessResult&) { process.reset(); });
  REQUIRE(started);
  process = *std::move(started);
  CHECK(loop.until([&] { return process == nullptr; }));
  CHECK(loop.end_server());
}

TEST_CASE("an environment too large for the system is said to be so") {
  ProcessRequest made = request("true");
  made.environment.push_back("BIG=" + std::string(size_t{8} << 20, 'x'));
  const ProcessResult result = run(made);
  CHECK(result.ending == ProcessEnding::kNotStarted);
  CHECK(result.error.find("cannot start a handler: /bin/sh: ") == 0);
  CHECK(result.error.find("shorten") != std::string::npos);
}

TEST_CASE("a command that cannot be run is named") {
  ProcessRequest made = request("");
  made.arguments = {"no-such-program", "argument"};
  CHECK(run(made).error == "cannot start a handler: no-such-program: No such file or directory");
  made.arguments = {"/etc/passwd"};
  CHECK(run(made).error == "cannot start a handler: /etc/passwd: Permission denied");
  made.arguments = {"true"};
  made.setting.directory = "/nonexistent";
  CHECK(run(made).error.find("its cwd /nonexistent: No such file") != std::string::npos);
  made.setting.directory.clear();
  made.setting.user = "no-such-user";
  CHECK(run(made).error.find("there is no user \"no-such-user\"") != std::string::npos);
}

TEST_CASE("a command gets its setting") {
  ProcessRequest made = request("pwd; umask; nice; id -u");
  made.setting.directory = "/usr/bin";
  made.setting.umask = 0027;
  made.setting.nice = 7;
  if (::geteuid() == 0) made.setting.user = "nobody";
  const std::string expected = ::geteuid() == 0 ? "65534" : std::to_string(::geteuid());
  CHECK(run(made).head == "/usr/bin\n0027\n7\n" + expected + "\n");
}

TEST_CASE("a command that is killed takes along what left its group") {
  TempDir dir;
  Runner runner(request("setsid sleep 1000 & echo $! > " + dir.file("pid") + "; wait"));
  const pid_t grandchild = runner.pid_in(dir.file("pid"));
  runner.process().kill();
  CHECK(runner.result().ending == ProcessEnding::kTerminated);
  CHECK(runner.until([&] { return !is_running(grandchild); }));
}

TEST_CASE("what leaves the group of a command is found at whichever moment the command dies") {
  TempDir dir;
  for (int round = 0; round < 100; ++round) {
    const std::string name = "pid" + std::to_string(round);
    Runner runner(request("setsid sleep 1000 & echo $! > " + dir.file(name) + "; wait"));
    const pid_t grandchild = runner.pid_in(dir.file(name));
    runner.process().kill();
    CHECK(runner.result().ending == ProcessEnding::kTerminated);
    REQUIRE(runner.until([&] { return !is_running(grandchild); }));
  }
}

TEST_CASE("many runs leave no descriptor and no zombie") {
  ProcessLoop loop;
  std::optional<size_t> before;
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<Process>> processes;
    int ended = 0;
    for (int i = 0; i < 10; ++i) {
      ProcessRequest made = request(i % 2 == 0 ? "cat; exit " + std::to_string(i) : "true");
      made.input.assign(i % 3 == 0 ? size_t{200'000} : 0, 'x');
      auto process = start(loop, made, [&, i](const ProcessResult& result) {
        ended += 1;
        processes[static_cast<size_t>(i)]->recorded();
        CHECK(result.ending == ProcessEnding::kExited);
        CHECK(result.status == (i % 2 == 0 ? i : 0));
      });
      REQUIRE(process);
      processes.push_back(*std::move(process));
    }
    REQUIRE(loop.until([&] { return ended == 10; }));
    processes.clear();
    if (!before) before = open_files();  // the loop has its own descriptors by now
  }
  // What was about to be closed when the first were counted may make it fewer.
  CHECK(loop.until([&] { return open_files() <= *before; }));
  CHECK(loop.end_server());
}
