// SPDX-License-Identifier: Apache-2.0
//
// Commands that watch: reachability and monitor.
#include <csignal>
#include <regex>

#include "test/catch.h"
#include "test/unit/cli/command_line.h"

using starling::agent::test::answer_members;
using starling::agent::test::check;
using starling::agent::test::contains;
using starling::agent::test::FakeAgent;
using starling::agent::test::last_reply;
using starling::agent::test::Outcome;
using starling::agent::test::run;
using starling::agent::test::SessionPtr;
using starling::agent::test::Words;
namespace control = starling::control;

namespace {

FakeAgent::Answer reachability_answer(const Words& alive, const Words& answered) {
  return [=](const SessionPtr& session, const control::Request& request) {
    if (request.has_members()) return answer_members(session, request);
    control::Reply reply;
    reply.set_id(request.id());
    for (const std::string& name : answered) {
      reply.mutable_reachability()->add_answered(name);
      session->send(reply);  // each one longer than the last
    }
    for (const std::string& name : alive) reply.mutable_reachability()->add_alive(name);
    reply.mutable_reachability()->set_done(true);
    reply.set_done(true);
    session->send(reply);
  };
}

constexpr const char* kReachabilityStart =
    "Total members: 2, live members: 1\nStarting reachability test...\n";

}  // namespace

TEST_CASE("reachability is fine when all alive members answer") {
  FakeAgent agent(reachability_answer({"a1", "b"}, {"b", "a1"}));
  check(run({"reachability"}, agent.socket()), 0,
        std::string(kReachabilityStart) + "Successfully contacted all live nodes\n");
  const Outcome verbose = run({"reachability", "-verbose"}, agent.socket());
  CHECK(verbose.status == 0);
  CHECK(std::regex_match(
      verbose.out, std::regex("Total.*\nStarting.*\n\tAck from 'b'\n\tAck from 'a1'\nQuery time: "
                              "\\d+\\.\\d\\d sec, time to last response: \\d+\\.\\d\\d "
                              "sec\nSuccessfully contacted all live nodes\n")));
  const Outcome json = run({"reachability", "-format", "json"}, agent.socket());
  CHECK(json.status == 0);
  contains(json.out, "\"members\": 2");
  contains(json.out, "\"missing\": []");
  contains(json.out, "\"reachable\": true");
}

TEST_CASE("reachability names who did not answer") {
  FakeAgent agent(reachability_answer({"a1", "b", "c"}, {"b"}));
  const Outcome outcome = run({"reachability"}, agent.socket());
  CHECK(outcome.status == 1);
  CHECK(
      outcome.out.starts_with(std::string(kReachabilityStart) +
                              "Received less acks than live nodes! Missing acks from:\n\ta1\n\tc\n"
                              "This could mean Starling gossip packets are being lost"));
  contains(outcome.out, "\nTroubleshooting tips:\n* Ensure that the bind addr:port");
  const Outcome json = run({"reachability", "-format", "json"}, agent.socket());
  CHECK(json.status == 1);
  contains(json.out, "\"missing\": [\n    \"a1\",\n    \"c\"\n  ]");
}

TEST_CASE("reachability names who answered and should not be there") {
  FakeAgent agent(reachability_answer({}, {"a1", "ghost"}));
  const Outcome outcome = run({"reachability"}, agent.socket());
  CHECK(outcome.status == 1);
  contains(outcome.out, "Received more acks than live nodes! Acks from non-live nodes:\n\tghost\n");
}

namespace {

control::ReachabilityReply matrix_of(int members) {
  control::ReachabilityReply reply;
  for (int i = 0; i < members; ++i) {
    const std::string name = "m" + std::to_string(i);
    reply.add_alive(name);
    reply.add_answered(name);
    control::ReachabilityRow& row = *reply.add_rows();
    row.set_from(name);
    row.set_reported(i != 1);
    row.set_direct(static_cast<uint32_t>(members) - 1);
  }
  control::ReachabilityRow& first = *reply.mutable_rows(0);
  first.set_direct(first.direct() - 1);
  control::ReachabilityWay& way = *first.add_ways();
  way.set_to("m2");
  way.set_reach("indirect");
  way.set_via("m1");
  way.set_for_ms(185'000);
  control::ReachabilityFinding& finding = *reply.add_findings();
  finding.set_cause("cut");
  finding.set_text("m0 <-> m2: cut");
  finding.set_for_ms(185'000);
  reply.set_done(true);
  return reply;
}

FakeAgent::Answer matrix_answer(const control::ReachabilityReply& body) {
  return [=](const SessionPtr& session, const control::Request& request) {
    if (request.has_members()) return answer_members(session, request);
    control::Reply reply;
    reply.set_id(request.id());
    *reply.mutable_reachability() = body;
    reply.set_done(true);
    session->send(reply);
  };
}

}  // namespace

TEST_CASE("reachability shows the whole matrix of a few members") {
  FakeAgent agent(matrix_answer(matrix_of(3)));
  check(run({"reachability"}, agent.socket()), 1,
        std::string(kReachabilityStart) +
            "Successfully contacted all live nodes\n"
            "from \\ to  m0      m1      m2\n"
            "m0         -       direct  via m1\n"
            "m1         ?       -       ?\n"
            "m2         direct  direct  -\n"
            "* m0 <-> m2: cut (for 3 min)\n");
  const Outcome json = run({"reachability", "-format", "json"}, agent.socket());
  CHECK(json.status == 1);
  contains(json.out, "\"reachable\": false");
  contains(json.out, "\"via\": \"m1\"");
  contains(json.out, "\"cause\": \"cut\"");
}

TEST_CASE("reachability of many members shows what is not direct") {
  auto body = matrix_of(100);
  for (int i = 5; i < 15; ++i) {
    control::ReachabilityWay& way = *body.mutable_rows(3)->add_ways();
    way.set_to("m" + std::to_string(i));
    way.set_reach(i < 10 ? "none" : "stream");
  }
  body.mutable_rows(3)->set_direct(89);
  FakeAgent agent(matrix_answer(body));
  check(run({"reachability"}, agent.socket()), 1,
        std::string(kReachabilityStart) +
            "Successfully contacted all live nodes\n"
            "Ways between members: 9889 direct, 1 through others, 5 by streams only, 5 not at all\n"
            "m0  ->  m2          via m1              for 3 min\n"
            "m3  ->  10 members  5 none, 5 tcp only\n"
            "* m0 <-> m2: cut (for 3 min)\n");
  const Outcome all = run({"reachability", "-all"}, agent.socket());
  contains(all.out, "from \\ to  m0");
}

TEST_CASE("a member that is down does not make the others unreachable") {
  auto body = matrix_of(3);
  body.mutable_findings(0)->set_cause("down");
  FakeAgent agent(matrix_answer(body));
  CHECK(run({"reachability"}, agent.socket()).status == 0);
}

namespace {

/// Three records, then the connection is lost: an answer that does not fit closes it.
void answer_monitor(const SessionPtr& session, const control::Request& request) {
  control::Reply reply;
  reply.set_id(request.id());
  reply.mutable_monitor()->set_log("2026/01/01 00:00:00 [INFO] agent: hello");
  session->send(reply);
  control::MonitorRecord& record = *reply.mutable_monitor();
  record.Clear();
  record.set_event("user");
  record.set_name("dep");
  record.set_ltime(3);
  record.set_payload("pay\nload");
  record.set_coalesce(true);
  session->send(reply);
  record.Clear();
  record.set_event("member-join");
  record.set_dropped(12);
  record.add_members()->set_name("web");
  record.mutable_members(0)->set_address(std::string("\x0a\0\0\x01", 4));
  record.mutable_members(0)->set_port(7);
  record.mutable_members(0)->set_status("alive");
  session->send(reply);
  reply = last_reply(request);
  reply.mutable_event()->set_id(std::string(100'000, 'x'));
  session->send(reply);
}

}  // namespace

TEST_CASE("monitor prints log lines and events until the agent goes") {
  FakeAgent agent(answer_monitor, {.queued_bytes = 50'000});
  check(run({"monitor", "-log-level=warn", "-event", "user:dep"}, agent.socket()), 1,
        "2026/01/01 00:00:00 [INFO] agent: hello\n"
        "Event Info:\n"
        "\tCoalesce: true\n"
        "\tEvent: \"user\"\n"
        "\tLTime: 3\n"
        "\tName: \"dep\"\n"
        "\tPayload: \"pay\\nload\"\n"
        "Event Info:\n"
        "\tEvent: \"member-join\"\n"
        "\tMember: web 10.0.0.1:7 alive\n",
        "starling: 12 log lines and events were lost: they came faster than this reader took "
        "them\n"
        "Remote side ended the monitor! This usually means that the\n"
        "remote side has exited or crashed.\n");
  CHECK(agent.requests().at(0).monitor().log_level() == "warn");
  CHECK(agent.requests().at(0).monitor().event_filter() == "user:dep");
  run({"monitor"}, agent.socket());
  CHECK(agent.requests().at(1).monitor().log_level() == "INFO");
  CHECK(agent.requests().at(1).monitor().event_filter() == "*");
}

TEST_CASE("monitor in JSON is a line for each record") {
  FakeAgent agent(answer_monitor, {.queued_bytes = 50'000});
  const Outcome outcome = run({"monitor", "-format=json"}, agent.socket());
  CHECK(outcome.out.starts_with(
      "{\"log\":\"2026/01/01 00:00:00 [INFO] agent: hello\"}\n"
      "{\"event\":\"user\",\"name\":\"dep\",\"ltime\":3,\"payload\":\"pay\\nload\",\"coalesce\":"
      "true}\n"
      "{\"dropped\":12,\"event\":\"member-join\",\"members\":[{\"name\":\"web\","));
}

TEST_CASE("monitor ends well when it is interrupted") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply;
    reply.set_id(request.id());
    reply.mutable_monitor()->set_log("hello");
    session->send(reply);
  });
  // Every thread has to block the signal, or it would end the test: this one does, in `monitor`.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGINT);
  agent.run([&] { ::pthread_sigmask(SIG_BLOCK, &signals, nullptr); });
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::raise(SIGINT);
  const Outcome outcome = run({"monitor"}, agent.socket());
  ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  CHECK(outcome.status == 0);
  CHECK(outcome.err.empty());
}
