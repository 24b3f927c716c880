// SPDX-License-Identifier: Apache-2.0
//
// Runs that outlive whoever started them.
#include <signal.h>

#include <optional>

#include "handlers/dispatcher.h"
#include "handlers/job_file.h"
#include "handlers/process.h"
#include "test/catch.h"
#include "test/unit/handlers/process_loop.h"

using namespace std::chrono_literals;
using starling::ErrorKind;
using starling::handlers::childless;
using starling::handlers::Dispatcher;
using starling::handlers::DispatcherOptions;
using starling::handlers::Event;
using starling::handlers::Evidence;
using starling::handlers::examine;
using starling::handlers::HandlerSpec;
using starling::handlers::is_running;
using starling::handlers::JobFile;
using starling::handlers::JobReport;
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

/// One job with a file.
struct Job : ProcessLoop {
  explicit Job(const std::string& command) {
    auto file = JobFile::create(path, 65'536);
    REQUIRE(file);
    auto started = Process::start(loop, *spawner, shell_request(command), file->release(), path,
                                  [this](ProcessResult told) { result = std::move(told); });
    REQUIRE(started);
    process = *std::move(started);
  }

  /// As a restart of the agent.
  void adopt() {
    process.reset();
    auto adopted =
        Process::adopt(loop, path, 8192, [this](ProcessResult told) { result = std::move(told); });
    REQUIRE(adopted);
    process = *std::move(adopted);
  }
  int64_t supervisor() const {
    const auto file = JobFile::open(path);
    const auto begun = file ? file->begun() : std::nullopt;
    return begun ? begun->pid : 0;
  }

  TempDir dir;
  const std::string path = dir.file("1");
  std::unique_ptr<Process> process;
  std::optional<ProcessResult> result;
};

}  // namespace

TEST_CASE("a run goes on without its agent and the next one hears of its end") {
  const TempDir dir;
  Job job("echo before; " + until_file(dir.file("go")) + "; echo after; exit 3");
  REQUIRE(job.until([&] { return examine(job.path) == Evidence::kRunning; }));
  job.adopt();
  dir.touch("go");
  REQUIRE(job.until([&] { return job.result.has_value(); }));
  CHECK(job.result->ending == ProcessEnding::kExited);
  CHECK(job.result->status == 3);
  CHECK(job.result->tail == "before\nafter\n");
  CHECK(job.result->output_bytes == 13);
  CHECK(examine(job.path) == Evidence::kEnded);
}

TEST_CASE("an adopted run can be ended") {
  Job job("sleep 1000");
  REQUIRE(job.until([&] { return examine(job.path) == Evidence::kRunning; }));
  job.adopt();
  job.process->terminate();
  REQUIRE(job.until([&] { return job.result.has_value(); }));
  CHECK(job.result->ending == ProcessEnding::kTerminated);
  CHECK(job.result->status == SIGTERM);
}

TEST_CASE("a run whose supervisor is killed is lost and nothing of it stays") {
  const TempDir dir;
  const std::string script =
      "sleep 1000 & echo $! > " + dir.file("child") + "; echo $$ > " + dir.file("pid") + "; wait";
  for (const bool adopted : {false, true}) {
    Job job(script);
    REQUIRE(job.until([&] { return dir.read("pid").ends_with("\n"); }));
    const auto command = static_cast<pid_t>(std::stol(dir.read("pid")));
    const auto child = static_cast<pid_t>(std::stol(dir.read("child")));
    if (adopted) job.adopt();
    ::kill(static_cast<pid_t>(job.supervisor()), SIGKILL);
    REQUIRE(job.until([&] { return job.result.has_value(); }));
    CHECK(job.result->ending == ProcessEnding::kLost);
    CHECK(job.result->began);
    CHECK(job.until([&] { return !is_running(command) && !is_running(child); }));
    CHECK(examine(job.path) == Evidence::kInterrupted);
    std::filesystem::remove(dir.file("pid"));
  }
}

TEST_CASE("what has ended cannot be adopted") {
  Job job("true");
  REQUIRE(job.until([&] { return job.result.has_value(); }));
  const auto supervisor = static_cast<pid_t>(job.supervisor());
  job.process->recorded();
  REQUIRE(job.until([&] { return !is_running(supervisor); }));
  const auto adopted = Process::adopt(job.loop, job.path, 0, [](const ProcessResult&) {});
  REQUIRE_FALSE(adopted);
  CHECK(adopted.error().kind == ErrorKind::kNotFound);
}

TEST_CASE("a supervisor without its order runs nothing") {
  const TempDir dir;
  const std::string path = dir.file("1");
  auto file = JobFile::create(path, 4096);
  REQUIRE(file);
  asio::io_context loop;
  {
    Spawner spawner(loop, STARLING_TEST_SUPERVISOR);
    REQUIRE(spawner.start(file->descriptor()));  // and lets go of the socket
  }
  const auto held = file->release();
  REQUIRE(run_until(loop, [] { return childless(); }));
  CHECK(examine(path) == Evidence::kStarting);  // we hold it
  const auto reader = JobFile::open(path);
  REQUIRE(reader);
  CHECK_FALSE(reader->begun());
}

TEST_CASE("a dispatcher restores what waited and adopts what ran") {
  const TempDir dir;
  Job job(until_file(dir.file("go")) + "; echo old");
  REQUIRE(job.until([&] { return examine(job.path) == Evidence::kRunning; }));
  job.process.reset();
  std::vector<JobReport> reports;
  DispatcherOptions options;
  options.supervisor = STARLING_TEST_SUPERVISOR;
  options.hooks.finished = [&](const JobReport& report, const std::function<void(bool)>& recorded) {
    reports.push_back(report);
    recorded(true);
  };
  Dispatcher dispatcher(job.loop, std::move(options));
  dispatcher.set_handlers({*HandlerSpec::parse("user=echo new")});
  Event event;
  event.id = "e2";
  CHECK(dispatcher.adopt({7, 1, "user=echo new", "e1", "user:a"}, false, {}, job.path));
  CHECK(dispatcher.restore({8, 1, "user=echo new", "e2", "user:a"}, event));
  CHECK_FALSE(dispatcher.restore({9, 1, "user=gone", "e2", "user:a"}, event));
  CHECK(dispatcher.statistics().running == 1);
  CHECK(dispatcher.statistics().waiting == 1);
  dir.touch("go");
  REQUIRE(job.until([&] { return reports.size() == 2; }));
  // The adopted run holds the handler's only place.
  CHECK(reports[0].job.number == 7);
  CHECK(reports[0].output == "old\n");
  CHECK(reports[1].job.number == 8);
  CHECK(reports[1].output == "new\n");
  CHECK(dispatcher.statistics().adopted == 1);
}
