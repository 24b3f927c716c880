// SPDX-License-Identifier: Apache-2.0
#include "agent/control/service.h"

#include <algorithm>

#include "agent/job_desk.h"
#include "test/unit/agent/host.h"

namespace starling::agent {
namespace {

/// A door with one client.
class FakeSession : public Session {
 public:
  bool send(const control::Reply& reply) override {
    if (full) return false;
    replies.push_back(reply);
    return true;
  }

  bool offer(const control::Reply& reply) override { return send(reply); }
  void when_room(std::function<void()> room) override { rooms.push_back(std::move(room)); }
  [[nodiscard]] bool is_owner() const override { return owner; }

  std::vector<control::Reply> replies;
  std::vector<std::function<void()>> rooms;
  bool full = false;
  bool owner = true;
};

struct Fixture {
  Fixture() {
    host.run();
    service = std::make_unique<Service>(Service::Parts{
        .cluster = *host.cluster,
        .log = *host.log,
        .store = *host.store,
        .tags = tags,
        .dispatcher = dispatcher,
        .desk = desk,
        .gate = *gate,
        .admission = admission,
        .config = config,
        .leave = [this](std::function<void()> told) { leave_told = std::move(told); },
        .reload = [this]() -> Result<void> {
          if (reload_error.empty()) return {};
          return fail(ErrorKind::kInvalid, reload_error);
        }});
    tags.set_publish([this](const TagKeeper::Map& now) { return host.cluster->set_tags(now); });
  }

  /// The last reply to a request, when it has come.
  control::Reply ask(control::Request request) {
    request.set_id(++requests);
    service->handle(session, request);
    turn_until(io, [&] {
      return !session->replies.empty() && session->replies.back().id() == requests &&
             session->replies.back().done();
    });
    return session->replies.back();
  }

  asio::io_context io;
  Host host{io, "a"};
  TagKeeper tags{*host.store, {}, {}, {}};
  handlers::Dispatcher dispatcher{io, {}};
  const Scratch scratch;
  std::unique_ptr<JobLedger> ledger = *JobLedger::open(
      io, *host.store, *host.log, JobLedgerOptions{.directory = scratch.path() + "/jobs"});
  JobDesk desk{io, *ledger, dispatcher};
  std::unique_ptr<Gate> gate =
      *Gate::open(*host.log, {.operators = Operators({}, {}), .used = UsedOrders()});
  AdmissionDesk admission{
      {.io = io, .cluster = *host.cluster, .store = *host.store, .log = *host.log, .gate = *gate},
      false,
      {}};
  Config config;
  std::function<void()> leave_told;
  std::string reload_error;
  std::unique_ptr<Service> service;
  std::shared_ptr<FakeSession> session = std::make_shared<FakeSession>();
  uint64_t requests = 0;
};

std::string value_of(const control::InfoReply& info, const std::string& section,
                     const std::string& key) {
  for (const auto& one : info.sections()) {
    if (one.name() != section) continue;
    for (const auto& pair : one.values()) {
      if (pair.key() == key) return pair.value();
    }
  }
  return "(none)";
}

TEST_CASE_METHOD(Fixture, "a request without a body is refused") {
  CHECK(ask({}).error().find("does not know this request") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "members are listed and filtered") {
  control::Request request;
  request.mutable_members();
  auto answer = ask(request);
  REQUIRE(answer.members().members_size() == 1);
  const control::Member& self = answer.members().members(0);
  CHECK(self.name() == "a");
  CHECK(self.self());
  CHECK(self.status() == "alive");
  CHECK(self.address().size() == 4);
  CHECK(self.port() == host.address().port());
  CHECK(self.round_trip_us() == -1);

  const auto found = [&](const char* name, const char* status) {
    request.mutable_members()->set_name(name);
    request.mutable_members()->set_status(status);
    return ask(request).members().members_size();
  };
  CHECK(found("a|b", "") == 1);
  CHECK(found("", "alive|left") == 1);
  CHECK(found("", "aliv") == 0);  // anchored
  CHECK(found("b", "") == 0);
  CHECK_FALSE(self.degraded());
  request.mutable_members()->set_name("a");
  request.mutable_members()->clear_status();
  CHECK(ask(request).members().members_size() == 1);
  request.mutable_members()->set_degraded(true);
  CHECK(ask(request).members().members_size() == 0);
  request.mutable_members()->set_name("(");
  answer = ask(request);
  CHECK(answer.error().starts_with("filter of name: "));
  CHECK_FALSE(answer.has_members());
}

TEST_CASE_METHOD(Fixture, "tags are changed and members found by them") {
  control::Request request;
  auto* set = request.mutable_tags()->add_set();
  set->set_key("role");
  set->set_value("db");
  CHECK(ask(request).error().empty());
  control::Request members;
  auto* tag = members.mutable_members()->add_tags();
  tag->set_key("role");
  tag->set_value("d.");
  turn_until(io, [&] { return ask(members).members().members_size() == 1; });
  tag->set_value("d");
  CHECK(ask(members).members().members_size() == 0);

  control::Request remove;
  remove.mutable_tags()->add_remove("role");
  CHECK(ask(remove).error().empty());
  CHECK(tags.effective().empty());
  set->set_value(std::string(600, 'x'));
  CHECK_FALSE(ask(request).error().empty());
  set->set_key("");
  CHECK(ask(request).error().find("needs a name") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "an event is answered when it is kept") {
  control::Request request;
  request.mutable_event()->set_name("deploy");
  request.mutable_event()->set_payload("v2");
  const auto answer = ask(request);
  CHECK(answer.error().empty());
  CHECK(answer.event().id().ends_with(".1"));
  CHECK(answer.event().ltime() > 0);
  request.mutable_event()->set_payload(std::string(1U << 20, 'x'));
  CHECK(ask(request).error().find("limit") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "a query streams its start and its answers and its end") {
  control::Request request;
  request.mutable_query()->set_name("who");
  request.mutable_query()->set_request_ack(true);
  const auto end = ask(request);
  REQUIRE(end.has_query_done());
  CHECK(end.query_done().silent_size() == 0);
  CHECK_FALSE(end.query_done().timed_out());
  REQUIRE(session->replies.size() == 4);
  CHECK(session->replies[0].query_started().addressed() == 1);
  CHECK(session->replies[0].query_started().timeout_ms() > 0);
  CHECK(session->replies[1].query_answer().kind() == control::QueryAnswer::ACK);
  CHECK(session->replies[2].query_answer().payload() == "I am a");
  for (const auto& reply : session->replies) CHECK(reply.id() == end.id());
}

TEST_CASE_METHOD(Fixture, "queries that make no sense are refused") {
  const auto error_of = [&](auto change) {
    control::Request request;
    request.mutable_query()->set_name("who");
    change(*request.mutable_query());
    return ask(request).error();
  };
  CHECK(error_of([](auto& query) { query.set_name("_serf_conflict"); }) ==
        "Queries cannot contain the '_serf_' prefix");
  CHECK(error_of([](auto& query) {
          query.set_name("_serf_ping");
          query.set_payload("x");
        }) == "Queries cannot contain the '_serf_' prefix");
  CHECK(error_of([](auto& query) { query.set_relay_factor(256); }) ==
        "Relay factor must be between 0 and 255");
  CHECK_FALSE(error_of([](auto& query) { query.set_timeout_ms(UINT64_MAX); }).empty());
  CHECK_FALSE(error_of([](auto& query) { query.set_name(""); }).empty());
  CHECK(error_of([](auto& query) {
          auto* tag = query.add_tags();
          tag->set_key("role");
          tag->set_value("(");
        }).find("role") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "a query ends with its client") {
  host.answer_queries = false;
  control::Request request;
  request.set_id(1);
  request.mutable_query()->set_name("who");
  service->handle(session, request);
  const size_t before = session->replies.size();
  service->session_closed(session);
  control::Request other;
  other.mutable_members();
  const auto second = std::make_shared<FakeSession>();
  other.set_id(7);
  service->handle(second, other);
  turn_until(io, [&] { return !second->replies.empty(); });
  CHECK(session->replies.size() == before);
  // Its place is free again, under the same id.
  service->handle(session, request);
  CHECK(session->replies.back().has_query_started());
  CHECK(session->replies.back().error().empty());
  service->handle(session, request);
  CHECK_FALSE(session->replies.back().error().empty());
}

TEST_CASE_METHOD(Fixture, "a confirmed event ends when every live member has it") {
  control::Request request;
  request.mutable_event()->set_name("deploy");
  request.mutable_event()->set_payload("v2");
  request.mutable_event()->set_confirm(true);
  const auto end = ask(request);
  REQUIRE(end.has_event_confirm_done());
  CHECK(end.event_confirm_done().confirmed() == 1);
  CHECK(end.event_confirm_done().missing_size() == 0);
  CHECK_FALSE(end.event_confirm_done().timed_out());
  REQUIRE(session->replies.size() == 3);
  CHECK_FALSE(session->replies[0].event().id().empty());
  CHECK_FALSE(session->replies[0].done());
  CHECK(session->replies[1].event_confirmed().member() == "a");
}

TEST_CASE_METHOD(Fixture, "events are listed with their origin and size, and chosen by name") {
  for (const char* name : {"one", "two", "other"}) {
    control::Request request;
    request.mutable_event()->set_name(name);
    request.mutable_event()->set_payload("12345");
    CHECK(ask(request).error().empty());
  }
  control::Request request;
  request.mutable_events();
  const auto all = ask(request).events();
  REQUIRE(all.events_size() == 3);
  CHECK(all.held() == 3);
  CHECK(all.live() == 1);
  CHECK(all.events(0).name() == "other");
  CHECK(all.events(0).origin() == "a");
  CHECK(all.events(0).size() == 5);
  CHECK(all.events(0).timing() == "live");
  request.mutable_events()->set_name("o.*e");
  REQUIRE(ask(request).events().events_size() == 1);
  request.mutable_events()->set_name("");
  request.mutable_events()->set_limit(2);
  CHECK(ask(request).events().events_size() == 2);
  request.mutable_events()->set_name("(");
  CHECK_FALSE(ask(request).error().empty());
}

TEST_CASE_METHOD(Fixture,
                 "answers wait for a client that reads slowly and the end waits for them") {
  control::Request request;
  request.set_id(1);
  request.mutable_query()->set_name("who");
  request.mutable_query()->set_request_ack(true);
  service->handle(session, request);
  session->full = true;
  turn_until(io, [&] { return service->held_answers() == 2; });
  REQUIRE(session->rooms.size() == 1);
  REQUIRE(session->replies.size() == 1);
  session->full = false;
  std::exchange(session->rooms, {}).front()();
  turn_until(io, [&] { return session->replies.back().has_query_done(); });
  REQUIRE(session->replies.size() == 4);
  CHECK(session->replies[1].query_answer().kind() == control::QueryAnswer::ACK);
  CHECK(session->replies[2].query_answer().payload() == "I am a");
  CHECK(session->replies[2].query_answer().last());
  CHECK(session->replies[3].query_done().lost_size() == 0);
  CHECK(service->counters().lost_answers == 0);
}

TEST_CASE_METHOD(Fixture, "a query's audience and limit are checked and reach the members") {
  control::Request request;
  control::QueryRequest& query = *request.mutable_query();
  query.set_name("who");
  query.set_status("failed");
  CHECK(ask(request).error() ==
        "status 'failed': a query reaches only members that run: alive (all of these), healthy or "
        "degraded");
  query.set_status("degraded");
  session->replies.clear();
  ask(request);
  CHECK(session->replies.front().query_started().addressed() == 0);
  query.set_status("healthy");
  query.set_limit(1);
  query.add_nodes("?");
  query.add_nodes("b");
  session->replies.clear();
  const auto end = ask(request);
  CHECK(session->replies.front().query_started().addressed() == 1);
  REQUIRE(end.query_done().silent_size() == 1);
  CHECK(end.query_done().silent(0).name() == "b");
  CHECK(end.query_done().silent(0).why() == "unknown");
}

TEST_CASE_METHOD(Fixture, "reachability compares those alive with those that answered") {
  control::Request request;
  request.mutable_reachability();
  const auto answer = ask(request);
  REQUIRE(answer.has_reachability());
  CHECK(answer.reachability().done());
  REQUIRE(answer.reachability().alive_size() == 1);
  REQUIRE(answer.reachability().answered_size() == 1);
  CHECK(answer.reachability().alive(0) == "a");
  CHECK(answer.reachability().answered(0) == "a");
}

TEST_CASE_METHOD(Fixture, "info has the sections of Serf") {
  control::Request request;
  request.mutable_info();
  const control::InfoReply info = ask(request).info();
  CHECK(value_of(info, "agent", "name") == "a");
  CHECK(value_of(info, "runtime", "os") == "linux");
  CHECK(value_of(info, "runtime", "version") == STARLING_VERSION);
  CHECK(value_of(info, "serf", "members") == "1");
  CHECK(value_of(info, "serf", "failed") == "0");
  CHECK(value_of(info, "serf", "degraded") == "0");
  CHECK(value_of(info, "agent", "degraded") == "false");
  CHECK(value_of(info, "serf", "encrypted") == "false");
  CHECK(value_of(info, "serf", "health_score") == "0");
}

TEST_CASE_METHOD(Fixture, "what is refused for its rate or size is counted among the drops") {
  membership::Options rates = host.cluster->node().options();
  rates.event_rate = rates.event_burst = rates.query_rate = rates.query_burst = 1;
  host.cluster->set_rates(rates);
  control::Request event;
  event.mutable_event()->set_name("deploy");
  CHECK(ask(event).error().empty());
  CHECK(ask(event).error().find("at most 1 user events a second") != std::string::npos);
  event.mutable_event()->set_payload(std::string(2U << 20, 'x'));
  CHECK_FALSE(ask(event).error().empty());
  control::Request query;
  query.mutable_query()->set_name("who");
  CHECK(ask(query).error().empty());
  CHECK(ask(query).error().find("query_rate") != std::string::npos);
  query.mutable_query()->set_payload(std::string(2000, 'x'));
  CHECK(ask(query).error().find("query_size_limit") != std::string::npos);
  control::Request request;
  request.mutable_info();
  const control::InfoReply info = ask(request).info();
  for (const char* key : {"events_rate", "events_size", "queries_rate", "queries_size"}) {
    INFO(key);
    CHECK(value_of(info, "drops", std::string("core.") + key) == "1");
  }
}

TEST_CASE_METHOD(Fixture, "a join that reaches nobody is an error with the reasons") {
  control::Request request;
  CHECK(ask([&] {
          request.mutable_join();
          return request;
        }())
            .error() == "no address to join");
  request.mutable_join()->add_addresses("127.0.0.1:1");
  const auto answer = ask(request);
  CHECK_FALSE(answer.error().empty());
  CHECK(answer.join().contacted() == 0);
  REQUIRE(answer.join().failures_size() == 1);
  CHECK(answer.join().failures(0).key() == "127.0.0.1:1");
}

TEST_CASE_METHOD(Fixture, "the small commands are passed on") {
  control::Request force;
  force.mutable_force_leave()->set_node("nobody");
  CHECK(ask(force).error().empty());  // as in Serf

  control::Request reload;
  reload.mutable_reload();
  CHECK(ask(reload).error().empty());
  reload_error = "agent.yaml:1:1: broken";
  CHECK(ask(reload).error() == reload_error);

  control::Request leave;
  leave.set_id(99);
  leave.mutable_leave();
  service->handle(session, leave);
  CHECK(session->replies.back().id() != 99);  // not before the others have been told
  leave_told();
  CHECK(session->replies.back().id() == 99);
  CHECK(session->replies.back().done());
}

// --- monitor -----------------------------------------------------------------------------------

control::Request monitor(const char* level, const char* filter) {
  control::Request request;
  request.set_id(5);
  request.mutable_monitor()->set_log_level(level);
  request.mutable_monitor()->set_event_filter(filter);
  return request;
}

membership::UserEventArrived user_event(const char* name) {
  return {message_id(1, 1), 9, name, "payload", false, membership::EventTiming::kLive, ""};
}

TEST_CASE_METHOD(Fixture, "a monitor sees the events that it asked for") {
  service->handle(session, monitor("", "user:deploy,member-join"));
  REQUIRE(session->replies.size() == 1);
  CHECK(session->replies[0].has_monitor_started());
  session->replies.clear();
  service->saw(user_event("other"));
  CHECK(session->replies.empty());
  service->saw(user_event("deploy"));
  REQUIRE(session->replies.size() == 1);
  const control::Reply& reply = session->replies[0];
  CHECK(reply.id() == 5);
  CHECK_FALSE(reply.done());
  CHECK(reply.monitor().event() == "user");
  CHECK(reply.monitor().name() == "deploy");
  CHECK(reply.monitor().payload() == "payload");
  CHECK(reply.monitor().ltime() == 9);
  service->saw(
      membership::MemberEvent{membership::MemberChange::kJoin, host.cluster->node().self()});
  service->saw(
      membership::MemberEvent{membership::MemberChange::kLeave, host.cluster->node().self()});
  REQUIRE(session->replies.size() == 2);
  CHECK(session->replies[1].monitor().event() == "member-join");
  CHECK(session->replies[1].monitor().members(0).name() == "a");
  service->session_closed(session);
  service->saw(user_event("deploy"));
  CHECK(session->replies.size() == 2);
}

TEST_CASE_METHOD(Fixture, "a monitor sees log lines of its level") {
  service->handle(session, monitor("WARN", ""));
  const size_t before = session->replies.size();
  host.log->info("test", "unheard");
  host.log->warn("test", "heard");
  REQUIRE(session->replies.size() == before + 1);
  CHECK(session->replies.back().monitor().log().ends_with("[WARN] test: heard"));
  service->saw(user_event("deploy"));
  CHECK(session->replies.size() == before + 1);
  service->session_closed(session);
  host.log->warn("test", "after");
  CHECK(session->replies.size() == before + 1);
}

TEST_CASE_METHOD(Fixture, "a monitor is stopped without ending its session") {
  service->handle(session, monitor("", "*"));
  control::Request stop;
  stop.set_id(6);
  stop.mutable_stop()->set_monitor(5);
  service->handle(session, stop);
  REQUIRE(session->replies.size() == 3);
  CHECK(session->replies[1].id() == 5);
  CHECK(session->replies[1].done());
  CHECK(session->replies[2].id() == 6);
  service->saw(user_event("x"));
  service->handle(session, stop);
  REQUIRE(session->replies.size() == 4);
  CHECK(session->replies[3].error().empty());
}

TEST_CASE_METHOD(Fixture, "operators are trusted, listed and revoked by the agent's owner only") {
  const NamedKey alice{SigningKey::generate().public_key(), "alice"};
  control::Request request;
  request.mutable_operators()->set_action(control::OperatorsRequest::TRUST);
  request.mutable_operators()->set_who(alice.line());
  session->owner = false;
  CHECK(ask(request).error().find("only root and the user") != std::string::npos);
  session->owner = true;
  const control::Reply trusted = ask(request);
  REQUIRE(trusted.operators().operators_size() == 1);
  CHECK(trusted.operators().operators(0).id() == alice.key.id());
  CHECK(trusted.operators().operators(0).source() == "trust");
  CHECK_FALSE(trusted.operators().operators(0).revoked());
  request.mutable_operators()->set_who("nonsense");
  CHECK_FALSE(ask(request).error().empty());
  request.mutable_operators()->set_action(control::OperatorsRequest::REVOKE);
  request.mutable_operators()->set_who("bob");
  CHECK(ask(request).error().find("trusts no operator") != std::string::npos);
  request.mutable_operators()->set_who("alice");
  CHECK(ask(request).operators().operators(0).revoked());
  session->owner = false;  // looking is free
  request.mutable_operators()->set_action(control::OperatorsRequest::LIST);
  CHECK(ask(request).operators().operators_size() == 1);
}

TEST_CASE_METHOD(Fixture, "orders that the policy does not allow do not leave the agent") {
  gate->set_policy(*Policy::parse("rules: [{operators: unsigned, events: tidy}]", "p"));
  control::Request request;
  const auto refused = [&] {
    const std::string error = ask(request).error();
    CAPTURE(error);
    CHECK(error.starts_with("refused by policy: no rule allows"));
  };
  request.mutable_event()->set_name("deploy");
  refused();
  request.mutable_query()->set_name("uptime");
  refused();
  request.mutable_force_leave()->set_node("x");
  refused();
  (*request.mutable_tags()->add_set()).set_key("role");
  refused();
  CHECK(host.cluster->node().self().tags.empty());
  request.mutable_keys()->set_operation(control::KeysRequest::USE);
  request.mutable_keys()->set_key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
  refused();
  request.mutable_job()->set_action(control::JobRequest::KILL);
  request.mutable_job()->set_number(1);
  request.mutable_job()->set_node("a");
  // Of this host: nobody else is asked, and it is no order.
  CHECK(ask(request).error().find("there is no job 1") != std::string::npos);
  request.mutable_event()->set_name("tidy");
  CHECK(ask(request).error().empty());
  request.mutable_query()->set_name("_serf_ping");
  CHECK(ask(request).error().empty());
  request.mutable_info();
  CHECK(ask(request).error().empty());
}

TEST_CASE_METHOD(Fixture, "only a monitor that may answer is given a query's number") {
  control::Request answering = monitor("", "query");
  answering.set_id(7);
  answering.mutable_monitor()->set_answers_queries(true);
  service->handle(session, monitor("", "query"));
  service->handle(session, answering);
  session->replies.clear();
  membership::QueryArrived query;
  query.id = message_id(1, 1);
  query.name = "load";
  query.deadline = membership::kNever;
  service->saw(query);
  REQUIRE(session->replies.size() == 2);
  CHECK(session->replies[0].monitor().query() == 0);
  const uint64_t number = session->replies[1].monitor().query();
  CHECK(number != 0);
  control::Request respond;
  respond.mutable_respond()->set_query(number + 1);
  service->handle(session, respond);
  CHECK(session->replies.back().error() == "No pending queries matching ID");
  respond.mutable_respond()->set_query(number);
  respond.mutable_respond()->set_payload(
      std::string(config.options.query_response_size_limit + 1, 'x'));
  service->handle(session, respond);
  CHECK(session->replies.back().error().find("exceeds limit") != std::string::npos);
  respond.mutable_respond()->set_payload("fine");
  service->handle(session, respond);
  CHECK(session->replies.back().error().empty());
}

TEST_CASE_METHOD(Fixture, "a slow monitor is told how much it missed") {
  service->handle(session, monitor("", "*"));
  session->replies.clear();
  session->full = true;
  for (int i = 0; i < 3; ++i) service->saw(user_event("x"));
  session->full = false;
  service->saw(user_event("y"));
  service->saw(user_event("z"));
  REQUIRE(session->replies.size() == 2);
  CHECK(session->replies[0].monitor().dropped() == 3);
  CHECK(session->replies[1].monitor().dropped() == 0);
  control::Request request;
  request.mutable_info();
  CHECK(value_of(ask(request).info(), "drops", "control.records_client_slow") == "3");
}

TEST_CASE_METHOD(Fixture, "monitors that make no sense are refused and they are bounded") {
  service->handle(session, monitor("LOUD", "*"));
  CHECK(session->replies.back().error() == "Unknown log level: LOUD");
  service->handle(session, monitor("", "user:a,nonsense"));
  CHECK(session->replies.back().error().starts_with("Invalid event filter"));
  service->handle(session, monitor("", "*"));
  service->handle(session, monitor("", "*"));
  CHECK(session->replies.back().error() == "Monitor already exists");
  control::Request request = monitor("", "*");
  for (size_t i = 1; i < Service::kMaxMonitors; ++i) {
    request.set_id(100 + i);
    service->handle(session, request);
  }
  session->replies.clear();
  request.set_id(50);
  service->handle(session, request);
  REQUIRE(session->replies.size() == 1);
  CHECK_FALSE(session->replies[0].error().empty());
}

}  // namespace
}  // namespace starling::agent
