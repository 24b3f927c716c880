// SPDX-License-Identifier: Apache-2.0
#include "handlers/dispatcher.h"

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "test/catch.h"
#include "test/unit/handlers/loop.h"

using namespace std::chrono_literals;
using starling::handlers::childless;
using starling::handlers::Dispatcher;
using starling::handlers::DispatcherOptions;
using starling::handlers::drop_reason_name;
using starling::handlers::DropReason;
using starling::handlers::Event;
using starling::handlers::EventType;
using starling::handlers::HandlerLimits;
using starling::handlers::HandlerSpec;
using starling::handlers::Host;
using starling::handlers::is_running;
using starling::handlers::JobEnding;
using starling::handlers::JobName;
using starling::handlers::JobPermit;
using starling::handlers::JobReport;
using starling::handlers::Member;
using starling::handlers::PlannedJob;
using starling::handlers::PlanState;
using starling::handlers::QueryOutcome;
using starling::handlers::QueryOutcomeKind;
using starling::handlers::run_until;
using starling::handlers::TempDir;
using starling::handlers::TimePoint;

namespace {

Event user(const std::string& name, const std::string& payload = {}, std::string id = {}) {
  static int serial = 0;
  Event event;
  event.name = name;
  event.payload = payload;
  event.id = id.empty() ? "e" + std::to_string(++serial) : std::move(id);
  event.ltime = 1;
  return event;
}

Event query(const std::string& name, std::chrono::milliseconds time = 60s) {
  Event event = user(name);
  event.type = EventType::kQuery;
  event.source = "asker";
  event.deadline = TimePoint::clock::now() + time;
  return event;
}

Event member(EventType type, const std::string& name) {
  Event event = user("");
  event.type = type;
  event.members = {Member{name, "10.0.0.1", {{"role", "web"}}}};
  return event;
}

/// A dispatcher on a loop, with all that it told.
class Bench {
 public:
  explicit Bench(DispatcherOptions options = {}) {
    options.supervisor = STARLING_TEST_SUPERVISOR;
    options.hooks.finished = [this](const JobReport& report,
                                    const std::function<void(bool)>& done) {
      reports.push_back(report);
      done(true);
    };
    options.hooks.dropped = [this](const JobName& job, DropReason reason) {
      dropped.emplace_back(job.event_id, reason);
    };
    options.hooks.planned = [this](const Event& event, const std::vector<PlannedJob>& jobs,
                                   const PlanState& state) {
      if (state.written) state.written(true);
      planned[event.id] += jobs.size();
      for (const PlannedJob& one : jobs) {
        if (one.refused) dropped.emplace_back(event.id, *one.refused);
      }
    };
    dispatcher.emplace(loop, std::move(options));
  }

  ~Bench() {
    dispatcher.reset();
    run_until(loop, [] { return childless(); });
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void handlers(const std::vector<std::string>& lines, HandlerLimits limits = {}) {
    std::vector<HandlerSpec> specs;
    for (const std::string& line : lines) {
      auto spec = HandlerSpec::parse(line);
      REQUIRE(spec);
      spec->limits = limits;
      specs.push_back(*std::move(spec));
    }
    dispatcher->set_handlers(std::move(specs));
  }
  void send(Event event) { dispatcher->dispatch(std::move(event), host); }
  void ask(Event event) {
    dispatcher->dispatch_query(std::move(event), host, [this](QueryOutcome outcome) {
      outcomes.push_back(std::move(outcome));
    });
  }
  template <typename Condition>
  bool until(Condition condition) {
    return run_until(loop, condition);
  }
  bool until_reports(size_t count) {
    return until([&] { return reports.size() >= count; });
  }
  QueryOutcome outcome() {
    REQUIRE(until([this] { return !outcomes.empty(); }));
    QueryOutcome first = outcomes.front();
    outcomes.erase(outcomes.begin());
    return first;
  }

  asio::io_context loop;
  Host host{"web-1", {{"role", "web"}}};
  std::vector<JobReport> reports;
  std::vector<std::pair<std::string, DropReason>> dropped;
  std::map<std::string, size_t> planned;  ///< events and how many jobs they came to
  std::vector<QueryOutcome> outcomes;
  std::optional<Dispatcher> dispatcher;
};

/// Waits in a script until the test touches the file.
std::string until_file(const std::string& path) {
  return "while [ ! -e " + path + " ]; do sleep 0.02; done";
}

}  // namespace

TEST_CASE("a handler written for Serf runs unchanged") {
  Bench bench;
  bench.handlers({"*=echo $SERF_EVENT; while read line; do printf \"${line}\\n\"; done"});
  bench.send(user("deploy", "v1"));
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].output == "user\nv1\n");
  CHECK(bench.reports[0].ending == JobEnding::kSucceeded);
  bench.send(member(EventType::kMemberJoin, "db-1"));
  REQUIRE(bench.until_reports(2));
  CHECK(bench.reports[1].output.starts_with("member-join\ndb-1\t10.0.0.1\tweb\trole=web\n"));
}

TEST_CASE("only handlers that match run and each matching filter is a run") {
  Bench bench;
  bench.handlers({"user:a,user=echo one", "user:b=echo two", "user:a=echo three", "query=echo no"});
  bench.send(user("a"));
  REQUIRE(bench.until_reports(3));
  std::multimap<std::string, std::string> ran;
  for (const JobReport& report : bench.reports) ran.emplace(report.job.handler, report.output);
  CHECK(ran == std::multimap<std::string, std::string>{{"user:a=echo one", "one\n"},
                                                       {"user=echo one", "one\n"},
                                                       {"user:a=echo three", "three\n"}});
  CHECK(bench.planned.begin()->second == 3);
  CHECK(bench.dispatcher->statistics().succeeded == 3);
}

TEST_CASE("a handler listed twice runs twice under two names") {
  Bench bench;
  bench.handlers({"user,user=true", "user=true"});
  bench.send(user("a"));
  REQUIRE(bench.until_reports(3));
  std::vector<std::string> names;
  names.reserve(bench.reports.size());
  for (const JobReport& report : bench.reports) names.push_back(report.job.handler);
  std::ranges::sort(names);
  CHECK(names == std::vector<std::string>{"user=true", "user=true#2", "user=true#3"});
}

TEST_CASE("an event without handler comes to nothing at once") {
  Bench bench;
  bench.send(user("a", "", "id"));
  CHECK(bench.planned == std::map<std::string, size_t>{{"id", 0}});
}

TEST_CASE("it is known beforehand whether a handler is for an event") {
  const TempDir directory;
  DispatcherOptions options;
  options.directory = directory.file("");
  options.hooks.permits = [](const Event&, const std::string&) { return false; };
  Bench bench(std::move(options));
  bench.handlers({"user:deploy=true"});
  CHECK(bench.dispatcher->has_handler(user("deploy")));  // whether it may run is asked later
  CHECK_FALSE(bench.dispatcher->has_handler(user("restart")));
  CHECK_FALSE(bench.dispatcher->has_handler(query("deploy")));
  directory.touch("user-restart");
  CHECK_FALSE(bench.dispatcher->has_handler(user("restart")));
  std::filesystem::permissions(directory.file("user-restart"), std::filesystem::perms::owner_all);
  CHECK(bench.dispatcher->has_handler(user("restart")));
}

TEST_CASE("handlers that are not permitted do not run, and that is told once") {
  std::vector<std::string> told;
  DispatcherOptions options;
  options.hooks.permits = [](const Event& event, const std::string& handler) {
    return event.operator_name == "alice" && handler.find("first") != std::string::npos;
  };
  options.hooks.not_permitted = [&](const Event&, const std::string& handler) {
    told.push_back(handler);
  };
  Bench bench(std::move(options));
  bench.handlers({"*=echo first", "user,query=echo second"});
  Event event = user("deploy");
  event.operator_name = "alice";
  bench.send(event);
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].job.handler == "*=echo first");
  CHECK(told == std::vector<std::string>{"user=echo second"});

  bench.ask(query("uptime"));
  const QueryOutcome refused = bench.outcome();
  CHECK(refused.kind == QueryOutcomeKind::kRefused);
  CHECK(refused.last);
  CHECK(told.size() == 3);
  // What members do is nobody's order.
  bench.send(member(EventType::kMemberJoin, "web1"));
  CHECK(bench.until_reports(2));
}

TEST_CASE("one handler runs its events in order and never two at once") {
  Bench bench;
  TempDir dir;
  const std::string lock = dir.file("lock");
  bench.handlers({"user=mkdir " + lock + " || exit 9; cat >> " + dir.file("log") +
                  "; sleep 0.01; rmdir " + lock});
  std::string expected;
  for (int i = 0; i < 20; ++i) {
    bench.send(user("a", std::to_string(i)));
    expected += std::to_string(i) + "\n";
  }
  REQUIRE(bench.until_reports(20));
  CHECK(dir.read("log") == expected);
  CHECK(bench.dispatcher->statistics().succeeded == 20);
}

TEST_CASE("a stuck handler delays no other handler and no answer") {
  Bench bench;
  TempDir dir;
  bench.handlers({"user=" + until_file(dir.file("go")), "user=echo quick", "query=echo answer"});
  for (int i = 0; i < 3; ++i) bench.send(user("a"));
  bench.ask(query("q"));
  CHECK(bench.outcome().payload == "answer\n");
  REQUIRE(bench.until_reports(4));
  for (const JobReport& report : bench.reports) CHECK(report.output != "");
  CHECK(bench.dispatcher->statistics().running == 1);
  CHECK(bench.dispatcher->statistics().waiting == 2);
  CHECK(bench.dispatcher->handlers()[0].waiting == 2);
  dir.touch("go");
  CHECK(bench.until_reports(7));
}

TEST_CASE("a handler may run several at once") {
  Bench bench;
  TempDir dir;
  bench.handlers({"user=" + until_file(dir.file("go"))}, HandlerLimits{.concurrency = 3});
  for (int i = 0; i < 5; ++i) bench.send(user("a"));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().started == 3; }));
  CHECK(bench.dispatcher->statistics().waiting == 2);
  dir.touch("go");
  CHECK(bench.until_reports(5));
}

TEST_CASE("a full queue refuses the newest and says so") {
  Bench bench;
  TempDir dir;
  bench.handlers({"user=" + until_file(dir.file("go"))}, HandlerLimits{.queue = 2});
  bench.send(user("a", "", "first"));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().running == 1; }));
  for (const char* id : {"second", "third", "fourth"}) bench.send(user("a", "", id));
  CHECK(bench.dropped ==
        std::vector<std::pair<std::string, DropReason>>{{"fourth", DropReason::kQueueFull}});
  CHECK(bench.dispatcher->statistics().dropped_queue_full == 1);
  dir.touch("go");
  REQUIRE(bench.until_reports(3));
}

TEST_CASE("waiting events are bounded in bytes") {
  DispatcherOptions options;
  options.max_queued_bytes = 10'000;
  Bench bench(std::move(options));
  bench.handlers({"user=cat > /dev/null"});
  for (int i = 0; i < 5; ++i) bench.send(user("a", std::string(4000, 'x')));
  CHECK(bench.dispatcher->statistics().dropped_memory_full == 3);
  REQUIRE(bench.until_reports(2));
  bench.send(user("a", std::string(50'000, 'x')));  // alone it may be as large as it likes
  CHECK(bench.until_reports(3));
}

TEST_CASE("a failed run is told with its status and output") {
  Bench bench;
  bench.handlers({"user=echo broken >&2; exit 3"});
  bench.send(user("a"));
  REQUIRE(bench.until_reports(1));
  const JobReport& report = bench.reports[0];
  CHECK(report.ending == JobEnding::kFailed);
  CHECK(report.status == 3);
  CHECK(report.error == "exit status 3");
  CHECK(report.output == "broken\n");
  CHECK(report.job.event == "user:a");
  CHECK(bench.dispatcher->statistics().failed == 1);
}

TEST_CASE("a run over its time limit is ended and the next one begins") {
  Bench bench;
  TempDir dir;
  bench.handlers({"user=if [ \"$(cat)\" = stuck ]; then sleep 1000; fi"},
                 HandlerLimits{.timeout = 2s});
  bench.send(user("a", "stuck"));
  bench.send(user("a", "fine"));
  REQUIRE(bench.until_reports(2));
  CHECK(bench.reports[0].ending == JobEnding::kTimedOut);
  CHECK(bench.reports[0].error == "timed out after 2s");
  CHECK(bench.reports[1].ending == JobEnding::kSucceeded);
  CHECK(bench.dispatcher->statistics().timed_out == 1);
}

TEST_CASE("the host's facts are those of the latest event") {
  Bench bench;
  bench.handlers({"user=echo $SERF_SELF_NAME $SERF_TAG_ROLE $EXTRA"});
  bench.send(user("a"));
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].output == "web-1 web\n");
  bench.host.tags["role"] = "db";
  bench.send(user("a"));
  REQUIRE(bench.until_reports(2));
  CHECK(bench.reports[1].output == "web-1 db\n");
}

TEST_CASE("handlers get the environment of the options") {
  DispatcherOptions options;
  options.environment = {"STARLING_CONTROL=/run/x.sock"};
  Bench bench(std::move(options));
  bench.handlers({"user=echo $STARLING_CONTROL"});
  bench.send(user("a"));
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].output == "/run/x.sock\n");
}

TEST_CASE("member events are coalesced and user events pass them") {
  DispatcherOptions options;
  options.member_window = {1s, 10s};
  Bench bench(std::move(options));
  bench.handlers({"member-join=cat", "user=cat"});
  for (const char* name : {"a", "b", "c"}) bench.send(member(EventType::kMemberJoin, name));
  bench.send(user("u", "now"));
  REQUIRE(bench.until_reports(2));
  CHECK(bench.reports[0].output == "now\n");
  const std::string& joins = bench.reports[1].output;
  CHECK(std::ranges::count(joins, '\n') == 3);
  CHECK(joins.starts_with("a\t"));
}

TEST_CASE("coalesced user events run for the first and the newest") {
  DispatcherOptions options;
  options.user_window = {200ms, 1s};
  Bench bench(std::move(options));
  bench.handlers({"user=echo $SERF_USER_LTIME"});
  for (uint64_t ltime = 1; ltime <= 5; ++ltime) {
    Event event = user("a", "", "id" + std::to_string(ltime));
    event.coalesce = true;
    event.ltime = ltime;
    bench.send(event);
  }
  CHECK(bench.dropped ==
        std::vector<std::pair<std::string, DropReason>>{{"id2", DropReason::kSuperseded},
                                                        {"id3", DropReason::kSuperseded},
                                                        {"id4", DropReason::kSuperseded}});
  REQUIRE(bench.until_reports(2));
  CHECK(bench.reports[0].output == "1\n");
  CHECK(bench.reports[1].output == "5\n");
  CHECK(bench.dispatcher->statistics().superseded == 3);
  CHECK(bench.planned.size() == 5);
}

TEST_CASE("reload keeps what waits and changes what comes") {
  Bench bench;
  TempDir dir;
  const std::string go = until_file(dir.file("go"));
  bench.handlers({"user=" + go + "; echo old"});
  bench.send(user("a", "", "running"));
  bench.send(user("a", "", "waiting"));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().running == 1; }));
  bench.handlers({"user=echo new"});
  bench.send(user("a", "", "after"));
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].job.event_id == "after");
  CHECK(bench.reports[0].output == "new\n");
  dir.touch("go");
  REQUIRE(bench.until_reports(3));
  CHECK(bench.reports[1].output == "old\n");
  CHECK(bench.reports[2].job.event_id == "waiting");
  CHECK(bench.reports[2].output == "old\n");
}

TEST_CASE("reload of the same handler keeps its order and takes its limits") {
  Bench bench;
  TempDir dir;
  const std::vector<std::string> lines = {"user=" + until_file(dir.file("go"))};
  bench.handlers(lines);
  bench.send(user("a"));
  bench.send(user("a"));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().running == 1; }));
  bench.handlers(lines);
  bench.send(user("a"));
  CHECK(bench.dispatcher->handlers()[0].waiting == 2);
  bench.handlers(lines, HandlerLimits{.concurrency = 3});
  CHECK(bench.until([&] { return bench.dispatcher->statistics().started == 3; }));
  dir.touch("go");
  CHECK(bench.until_reports(3));
}

TEST_CASE("the starting hook decides later and may skip") {
  using Proceed = std::function<void(JobPermit)>;
  const auto permit = [](bool run) {
    JobPermit made;
    made.run = run;
    return made;
  };
  std::vector<std::pair<JobName, Proceed>> asked;
  DispatcherOptions options;
  options.hooks.starting = [&](const JobName& job, const Event& event, Proceed proceed) {
    CHECK(event.id == job.event_id);
    asked.emplace_back(job, std::move(proceed));
  };
  Bench bench(std::move(options));
  bench.handlers({"user=echo one", "user=echo two"});
  bench.send(user("a", "", "id"));
  REQUIRE(bench.until([&] { return asked.size() == 2; }));
  CHECK(asked[0].first.event_id == "id");
  CHECK(asked[0].first.handler == "user=echo one");
  CHECK(asked[0].first.number != asked[1].first.number);
  CHECK(bench.dispatcher->statistics().started == 0);
  asked[0].second(permit(false));
  asked[1].second(permit(true));
  asked[1].second(permit(true));  // once is enough
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].output == "two\n");
  CHECK(bench.dispatcher->statistics().skipped == 1);
  CHECK(bench.dispatcher->statistics().started == 1);
}

TEST_CASE("short runs are asked for ahead of their turn and long ones are not") {
  using Proceed = std::function<void(JobPermit)>;
  std::vector<Proceed> asked;
  DispatcherOptions options;
  options.hooks.starting = [&](const JobName&, const Event&, Proceed proceed) {
    asked.push_back(std::move(proceed));
  };
  Bench bench(std::move(options));
  bench.handlers({"user=true"});
  for (int i = 0; i < 50; ++i) bench.send(user("a"));
  REQUIRE(bench.until([&] { return asked.size() == 1; }));
  bool ahead = false;
  for (size_t next = 0; next < 50; ++next) {
    REQUIRE(bench.until([&] { return asked.size() > next; }));
    JobPermit permit;
    permit.run = true;
    asked[next](std::move(permit));
    REQUIRE(bench.until_reports(next + 1));
    ahead = ahead || asked.size() > next + 1;
  }
  // On a host so busy that runs are not short there is nothing to be seen.
  const auto short_runs = std::ranges::count_if(
      bench.reports, [](const JobReport& report) { return report.duration < 10ms; });
  CHECK((ahead || short_runs < 40));
}

TEST_CASE("leave to start is asked for with the plan when a place is free") {
  std::vector<std::string> asked;
  std::vector<std::function<void(JobPermit)>> continuations;
  DispatcherOptions options;
  options.hooks.starting = [&](const JobName& job, const Event&,
                               std::function<void(JobPermit)> proceed) {
    asked.push_back(job.event_id);
    continuations.push_back(std::move(proceed));
  };
  Bench bench(std::move(options));
  bench.handlers({"user=true"});
  bench.send(user("a", "", "first"));
  CHECK(asked == std::vector<std::string>{"first"});  // before any turn of the loop
  bench.send(user("a", "", "second"));
  CHECK(asked.size() == 1);  // its turn comes later
  CHECK(bench.dispatcher->statistics().started == 0);
  for (size_t i = 0; i < 2; ++i) {
    REQUIRE(bench.until([&] { return continuations.size() > i; }));
    JobPermit permit;
    permit.run = true;
    continuations[i](std::move(permit));
    REQUIRE(bench.until_reports(i + 1));
  }
  CHECK(asked == std::vector<std::string>{"first", "second"});
}

TEST_CASE("a continuation that outlives the dispatcher does nothing") {
  std::function<void(JobPermit)> kept;
  DispatcherOptions options;
  options.hooks.starting = [&](const JobName&, const Event&,
                               std::function<void(JobPermit)> proceed) {
    kept = std::move(proceed);
  };
  Bench bench(std::move(options));
  bench.handlers({"user=true"});
  bench.send(user("a"));
  REQUIRE(bench.until([&] { return kept != nullptr; }));
  bench.dispatcher.reset();
  JobPermit permit;
  permit.run = true;
  kept(std::move(permit));
  bench.loop.restart();
  bench.loop.run();
  CHECK(childless());
}

TEST_CASE("a job is killed while it runs or waits") {
  Bench bench;
  bench.handlers({"user=sleep 1000"});
  bench.send(user("a", "", "running"));
  bench.send(user("a", "", "waiting"));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().started == 1; }));
  CHECK_FALSE(bench.dispatcher->kill_job(77));
  CHECK(bench.dispatcher->kill_job(2));
  CHECK(bench.dropped ==
        std::vector<std::pair<std::string, DropReason>>{{"waiting", DropReason::kKilled}});
  CHECK(bench.dispatcher->kill_job(1));
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].ending == JobEnding::kTerminated);
  CHECK_FALSE(bench.dispatcher->kill_job(1));
}

TEST_CASE("a query without handler or without output has no answer") {
  Bench bench;
  bench.ask(query("q"));
  CHECK(bench.outcomes.empty());  // never from within
  CHECK(bench.outcome().kind == QueryOutcomeKind::kNoHandler);
  bench.handlers({"query=true"});
  bench.ask(query("q"));
  CHECK(bench.outcome().kind == QueryOutcomeKind::kNoAnswer);
}

TEST_CASE("a query's answer is what the handler prints to output and error") {
  Bench bench;
  bench.handlers({"query:q=echo out; echo err >&2; echo $STARLING_QUERY_SOURCE; cat"});
  Event event = query("q");
  event.payload = "asked";
  bench.ask(event);
  const QueryOutcome outcome = bench.outcome();
  CHECK(outcome.kind == QueryOutcomeKind::kResponse);
  CHECK(outcome.payload == "out\nerr\nasker\nasked\n");
}

TEST_CASE("each handler with output answers for itself as soon as it can") {
  Bench bench;
  TempDir dir;
  bench.handlers({"query=true", "query=exit 1",
                  "query=" + until_file(dir.file("go")) + "; echo slow", "query:q=echo quick"});
  bench.ask(query("q"));
  REQUIRE(bench.until([&] { return bench.outcomes.size() == 2; }));
  dir.touch("go");
  REQUIRE(bench.until_reports(4));
  REQUIRE(bench.outcomes.size() == 3);
  std::ranges::sort(bench.outcomes, {}, &QueryOutcome::position);
  CHECK(bench.outcomes[0].kind == QueryOutcomeKind::kFailed);
  CHECK(bench.outcomes[0].responder == "query=exit 1");
  CHECK(bench.outcomes[0].exit_status == 1);
  CHECK(bench.outcomes[1].payload == "slow\n");
  CHECK(bench.outcomes[1].last);
  CHECK(bench.outcomes[2].payload == "quick\n");
  CHECK(bench.outcomes[2].responder == "query:q=echo quick");
  CHECK_FALSE(bench.outcomes[2].last);
}

TEST_CASE("a query that is not wanted any more starts nothing more") {
  Bench bench;
  TempDir dir;
  bench.handlers(
      {"query=echo >> " + dir.file("runs") + "; " + until_file(dir.file("go")) + "; echo done"});
  Event running = query("q");
  running.id = "running";
  Event waiting = query("q");
  waiting.id = "waiting";
  bench.ask(running);
  bench.ask(waiting);
  REQUIRE(bench.until([&] { return dir.has("runs"); }));
  bench.dispatcher->cancel_query("waiting");
  bench.dispatcher->cancel_query("running");
  bench.dispatcher->cancel_query("nothing");
  CHECK(bench.dispatcher->statistics().waiting == 0);
  CHECK(bench.dispatcher->statistics().dropped_not_wanted == 1);
  dir.touch("go");
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].ending == JobEnding::kSucceeded);
  CHECK(bench.outcomes.empty());
  bench.ask(query("q"));  // the handler is free
  CHECK(bench.outcome().kind == QueryOutcomeKind::kResponse);
}

TEST_CASE("a failed query handler's error reaches the asker") {
  Bench bench;
  bench.handlers({"query:a=echo no disk >&2; exit 3", "query:b=kill -9 $$"});
  bench.ask(query("a"));
  const QueryOutcome failed = bench.outcome();
  CHECK(failed.kind == QueryOutcomeKind::kFailed);
  CHECK(failed.error == "exit status 3");
  CHECK(failed.payload == "no disk");
  CHECK(failed.exit_status == 3);
  CHECK(failed.responder.empty());
  bench.ask(query("b"));
  CHECK(bench.outcome().error == "killed by signal 9");
}

TEST_CASE("an answer of 1 MiB is taken and one byte more is too large") {
  Bench bench;
  bench.handlers({"query=read n; head -c $n /dev/zero"});
  Event event = query("q");
  event.payload = "1048576";
  bench.ask(event);
  CHECK(bench.outcome().payload.size() == 1'048'576);
  event.payload = "1048577";
  bench.ask(event);
  const QueryOutcome outcome = bench.outcome();
  CHECK(outcome.kind == QueryOutcomeKind::kTooLarge);
  CHECK(outcome.error == "the answer has 1048577 bytes; the limit is 1048576");
}

TEST_CASE("a query that waits past its deadline is not run") {
  Bench bench;
  TempDir dir;
  bench.handlers(
      {"*=if [ $SERF_EVENT = user ]; then " + until_file(dir.file("go")) + "; else echo ran; fi"});
  bench.send(user("a"));
  bench.ask(query("q", 200ms));
  const QueryOutcome outcome = bench.outcome();
  CHECK(outcome.kind == QueryOutcomeKind::kBusy);
  CHECK(outcome.error == "the handler was busy until the query's deadline");
  CHECK(bench.dispatcher->statistics().dropped_deadline_past == 1);
  CHECK(bench.dispatcher->statistics().waiting == 0);
  dir.touch("go");
  REQUIRE(bench.until_reports(1));
  bench.ask(query("q", -1s));  // over before it came
  CHECK(bench.outcome().kind == QueryOutcomeKind::kBusy);
  bench.send(user("b"));
  REQUIRE(bench.until_reports(2));
  for (const JobReport& report : bench.reports) CHECK(report.job.event.starts_with("user:"));
}

TEST_CASE("a query whose handler runs past the deadline fails in time beside the other answers") {
  Bench bench;
  TempDir dir;
  const std::string wait = until_file(dir.file("go"));
  bench.handlers({"query:a,query:b=" + wait, "query:b=echo second"}, {.concurrency = 2});
  bench.ask(query("a", 300ms));
  const QueryOutcome outcome = bench.outcome();
  CHECK(outcome.kind == QueryOutcomeKind::kFailed);
  CHECK(outcome.error == "still running at the query's deadline");
  bench.ask(query("b", 2s));
  CHECK(bench.outcome().payload == "second\n");
  CHECK(bench.outcome().error == "still running at the query's deadline");
  dir.touch("go");
  REQUIRE(bench.until_reports(3));  // the late ones run to their end
  CHECK(bench.outcomes.empty());
}

TEST_CASE("a refused query is told that the host is busy") {
  Bench bench;
  TempDir dir;
  bench.handlers({"query=" + until_file(dir.file("go"))}, HandlerLimits{.queue = 1});
  bench.ask(query("q"));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().running == 1; }));
  bench.ask(query("q"));
  bench.ask(query("q"));
  const QueryOutcome outcome = bench.outcome();
  CHECK(outcome.kind == QueryOutcomeKind::kBusy);
  CHECK(outcome.error == drop_reason_name(DropReason::kQueueFull));
  dir.touch("go");
  REQUIRE(bench.until_reports(2));
}

TEST_CASE("shutdown ends what it is told to and forgets what waits") {
  DispatcherOptions options;
  options.end_jobs_on_stop = true;
  Bench bench(std::move(options));
  TempDir dir;
  bench.handlers({"user=echo $$ > " + dir.file("pid") + "; sleep 1000", "query=sleep 1000"});
  bench.send(user("a", "", "running"));
  bench.send(user("a", "", "waiting"));
  bench.ask(query("q"));
  REQUIRE(bench.until([&] { return dir.read("pid").ends_with("\n"); }));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().running == 2; }));
  bool stopped = false;
  bench.dispatcher->shutdown(10s, [&] { stopped = true; });
  bench.send(user("a", "", "late"));
  REQUIRE(bench.until([&] { return stopped; }));
  CHECK_FALSE(is_running(static_cast<pid_t>(std::stol(dir.read("pid")))));
  CHECK(bench.reports.size() == 2);
  for (const JobReport& report : bench.reports) CHECK(report.ending == JobEnding::kTerminated);
  CHECK(bench.outcome().kind == QueryOutcomeKind::kBusy);
  CHECK_FALSE(bench.planned.contains("late"));
  CHECK(bench.dispatcher->statistics().dropped_stopping == 2);
  bench.ask(query("q"));
  CHECK(bench.outcome().error == "the agent stops");
}

TEST_CASE("shutdown leaves jobs for events running") {
  Bench bench;
  TempDir dir;
  bench.handlers({"user=echo $$ > " + dir.file("pid") + "; " + until_file(dir.file("go")) +
                  "; touch " + dir.file("done")});
  bench.send(user("a"));
  REQUIRE(bench.until([&] { return dir.read("pid").ends_with("\n"); }));
  bool stopped = false;
  bench.dispatcher->shutdown(10s, [&] { stopped = true; });
  REQUIRE(bench.until([&] { return stopped; }));
  bench.dispatcher.reset();
  CHECK(bench.until([] { return childless(); }));
  CHECK(is_running(static_cast<pid_t>(std::stol(dir.read("pid")))));
  dir.touch("go");
  CHECK(bench.until([&] { return dir.has("done"); }));
}

TEST_CASE("shutdown kills what ignores SIGTERM") {
  DispatcherOptions options;
  options.end_jobs_on_stop = true;
  options.kill_grace = 60s;
  Bench bench(std::move(options));
  TempDir dir;
  bench.handlers({"user=trap '' TERM; touch " + dir.file("ready") + "; while :; do sleep 1; done"});
  bench.send(user("a"));
  REQUIRE(bench.until([&] { return dir.has("ready"); }));
  bool stopped = false;
  bench.dispatcher->shutdown(100ms, [&] {
    stopped = true;
    bench.dispatcher.reset();
  });
  CHECK(bench.until([&] { return stopped; }));
  CHECK(bench.until([] { return childless(); }));
}

TEST_CASE("shutdown with nothing to do calls back later") {
  Bench bench;
  bool stopped = false;
  bench.dispatcher->shutdown(1s, [&] { stopped = true; });
  CHECK_FALSE(stopped);
  CHECK(bench.until([&] { return stopped; }));
}

TEST_CASE("a host at its limit of processes still answers queries") {
  DispatcherOptions options;
  options.max_running = 8;
  Bench bench(std::move(options));
  TempDir dir;
  bench.handlers({"user=" + until_file(dir.file("go")), "query=echo answer"},
                 HandlerLimits{.concurrency = 100});
  for (int i = 0; i < 20; ++i) bench.send(user("a"));
  REQUIRE(bench.until([&] { return bench.dispatcher->statistics().running == 6; }));
  bench.ask(query("q"));
  CHECK(bench.outcome().payload == "answer\n");
  dir.touch("go");
  CHECK(bench.until_reports(21));
}
