// SPDX-License-Identifier: Apache-2.0
#include "handlers/policy.h"

#include <set>

#include "handlers/dispatcher.h"
#include "handlers/payload.h"
#include "handlers/spec.h"
#include "test/catch.h"
#include "test/unit/handlers/loop.h"

using namespace std::chrono_literals;
using namespace starling::handlers;  // NOLINT: nearly all of it

namespace {

Event user(const std::string& name, const std::string& id, const std::string& payload = {}) {
  Event event;
  event.name = name;
  event.id = id;
  event.payload = payload;
  return event;
}

Event joined(std::vector<std::pair<std::string, std::string>> members) {
  Event event;
  event.type = EventType::kMemberJoin;
  event.id = "member-1-1";
  for (auto& [name, role] : members) event.members.push_back({name, "10.0.0.1", {{"role", role}}});
  return event;
}

HandlerPolicy on(const std::vector<std::string>& lines) {
  HandlerPolicy policy;
  for (const std::string& line : lines) policy.on.push_back(*Subscription::parse(line));
  return policy;
}

class Bench {
 public:
  explicit Bench(DispatcherOptions options = {}) {
    options.supervisor = STARLING_TEST_SUPERVISOR;
    options.member_window = {0s, 0s};
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
      for (const PlannedJob& one : jobs) {
        if (one.refused) dropped.emplace_back(event.id, *one.refused);
        due.push_back(one.job.due_ms);
      }
      if (state.last) settled.insert(event.id);
      if (state.written) state.written(true);
    };
    dispatcher.emplace(loop, std::move(options));
  }
  ~Bench() {
    dispatcher.reset();
    run_until(loop, [] { return childless(); });
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void handle(HandlerPolicy policy, const std::string& command, HandlerLimits limits = {}) {
    auto spec = HandlerSpec::make(std::move(policy), command, limits);
    REQUIRE(spec);
    specs.push_back(*spec);
    dispatcher->set_handlers(specs);
  }
  template <typename Condition>
  bool until(Condition condition) {
    return run_until(loop, condition);
  }
  bool until_reports(size_t count) {
    return until([&] { return reports.size() >= count; });
  }

  asio::io_context loop;
  std::vector<HandlerSpec> specs;
  std::vector<JobReport> reports;
  std::vector<std::pair<std::string, DropReason>> dropped;
  std::vector<int64_t> due;
  std::set<std::string> settled;
  std::optional<Dispatcher> dispatcher;
};

}  // namespace

TEST_CASE("wildcards match as in a shell") {
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("deploy-*", "deploy-web"));
  CHECK(glob_matches("a*b*c", "a-b-b-c"));
  CHECK(glob_matches("?x", "ax"));
  CHECK_FALSE(glob_matches("?", ""));
  CHECK_FALSE(glob_matches("deploy", "deploys"));
  CHECK_FALSE(glob_matches("a*b", "a-c"));
  CHECK(glob_matches("*a", "*a"));
}

TEST_CASE("a subscription says what it wants") {
  for (const char* text : {"*", "user", "user:deploy-*", "query:up?ime", "member-join",
                           "member-failed dc=east-* role=web"}) {
    CAPTURE(text);
    const auto made = Subscription::parse(text);
    REQUIRE(made);
    CHECK(made->to_string() == text);
  }
  for (const char* text : {"", "users", "user:", "member-join:x", "user role=web",
                           "member-join web", "member-join =x", "* role=web"}) {
    CAPTURE(text);
    CHECK_FALSE(Subscription::parse(text));
  }
  CHECK(Subscription::parse("user:a*")->matches(user("abc", "1")));
  CHECK_FALSE(Subscription::parse("user:a*")->matches(user("b", "1")));
  CHECK(Subscription::parse("member-join role=w*")->matches(joined({{"a", "db"}, {"b", "web"}})));
  CHECK_FALSE(Subscription::parse("member-join role=web")->matches(joined({{"a", "db"}})));
}

TEST_CASE("splay is even and always the same") {
  std::vector<int> buckets(10);
  for (int host = 0; host < 10'000; ++host) {
    const Duration at = splay_of("user-1", "host-" + std::to_string(host), 100s);
    CHECK(at == splay_of("user-1", "host-" + std::to_string(host), 100s));
    buckets[static_cast<size_t>(at / 10s)] += 1;
  }
  for (const int count : buckets) CHECK((count > 850 && count < 1150));
  CHECK(splay_of("a", "b", 0s) == 0s);
}

TEST_CASE("backoff doubles up to its bound") {
  HandlerPolicy policy;
  policy.backoff = 2s;
  policy.longest_backoff = 9s;
  CHECK(backoff_of(policy, 2) == 2s);
  CHECK(backoff_of(policy, 3) == 4s);
  CHECK(backoff_of(policy, 4) == 8s);
  CHECK(backoff_of(policy, 5) == 9s);
  CHECK(backoff_of(policy, 1000) == 9s);
}

TEST_CASE("io priorities have names") {
  CHECK(*parse_io_priority("idle") == 3U << 13);
  CHECK(*parse_io_priority("best-effort:7") == (2U << 13 | 7));
  CHECK(*parse_io_priority("be") == (2U << 13 | 4));
  CHECK(*parse_io_priority("rt:0") == 1U << 13);
  for (const char* text : {"", "fast", "idle:1", "be:8", "be:"})
    CHECK_FALSE(parse_io_priority(text));
}

TEST_CASE("an event is one JSON object") {
  Event event = user("de\"ploy", "user-1", "v1\n");
  event.ltime = 7;
  CHECK(
      event_json(event, {"web-1", {{"role", "web"}}}, 3, 2, {}) ==
      R"({"event":"user","id":"user-1","job":3,"attempt":2,"self":{"name":"web-1","tags":{"role":"web"}},"name":"de\"ploy","ltime":7,"payload":"v1\u000a"})"
      "\n");
  event.payload = "\xff\x00x";
  event.payload = std::string("\xff\0x", 3);
  CHECK(event_json(event, {}, 1, 1, {}).find(R"("payload_base64":"/wB4")") != std::string::npos);
  CHECK(
      event_json(joined({{"a", "db"}}), {}, 1, 1, {})
          .find(
              R"("members":[{"name":"a","address":"10.0.0.1","role":"db","tags":{"role":"db"}}])") !=
      std::string::npos);
}

TEST_CASE("a handler with several subscriptions runs once for an event") {
  Bench bench;
  HandlerPolicy policy = on({"user:a*", "user:*b", "member-join"});
  policy.name = "both";
  policy.environment = {"MODE=fast"};
  policy.arguments = {"/bin/sh", "-c", "echo $MODE $STARLING_JOB $STARLING_ATTEMPT"};
  bench.handle(policy, "");
  bench.dispatcher->dispatch(user("ab", "1"), {});
  bench.dispatcher->dispatch(user("c", "2"), {});
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].job.handler == "both");
  CHECK(bench.reports[0].output == "fast 1 1\n");
  CHECK(bench.settled == std::set<std::string>{"1", "2"});
  CHECK(bench.dispatcher->statistics().waiting == 0);
}

TEST_CASE("a handler gets the members that it asks for") {
  Bench bench;
  bench.handle(on({"member-join role=web"}), "cut -f1");
  bench.handle(on({"member-join"}), "cut -f1");
  bench.dispatcher->dispatch(joined({{"a", "db"}, {"b", "web"}, {"c", "web"}}), {});
  REQUIRE(bench.until_reports(2));
  std::set<std::string> outputs = {bench.reports[0].output, bench.reports[1].output};
  CHECK(outputs == std::set<std::string>{"b\nc\n", "a\nb\nc\n"});
}

TEST_CASE("a failed job is tried again as often as its policy says") {
  Bench bench;
  const TempDir dir;
  HandlerPolicy policy = on({"user"});
  policy.retries = 2;
  policy.backoff = 20ms;
  bench.handle(policy, "echo $STARLING_ATTEMPT >> " + dir.file("runs") + "; exit 1");
  bench.dispatcher->dispatch(user("a", "1"), {});
  REQUIRE(bench.until_reports(3));
  CHECK(dir.read("runs") == "1\n2\n3\n");
  CHECK(bench.reports[0].retry_ms > 0);
  CHECK(bench.reports[1].job.attempt == 2);
  CHECK(bench.reports[2].retry_ms == 0);
  CHECK(bench.dispatcher->statistics().retried == 2);
  CHECK(bench.dispatcher->statistics().waiting == 0);
}

TEST_CASE("a retry ends with success or a kill") {
  Bench bench;
  const TempDir dir;
  HandlerPolicy policy = on({"user"});
  policy.retries = 5;
  policy.backoff = 10ms;
  bench.handle(policy, "[ $STARLING_ATTEMPT = 2 ]");
  bench.dispatcher->dispatch(user("a", "1"), {});
  REQUIRE(bench.until_reports(2));
  CHECK(bench.reports[1].ending == JobEnding::kSucceeded);
  bench.specs.clear();
  policy.backoff = 1h;
  policy.longest_backoff = 1h;
  bench.handle(policy, "exit 1");
  bench.dispatcher->dispatch(user("a", "2"), {});
  REQUIRE(bench.until_reports(3));
  CHECK(bench.dispatcher->kill_job(2));
  CHECK(bench.dropped ==
        std::vector<std::pair<std::string, DropReason>>{{"2", DropReason::kKilled}});
}

TEST_CASE("splay delays a job and tells until when") {
  DispatcherOptions options;
  options.splay_seed = "host";
  Bench bench(std::move(options));
  HandlerPolicy policy = on({"user"});
  policy.splay = 300ms;
  bench.handle(policy, "true");
  const Duration expected = splay_of("1", "host", 300ms);
  const TimePoint start = TimePoint::clock::now();
  bench.dispatcher->dispatch(user("a", "1"), {});
  REQUIRE(bench.due.size() == 1);
  CHECK(bench.due[0] > 0);
  REQUIRE(bench.until_reports(1));
  CHECK(TimePoint::clock::now() - start >= expected);
}

TEST_CASE("a full queue gives way as its policy says") {
  const TempDir dir;
  const std::string wait = "while [ ! -e " + dir.file("go") + " ]; do sleep 0.02; done";
  const auto fill = [&](WhenFull when_full) {
    Bench bench;
    HandlerPolicy policy = on({"user"});
    policy.when_full = when_full;
    bench.handle(policy, wait, {.queue = 2});
    bench.dispatcher->dispatch(user("a", "running"), {});
    REQUIRE(bench.until([&] { return bench.dispatcher->statistics().started == 1; }));
    bench.dispatcher->dispatch(user("a", "a1"), {});
    bench.dispatcher->dispatch(user("b", "b1"), {});
    bench.dispatcher->dispatch(user("b", "b2"), {});
    bench.dispatcher->dispatch(user("c", "c1"), {});
    dir.touch("go");
    bench.until([&] { return bench.dispatcher->statistics().waiting == 0; });
    std::filesystem::remove(dir.file("go"));
    std::vector<std::string> gone;
    for (const auto& [id, reason] : bench.dropped) gone.push_back(id);
    dir.touch("go");
    bench.until([&] { return bench.dispatcher->statistics().running == 0; });
    std::filesystem::remove(dir.file("go"));
    return gone;
  };
  CHECK(fill(WhenFull::kDropNewest) == std::vector<std::string>{"b2", "c1"});
  CHECK(fill(WhenFull::kDropOldest) == std::vector<std::string>{"a1", "b1"});
  CHECK(fill(WhenFull::kCollapse) == std::vector<std::string>{"b1", "c1"});
}

TEST_CASE("a handler may coalesce by itself") {
  DispatcherOptions options;
  options.user_window = {0s, 0s};
  Bench bench(std::move(options));
  HandlerPolicy policy = on({"user", "member-join role=web"});
  policy.coalesce = CoalesceWindow{.quiet = 100ms, .longest = 1s};
  bench.handle(policy, "cat; echo $SERF_USER_LTIME");
  for (uint64_t ltime = 1; ltime <= 4; ++ltime) {
    Event event = user("a", std::to_string(ltime));
    event.ltime = ltime;
    event.coalesce = true;
    bench.dispatcher->dispatch(event, {});
  }
  CHECK(bench.settled == std::set<std::string>{"1", "2", "3"});
  REQUIRE(bench.until_reports(2));
  CHECK(bench.reports[0].output == "1\n");
  CHECK(bench.reports[1].output == "4\n");
  CHECK(bench.settled.size() == 4);
  bench.dispatcher->dispatch(joined({{"x", "web"}}), {});
  bench.dispatcher->dispatch(joined({{"y", "db"}}), {});
  bench.dispatcher->dispatch(joined({{"z", "web"}}), {});
  REQUIRE(bench.until_reports(3));
  CHECK(bench.reports[2].output.starts_with("x\t"));
  CHECK(std::ranges::count(bench.reports[2].output, '\t') == 6);
}

TEST_CASE("a handler in the directory is live at once") {
  const TempDir dir;
  DispatcherOptions options;
  options.directory = dir.file("");
  options.directory.pop_back();
  Bench bench(std::move(options));
  bench.dispatcher->dispatch(user("deploy", "1"), {});
  const auto put = [&](const std::string& name) {
    std::ofstream(dir.file(name)) << "#!/bin/sh\necho " << name << " $SERF_USER_EVENT\n";
    std::filesystem::permissions(dir.file(name), std::filesystem::perms::owner_all);
  };
  put("user-deploy");
  dir.touch("user");  // not executable
  bench.dispatcher->dispatch(user("deploy", "2"), {});
  bench.dispatcher->dispatch(user("../x/user-deploy", "3"), {});
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].output == "user-deploy deploy\n");
  CHECK(bench.reports[0].job.event_id == "2");
  CHECK(bench.reports[0].job.handler == dir.file("user-deploy"));
  put("query-uptime");
  Event query = user("uptime", "4");
  query.type = EventType::kQuery;
  query.deadline = TimePoint::clock::now() + 20s;
  std::optional<QueryOutcome> outcome;
  bench.dispatcher->dispatch_query(query, {}, [&](QueryOutcome told) { outcome = told; });
  REQUIRE(bench.until([&] { return outcome.has_value(); }));
  CHECK(outcome->payload == "query-uptime\n");
  std::filesystem::remove(dir.file("user-deploy"));
  bench.dispatcher->dispatch(user("deploy", "5"), {});
  CHECK(bench.dispatcher->statistics().waiting == 0);
}

TEST_CASE("a query may be answered with its job") {
  Bench bench;
  const TempDir dir;
  HandlerPolicy policy = on({"query:build"});
  policy.answers_with_job = true;
  bench.handle(policy, "while [ ! -e " + dir.file("go") + " ]; do sleep 0.02; done; echo built");
  Event query = user("build", "1");
  query.type = EventType::kQuery;
  query.deadline = TimePoint::clock::now() + 200ms;
  std::optional<QueryOutcome> outcome;
  bench.dispatcher->dispatch_query(query, {}, [&](QueryOutcome told) { outcome = told; });
  REQUIRE(bench.until([&] { return outcome.has_value(); }));
  CHECK(outcome->kind == QueryOutcomeKind::kResponse);
  CHECK(outcome->payload == "job:1\n");
  dir.touch("go");
  REQUIRE(bench.until_reports(1));
  CHECK(bench.reports[0].output == "built\n");
}
