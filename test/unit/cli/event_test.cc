// SPDX-License-Identifier: Apache-2.0
//
// Sending, confirming and listing user events.
#include <cstdio>
#include <fstream>

#include "test/catch.h"
#include "test/unit/cli/command_line.h"

using starling::agent::test::always;
using starling::agent::test::check;
using starling::agent::test::contains;
using starling::agent::test::FakeAgent;
using starling::agent::test::Outcome;
using starling::agent::test::run;
using starling::agent::test::SessionPtr;
using starling::agent::test::Words;
namespace control = starling::control;

TEST_CASE("event takes its payload from an argument, standard input or a file") {
  std::vector<control::Request> requests;
  FakeAgent agent([&](const SessionPtr& session, const control::Request& request) {
    requests.push_back(request);
    control::Reply reply;
    reply.mutable_event()->set_id("77");
    always(reply)(session, request);
  });
  const std::string binary("a\0b\n", 4);
  CHECK(run({"event", "deploy", "-"}, agent.socket(), {}, nullptr, binary).status == 0);
  const std::string path = agent.socket() + ".payload";
  std::ofstream(path, std::ios::binary) << binary;
  CHECK(run({"event", "-payload-file", path, "deploy"}, agent.socket()).status == 0);
  REQUIRE(requests.size() == 2);
  CHECK(requests[0].event().payload() == binary);
  CHECK(requests[1].event().payload() == binary);
  const std::string large((1U << 20) + 1, 'x');
  const Outcome refused = run({"event", "deploy", "-"}, agent.socket(), {}, nullptr, large);
  CHECK(refused.status == 1);
  contains(refused.err, "standard input is larger than an event may be, 1 MiB");
  const Outcome two = run({"event", "-payload-file", path, "deploy", "x"}, agent.socket());
  CHECK(two.status == 1);
  contains(two.err, "not both");
  std::remove(path.c_str());
  const Outcome absent = run({"event", "-payload-file", path, "deploy"}, agent.socket());
  CHECK(absent.status == 1);
  contains(absent.err, "No such file");
  CHECK(requests.size() == 2);
}

TEST_CASE("event -confirm names those that have not got it") {
  int missing = 0;
  FakeAgent agent([&](const SessionPtr& session, const control::Request& request) {
    if (!request.event().confirm() || request.event().timeout_ms() != 2000) return;
    control::Reply reply;
    reply.set_id(request.id());
    reply.mutable_event()->set_id("77");
    session->send(reply);
    reply.mutable_event_confirmed()->set_member("a1");
    session->send(reply);
    control::EventConfirmDone& done = *reply.mutable_event_confirm_done();
    done.set_confirmed(1);
    for (int i = 0; i < missing; ++i) done.add_missing("b" + std::to_string(i));
    reply.set_done(true);
    session->send(reply);
  });
  const Words words = {"event", "-confirm", "-timeout", "2s", "deploy"};
  check(run(words, agent.socket()), 0,
        "Event 'deploy' dispatched! Coalescing enabled: true\nConfirmed by 1 of 1 live members\n");
  missing = 2;
  check(run(words, agent.socket()), 1,
        "Event 'deploy' dispatched! Coalescing enabled: true\nConfirmed by 1 of 3 live members\n"
        "Not confirmed by: b0 b1\n");
  Words json = words;
  json.insert(json.begin() + 1, "-format=json");
  const Outcome outcome = run(json, agent.socket());
  CHECK(outcome.status == 1);
  contains(outcome.out, "\"confirmed\": 1");
  contains(outcome.out, "\"b1\"");
  const Outcome alone = run({"event", "-timeout", "2s", "deploy"}, agent.socket());
  CHECK(alone.status == 1);
  contains(alone.err, "-timeout goes with -confirm");
}

TEST_CASE("events are listed, the latest first") {
  control::Reply reply;
  control::EventsReply& body = *reply.mutable_events();
  body.set_live(3);
  body.set_held(2);
  for (int i = 0; i < 2; ++i) {
    control::HeldEvent& event = *body.add_events();
    event.set_origin(i == 0 ? "web1" : "a");
    event.set_name("deploy");
    event.set_size(i == 0 ? 5 : 204'800);
    event.set_sent_ms(1'700'000'000'000);
    event.set_timing(i == 0 ? "live" : "missed");
    event.set_reach(static_cast<uint32_t>(3 - i));
  }
  FakeAgent agent(always(reply));
  const Outcome outcome = run({"events"}, agent.socket());
  CHECK(outcome.status == 0);
  contains(outcome.out, "  web1  deploy  5 B      3/3\n");
  contains(outcome.out, "  a     deploy  200 KiB  2/3  missed\n");
  const Outcome json = run({"events", "-format", "json"}, agent.socket());
  contains(json.out, "\"sent_ms\": 1700000000000");
  CHECK(run({"events", "-limit", "0"}, agent.socket()).status == 1);
}
