// SPDX-License-Identifier: Apache-2.0
#include "agent/job_ledger.h"

#include <signal.h>

#include <asio.hpp>
#include <fstream>
#include <optional>

#include "agent/handler_events.h"
#include "agent/job_desk.h"
#include "handlers/event_record.h"
#include "handlers/job_file.h"
#include "test/catch.h"
#include "test/unit/handlers/loop.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

using handlers::childless;
using handlers::Evidence;
using handlers::TempDir;

/// A dispatcher with a ledger over one directory, which may be started again and again.
class Fixture {
 public:
  Fixture() { start(); }
  ~Fixture() {
    stop();
    handlers::run_until(io, [] { return childless(); });
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  void start() {
    auto opened_log = Log::open({});
    REQUIRE(opened_log);
    log = std::move(*opened_log);
    auto opened = Store::open(io, scratch.path());
    REQUIRE(opened);
    store = std::move(*opened);
    JobLedgerOptions options;
    options.directory = scratch.path() + "/jobs";
    auto ledger_opened = JobLedger::open(io, *store, *log, std::move(options));
    REQUIRE(ledger_opened);
    ledger = std::move(*ledger_opened);
    handlers::DispatcherOptions made;
    made.supervisor = STARLING_TEST_SUPERVISOR;
    made.hooks.number = [this] { return ledger->next_number(); };
    made.hooks.planned = [this](const auto& event, const auto& jobs, const auto& state) {
      ledger->planned(event, jobs, state);
    };
    made.hooks.starting = [this](const auto& job, const auto& event, auto proceed) {
      ledger->starting(job, event, std::move(proceed));
    };
    made.hooks.finished = [this](const auto& report, auto recorded) {
      ledger->finished(report, std::move(recorded));
    };
    made.hooks.dropped = [this](const auto& job, auto reason) { ledger->dropped(job, reason); };
    dispatcher.emplace(io, std::move(made));
    dispatcher->set_handlers(specs);
    StoredState state = store->take_state();
    pending = std::move(state.pending);
    ledger->resume(*dispatcher, std::move(state.jobs), state.last_job);
    for (const PendingEvent& event : pending) {
      ledger->expect(event.id);
      dispatcher->dispatch(to_handler_event(event), {});
    }
  }
  void stop() {
    dispatcher.reset();
    ledger.reset();
    store.reset();
  }
  void handle(const std::vector<std::string>& lines) {
    specs.clear();
    for (const std::string& line : lines) specs.push_back(*handlers::HandlerSpec::parse(line));
    dispatcher->set_handlers(specs);
  }
  handlers::Event send(uint64_t sequence) {
    const PendingEvent event{message_id(1, sequence), 1, "deploy", "v1", false};
    store->save({PutPending{event}});
    ledger->expect(event.id);
    handlers::Event made = to_handler_event(event);
    dispatcher->dispatch(made, {});
    return made;
  }
  std::vector<JobRow> rows() {
    std::optional<std::vector<JobRow>> listed;
    ledger->list({}, [&](Result<std::vector<JobRow>> found) { listed = *found; });
    until([&] { return listed.has_value(); });
    return *listed;
  }
  bool until_state(uint64_t number, JobState state) {
    return until([&] {
      for (const JobRow& row : rows()) {
        if (row.number == number) return row.state == state;
      }
      return false;
    });
  }
  template <typename Condition>
  bool until(Condition condition) {
    return handlers::run_until(io, condition);
  }
  std::string until_file(const std::string& name) const {
    return "while [ ! -e " + dir.file(name) + " ]; do sleep 0.02; done";
  }

  const Scratch scratch;
  const TempDir dir;
  asio::io_context io;
  std::vector<handlers::HandlerSpec> specs;
  std::vector<PendingEvent> pending;
  std::unique_ptr<Log> log;
  std::unique_ptr<Store> store;
  std::unique_ptr<JobLedger> ledger;
  std::optional<handlers::Dispatcher> dispatcher;
};

TEST_CASE_METHOD(Fixture, "a job's way is written down") {
  handle({"user=echo hello; exit 3"});
  const auto event = send(1);
  REQUIRE(until_state(1, JobState::kFailed));
  const JobRow row = rows().at(0);
  CHECK(row.cause == event.id);
  CHECK(row.handler == "user=echo hello; exit 3");
  CHECK(row.event == "user:deploy");
  CHECK(row.status == 3);
  CHECK(row.reason == "exit status 3");
  CHECK(row.output_bytes == 6);
  CHECK(row.boot == handlers::boot_id());
  CHECK(row.queued_ms > 0);
  CHECK(row.started_ms >= row.queued_ms);
  CHECK(row.ended_ms >= row.started_ms);
  const auto file = handlers::JobFile::open(ledger->file_of(1, 1));
  REQUIRE(file);
  CHECK(file->read(0, 100).bytes == "hello\n");
  stop();
  start();
  CHECK(pending.empty());
  CHECK(ledger->next_number() == 2);
}

TEST_CASE_METHOD(Fixture, "a running job is adopted and what waited is run") {
  handle({"user=echo x >> " + dir.file("runs") + "; " + until_file("go")});
  send(1);
  send(2);
  REQUIRE(until([&] { return dir.read("runs") == "x\n"; }));
  stop();
  start();
  CHECK(dispatcher->statistics().adopted == 1);
  CHECK(dispatcher->statistics().waiting == 1);
  dir.touch("go");
  REQUIRE(until_state(1, JobState::kSucceeded));
  REQUIRE(until_state(2, JobState::kSucceeded));
  CHECK(dir.read("runs") == "x\nx\n");
}

TEST_CASE_METHOD(Fixture, "a job that ends while no agent runs is recorded by the next") {
  handle({"user=" + until_file("go") + "; echo done; exit 4"});
  send(1);
  REQUIRE(until_state(1, JobState::kRunning));
  REQUIRE(until([&] { return handlers::examine(ledger->file_of(1, 1)) == Evidence::kRunning; }));
  const std::string path = ledger->file_of(1, 1);
  stop();
  dir.touch("go");
  REQUIRE(until([&] { return handlers::examine(path) == Evidence::kEnded && childless(); }));
  start();
  REQUIRE(until_state(1, JobState::kFailed));
  CHECK(rows()[0].status == 4);
  CHECK(rows()[0].output_bytes == 5);
}

TEST_CASE_METHOD(Fixture, "a job whose supervisor died is interrupted with or without an agent") {
  handle({"user=sleep 1000"});
  send(1);
  const auto supervisor = [&](uint64_t number) {
    const auto file = handlers::JobFile::open(ledger->file_of(number, 1));
    const auto begun = file ? file->begun() : std::nullopt;
    return begun ? static_cast<pid_t>(begun->pid) : 0;
  };
  REQUIRE(until([&] { return supervisor(1) > 0; }));
  ::kill(supervisor(1), SIGKILL);
  REQUIRE(until_state(1, JobState::kInterrupted));
  CHECK(rows()[0].reason == "its supervisor was killed");
  send(2);
  REQUIRE(until([&] { return supervisor(2) > 0; }));
  const pid_t second = supervisor(2);
  stop();
  ::kill(second, SIGKILL);
  REQUIRE(until([] { return childless(); }));
  start();
  REQUIRE(until_state(2, JobState::kInterrupted));
}

TEST_CASE_METHOD(Fixture, "a start that led to nothing is made up for in this boot only") {
  handle({"user=echo x >> " + dir.file("runs")});
  JobRow row;
  row.cause = "user-a";
  row.handler = specs[0].entry_name(0);
  row.event = "user:deploy";
  row.state = JobState::kRunning;
  handlers::Event event;
  event.id = row.cause;
  event.name = "deploy";
  row.record = handlers::encode_event(event);
  row.number = 1;
  row.boot = handlers::boot_id();
  JobRow other = row;
  other.number = 2;
  other.cause = "user-b";
  other.boot = "another";
  store->save({PutJob{row}, PutJob{other}});
  stop();
  // As if the agent had been killed between the file and the supervisor.
  static_cast<void>(handlers::JobFile::create(scratch.path() + "/jobs/1-1", 4096));
  start();
  REQUIRE(until_state(1, JobState::kSucceeded));
  REQUIRE(until_state(2, JobState::kInterrupted));
  CHECK(dir.read("runs") == "x\n");
  for (const JobRow& one : rows()) {
    if (one.number == 1) CHECK(one.attempt == 2);
    if (one.number == 2) CHECK(one.reason == "the host was restarted");
  }
}

TEST_CASE_METHOD(Fixture, "an event that comes twice is handled once") {
  handle({"user=echo x >> " + dir.file("runs")});
  send(1);
  REQUIRE(until_state(1, JobState::kSucceeded));
  send(1);
  REQUIRE(until([&] { return dispatcher->statistics().skipped == 1; }));
  CHECK(dir.read("runs") == "x\n");
  CHECK(rows().size() == 1);
}

TEST_CASE_METHOD(Fixture, "a job without its handler is skipped") {
  handle({"user=" + until_file("go")});
  send(1);
  send(2);
  REQUIRE(until_state(1, JobState::kRunning));
  stop();
  specs.clear();
  start();
  REQUIRE(until_state(2, JobState::kSkipped));
  CHECK(rows()[0].reason == "its handler is not configured any more");
  dir.touch("go");
  CHECK(until_state(1, JobState::kSucceeded));
}

TEST_CASE_METHOD(Fixture, "what is refused is written down") {
  specs.push_back(*handlers::HandlerSpec::make(std::vector<std::string>{"user"}, until_file("go"),
                                               {.queue = 1}));
  dispatcher->set_handlers(specs);
  send(1);
  REQUIRE(until_state(1, JobState::kRunning));
  send(2);
  send(3);
  REQUIRE(until_state(3, JobState::kSkipped));
  CHECK(rows()[0].reason == "the handler's queue is full");
  CHECK(dispatcher->kill_job(2));
  REQUIRE(until_state(2, JobState::kKilled));
  dir.touch("go");
  CHECK(until_state(1, JobState::kSucceeded));
}

TEST_CASE_METHOD(Fixture, "a query's job is recorded but nobody's answer is made later") {
  handle({"query=" + until_file("go") + "; echo yes"});
  handlers::Event query;
  query.type = handlers::EventType::kQuery;
  query.id = "query-1";
  query.name = "q";
  dispatcher->dispatch_query(query, {}, [](const handlers::QueryOutcome&) {});
  query.id = "query-2";
  dispatcher->dispatch_query(query, {}, [](const handlers::QueryOutcome&) {});
  REQUIRE(until_state(1, JobState::kRunning));
  REQUIRE(until([&] { return handlers::examine(ledger->file_of(1, 1)) == Evidence::kRunning; }));
  stop();
  dir.touch("go");
  start();
  REQUIRE(until_state(1, JobState::kSucceeded));
  CHECK(rows().size() == 1);
}

TEST_CASE_METHOD(Fixture, "logs go with their jobs") {
  handle({"user=true"});
  send(1);
  send(2);
  REQUIRE(until_state(2, JobState::kSucceeded));
  std::filesystem::copy(ledger->file_of(1, 1), ledger->file_of(40, 1));  // of no job
  stop();
  start();
  REQUIRE(until([&] { return !std::filesystem::exists(ledger->file_of(40, 1)); }));
  CHECK(ledger->next_number() == 41);
  std::optional<size_t> pruned;
  ledger->prune({.count = 1, .age_ms = 1'000'000'000},
                [&](Result<size_t> count) { pruned = *count; });
  REQUIRE(until([&] { return pruned.has_value(); }));
  CHECK(*pruned == 1);
  CHECK_FALSE(std::filesystem::exists(ledger->file_of(1, 1)));
  CHECK(std::filesystem::exists(ledger->file_of(2, 1)));
}

TEST_CASE_METHOD(Fixture, "who asks for the jobs of an event hears when all have ended") {
  handle({"user=" + until_file("go")});
  std::optional<JobDesk> desk(std::in_place, io, *ledger, *dispatcher);
  std::optional<control::JobReply> reply;
  const auto ask = [&](const std::string& cause, uint32_t wait_ms) {
    reply.reset();
    control::JobRequest request;
    request.set_action(control::JobRequest::LIST);
    request.set_cause(cause);
    request.set_limit(10);
    request.set_wait_ms(wait_ms);
    desk->ask(request, [&reply](const Result<control::JobReply>& told) { reply = *told; });
  };
  const auto answered = [&] { return until([&] { return reply.has_value(); }); };
  ask("user-nobody", 50);
  REQUIRE(answered());
  CHECK_FALSE(reply->arrived());
  CHECK_FALSE(reply->settled());
  const std::string cause = send(1).id;
  ask(cause, 300);
  REQUIRE(answered());
  CHECK(reply->arrived());
  CHECK(reply->settled());
  CHECK(reply->now_ms() > 0);
  REQUIRE(reply->jobs_size() == 1);
  CHECK(reply->jobs(0).state() == "running");
  ask(cause, 10'000);
  CHECK_FALSE(reply);
  std::ofstream(dir.file("go")) << "";
  REQUIRE(answered());
  CHECK(reply->jobs(0).state() == "succeeded");
  handle({});
  ask(send(2).id, 10'000);
  REQUIRE(answered());
  CHECK(reply->settled());
  CHECK(reply->jobs().empty());
  // The next process knows it by its jobs.
  desk.reset();
  stop();
  start();
  desk.emplace(io, *ledger, *dispatcher);
  ask(cause, 10'000);
  REQUIRE(answered());
  CHECK(reply->settled());
  CHECK(reply->jobs_size() == 1);
}

}  // namespace
}  // namespace starling::agent
