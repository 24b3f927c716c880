// SPDX-License-Identifier: Apache-2.0
//
// Commands with one reply, against a service made for the test behind a real socket.
#include <regex>

#include "test/catch.h"
#include "test/unit/cli/command_line.h"

using starling::agent::test::always;
using starling::agent::test::answer_members;
using starling::agent::test::check;
using starling::agent::test::contains;
using starling::agent::test::FakeAgent;
using starling::agent::test::last_reply;
using starling::agent::test::members_reply;
using starling::agent::test::Outcome;
using starling::agent::test::run;
using starling::agent::test::SessionPtr;
using starling::agent::test::set;
namespace control = starling::control;

TEST_CASE("each generated key is 32 bytes in base64 and new") {
  const Outcome first = run({"keygen"});
  CHECK(first.status == 0);
  CHECK(std::regex_match(first.out, std::regex("[A-Za-z0-9+/]{43}=\n")));
  CHECK(first.out != run({"keygen"}).out);
  CHECK(std::regex_match(run({"keygen", "-format", "json"}).out,
                         std::regex("\\{\n  \"key\": \"[A-Za-z0-9+/]{43}=\"\n\\}\n")));
}

TEST_CASE("members are a table without header") {
  FakeAgent agent(answer_members);
  check(run({"members"}, agent.socket()), 0,
        "a1           127.0.0.31:7946  alive   dc=x,role=web\n"
        "longername2  127.0.0.31:7946  failed\n");
  check(run({"members", "-detailed"}, agent.socket()), 0,
        "a1           127.0.0.31:7946  alive   dc=x,role=web  Protocol Version: 5  Available "
        "Protocol Range: [2, 5]\n"
        "longername2  127.0.0.31:7946  failed                 Protocol Version: 5  Available "
        "Protocol Range: [2, 5]\n");
  check(run({"members"}, agent.socket(), {.out = true}), 0,
        "a1           127.0.0.31:7946  \x1b[32malive\x1b[0m   dc=x,role=web\n"
        "longername2  127.0.0.31:7946  \x1b[31mfailed\x1b[0m\n");
}

TEST_CASE("members in JSON have Serf's shape and more") {
  FakeAgent agent(answer_members);
  const Outcome outcome = run({"members", "-format", "json"}, agent.socket());
  CHECK(outcome.status == 0);
  CHECK(outcome.out.starts_with(R"({
  "members": [
    {
      "name": "a1",
      "addr": "127.0.0.31:7946",
      "port": 7946,
      "tags": {
        "dc": "x",
        "role": "web"
      },
      "status": "alive",
      "protocol": {
        "max": 5,
        "min": 2,
        "version": 5
      },
      "id": "0a",
      "incarnation": "9",
      "rtt_ms": 1.5,
      "self": true,
      "degraded": false
    },
)"));
  contains(outcome.out, "\"tags\": {},\n      \"status\": \"failed\"");
  contains(outcome.out, "\"rtt_ms\": null");
}

TEST_CASE("degraded stands behind the columns of Serf") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply = members_reply(request);
    reply.mutable_members()->mutable_members(0)->set_degraded(true);
    control::Member& third = *reply.mutable_members()->add_members();
    third.set_name("b");
    third.set_address(std::string("\x7f\0\0\x01", 4));
    third.set_port(7946);
    third.set_status("alive");
    third.set_degraded(true);
    session->send(reply);
  });
  check(run({"members"}, agent.socket()), 0,
        "a1           127.0.0.31:7946  alive   dc=x,role=web  degraded\n"
        "longername2  127.0.0.31:7946  failed\n"
        "b            127.0.0.1:7946   alive                  degraded\n");
  contains(run({"members", "-detailed"}, agent.socket()).out,
           "Available Protocol Range: [2, 5]  degraded\n");
  contains(run({"members"}, agent.socket(), {.out = true}).out, "\x1b[33mdegraded\x1b[0m\n");
  contains(run({"members", "-format=json"}, agent.socket()).out, "\"degraded\": true");
  CHECK_FALSE(agent.requests().back().members().degraded());
  run({"members", "-degraded"}, agent.socket());
  CHECK(agent.requests().back().members().degraded());
}

TEST_CASE("filters of members reach the agent") {
  FakeAgent agent(answer_members);
  run({"members", "-name", "a.*", "-status=alive", "-tag", "[x]=[a,b]", "-tag=dc=", "-role", "web",
       "-name", "b"},
      agent.socket());
  const auto requests = agent.requests();
  REQUIRE(requests.size() == 1);
  const control::MembersRequest& members = requests[0].members();
  CHECK(members.name() == "b");
  CHECK(members.status() == "alive");
  REQUIRE(members.tags_size() == 3);
  CHECK(members.tags(0).key() == "[x]");
  CHECK(members.tags(0).value() == "[a,b]");
  CHECK(members.tags(1).value().empty());
  CHECK(members.tags(2).key() == "role");
}

TEST_CASE("an event carries its payload as given") {
  control::Reply reply;
  reply.mutable_event()->set_id("77");
  reply.mutable_event()->set_ltime(4);
  FakeAgent agent(always(reply));
  check(run({"event", "deploy", "v1"}, agent.socket()), 0,
        "Event 'deploy' dispatched! Coalescing enabled: true\n");
  check(run({"event", "deploy", "-coalesce=false", "--", "-v"}, agent.socket()), 0,
        "Event 'deploy' dispatched! Coalescing enabled: false\n");
  check(run({"event", "[a,b]", ""}, agent.socket()), 0,
        "Event '[a,b]' dispatched! Coalescing enabled: true\n");
  check(
      run({"event", "-format=json", "deploy"}, agent.socket()), 0,
      "{\n  \"name\": \"deploy\",\n  \"coalesce\": true,\n  \"id\": \"77\",\n  \"ltime\": 4\n}\n");
  const auto requests = agent.requests();
  REQUIRE(requests.size() == 4);
  CHECK(requests[0].event().payload() == "v1");
  CHECK(requests[0].event().coalesce());
  CHECK(requests[1].event().payload() == "-v");
  CHECK_FALSE(requests[1].event().coalesce());
  CHECK(requests[2].event().name() == "[a,b]");
}

TEST_CASE("tags are listed or changed") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply = last_reply(request);
    if (request.has_info()) {
      control::InfoSection& tags = *reply.mutable_info()->add_sections();
      tags.set_name("tags");
      set(tags.add_values(), "role", "web");
      set(tags.add_values(), "dc", "x");
    }
    session->send(reply);
  });
  check(run({"tags"}, agent.socket()), 0, "dc=x\nrole=web\n");
  check(run({"tags", "-format=json"}, agent.socket()), 0,
        "{\n  \"tags\": {\n    \"dc\": \"x\",\n    \"role\": \"web\"\n  }\n}\n");
  check(run({"tags", "-set", "a=b=c", "-set", "d=", "-delete", "[x]"}, agent.socket()), 0,
        "Successfully updated agent tags\n");
  const control::TagsRequest tags = agent.requests().back().tags();
  REQUIRE(tags.set_size() == 2);
  CHECK(tags.set(0).key() == "a");
  CHECK(tags.set(0).value() == "b=c");
  CHECK(tags.set(1).value().empty());
  REQUIRE(tags.remove_size() == 1);
  CHECK(tags.remove(0) == "[x]");
  CHECK(run({"tags", "-delete", "a", "-format", "json"}, agent.socket()).out.starts_with("{"));
}

TEST_CASE("info is sorted") {
  control::Reply reply;
  control::InfoSection& second = *reply.mutable_info()->add_sections();
  second.set_name("serf");
  set(second.add_values(), "members", "2");
  set(second.add_values(), "failed", "0");
  control::InfoSection& first = *reply.mutable_info()->add_sections();
  first.set_name("agent");
  set(first.add_values(), "name", "a1");
  reply.mutable_info()->add_sections()->set_name("tags");
  FakeAgent agent(always(reply));
  check(run({"info"}, agent.socket()), 0,
        "agent:\n\tname = a1\nserf:\n\tfailed = 0\n\tmembers = 2\ntags:\n");
  check(run({"info", "-format", "json"}, agent.socket()), 0, R"({
  "agent": {
    "name": "a1"
  },
  "serf": {
    "failed": "0",
    "members": "2"
  },
  "tags": {}
}
)");
}

TEST_CASE("join counts and names what failed") {
  control::Reply reply;
  reply.mutable_join()->set_contacted(2);
  set(reply.mutable_join()->add_failures(), "10.0.0.9", "connection refused");
  FakeAgent agent(always(reply));
  check(run({"join", "-replay", "[::1]:7946", "b", "10.0.0.9"}, agent.socket()), 0,
        "Successfully joined cluster by contacting 2 nodes.\n",
        "\t* Failed to join 10.0.0.9: connection refused\n");
  check(run({"join", "-format=json", "b"}, agent.socket()), 0,
        "{\n  \"contacted\": 2,\n  \"failures\": {\n    \"10.0.0.9\": \"connection refused\"\n  "
        "}\n}\n",
        "\t* Failed to join 10.0.0.9: connection refused\n");
  const auto requests = agent.requests();
  CHECK(requests.at(0).join().replay());
  REQUIRE(requests.at(0).join().addresses_size() == 3);
  CHECK(requests.at(0).join().addresses(0) == "[::1]:7946");
  CHECK_FALSE(requests.at(1).join().replay());
}

TEST_CASE("a join that reached nobody is an error even when the agent does not call it one") {
  control::Reply reply;
  set(reply.mutable_join()->add_failures(), "x", "timeout");
  FakeAgent agent(always(reply));
  check(run({"join", "x"}, agent.socket()), 1, "",
        "Error joining the cluster: no address could be reached\n\t* Failed to join x: timeout\n");
}

TEST_CASE("leave and force-leave say what Serf says") {
  FakeAgent agent(always({}));
  check(run({"leave"}, agent.socket()), 0, "Graceful leave complete\n");
  check(run({"force-leave", "web"}, agent.socket()), 0, "");
  check(run({"force-leave", "web", "-prune"}, agent.socket()), 0, "");
  const auto requests = agent.requests();
  CHECK(requests.at(0).has_leave());
  CHECK_FALSE(requests.at(1).force_leave().prune());
  CHECK(requests.at(2).force_leave().prune());
  CHECK(requests.at(2).force_leave().node() == "web");
}
