// SPDX-License-Identifier: Apache-2.0
//
// The query command, against a service made for the test.

#include "test/catch.h"
#include "test/unit/cli/command_line.h"

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

control::QueryAnswer query_answer(const std::string& from, control::QueryAnswer::Kind kind,
                                  const std::string& payload = {}, const std::string& error = {}) {
  control::QueryAnswer answer;
  answer.set_from(from);
  answer.set_kind(kind);
  answer.set_payload(payload);
  answer.set_error(error);
  return answer;
}

void answer_query(const SessionPtr& session, const control::Request& request) {
  using Kind = control::QueryAnswer;
  control::Reply reply;
  reply.set_id(request.id());
  reply.mutable_query_started()->set_addressed(5);
  reply.mutable_query_started()->set_timeout_ms(100);
  session->send(reply);
  for (auto answer : {query_answer("a", Kind::ACK), query_answer("a", Kind::RESPONSE, "one\n\n"),
                      query_answer("b", Kind::RESPONSE, "two"), query_answer("c", Kind::NO_ANSWER),
                      query_answer("d", Kind::FAILED, "no such file\n", "exit status 3")}) {
    answer.set_last(answer.kind() != Kind::ACK);
    if (answer.kind() == Kind::FAILED) answer.set_exit_status(3);
    *reply.mutable_query_answer() = answer;
    session->send(reply);
  }
  for (const char* name : {"e", "f"}) {
    control::SilentMember& silent = *reply.mutable_query_done()->add_silent();
    silent.set_name(name);
    silent.set_why(*name == 'e' ? "unheard" : "failed");
  }
  reply.mutable_query_done()->set_timed_out(true);
  reply.set_done(true);
  session->send(reply);
}

}  // namespace

TEST_CASE("a query prints answers and totals and who was silent") {
  FakeAgent agent(answer_query);
  check(run({"query", "hi"}, agent.socket()), 0,
        "Query 'hi' dispatched\n"
        "Ack from 'a'\n"
        "Response from 'a': one\n\n"
        "Response from 'b': two\n"
        "Failure from 'd': exit status 3: no such file\n"
        "Total Acks: 1\n"
        "Total Responses: 2\n"
        "Total Failures: 1\n"
        "No answer from: c (its handler printed nothing)\n"
        "No answer from: e (nothing heard by the deadline)\n"
        "No answer from: f (failed)\n");
  check(run({"query", "-format", "json", "hi"}, agent.socket()), 0, R"({
  "Acks": [
    "a"
  ],
  "Responses": {
    "a": "one\n\n",
    "b": "two"
  },
  "Failures": [
    {
      "Node": "d",
      "Reason": "failed",
      "Error": "exit status 3",
      "ExitStatus": 3,
      "Output": "no such file\n"
    }
  ],
  "NoHandler": [],
  "NoAnswer": [
    "c"
  ],
  "Silent": {
    "e": "unheard",
    "f": "failed"
  },
  "Addressed": 5,
  "TimedOut": true,
  "Limited": false
}
)");
}

TEST_CASE("several handlers of one member are told apart") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply;
    reply.set_id(request.id());
    const auto send = [&](control::QueryAnswer::Kind kind, const std::string& handler,
                          unsigned position, const std::string& payload) {
      control::QueryAnswer answer = query_answer("a", kind, payload);
      answer.set_responder(handler);
      answer.set_position(position);
      *reply.mutable_query_answer() = answer;
      session->send(reply);
    };
    send(control::QueryAnswer::RESPONSE, "query=late", 2, "two");
    send(control::QueryAnswer::RESPONSE, "query=early", 0, "zero");
    send(control::QueryAnswer::BUSY, "query=busy", 1, "");
    reply.mutable_query_done()->set_limited(true);
    reply.set_done(true);
    session->send(reply);
  });
  check(run({"query", "-no-ack", "-limit", "2", "hi"}, agent.socket()), 0,
        "Response from 'a': two\n"
        "Response from 'a' (query=early): zero\n"
        "Failure from 'a' (query=busy): it is busy; ask again later\n"
        "Total Responses: 2\n"
        "Total Failures: 1\n"
        "Ended at the limit of 2 responses\n");
  const Outcome json = run({"query", "-format", "json", "-limit", "2", "hi"}, agent.socket());
  // Serf's part has one response a member: that of the first handler in its configuration.
  contains(json.out, "\"Responses\": {\n    \"a\": \"zero\"\n  }");
  contains(json.out, "\"Handler\": \"query=late\",\n        \"Payload\": \"two\"");
  contains(json.out, "\"Reason\": \"busy\"");
  contains(json.out, "\"Limited\": true");
}

TEST_CASE("a long list of those that did not answer is cut") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply = last_reply(request);
    for (int i = 10; i < 40; ++i) {
      control::SilentMember& silent = *reply.mutable_query_done()->add_silent();
      silent.set_name("n" + std::to_string(i));
      silent.set_why("unheard");
    }
    reply.mutable_query_done()->add_lost("slow");
    session->send(reply);
  });
  const Outcome outcome = run({"query", "hi"}, agent.socket());
  contains(outcome.out, "n27, n28 and 11 more (nothing heard by the deadline)\n");
  contains(outcome.out, "No answer from: slow (answers were lost,");
}

TEST_CASE("a query without acks counts none") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply = last_reply(request);
    reply.mutable_query_done();
    session->send(reply);
  });
  check(run({"query", "-no-ack", "hi"}, agent.socket()), 0, "Total Responses: 0\n");
  CHECK_FALSE(agent.requests().at(0).query().request_ack());
}

TEST_CASE("progress of a query is for terminals on stderr and is wiped") {
  FakeAgent agent(answer_query);
  const Outcome outcome = run({"query", "hi"}, agent.socket(), {.err = true});
  CHECK(outcome.out.find("answered") == std::string::npos);
  contains(outcome.err, "\r\x1b[K0/5 answered");
  contains(outcome.err, "\r\x1b[K4/5 answered");
  CHECK(outcome.err.ends_with("answered\r\x1b[K"));
}

TEST_CASE("answers cannot control the terminal") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply;
    reply.set_id(request.id());
    *reply.mutable_query_answer() =
        query_answer("a", control::QueryAnswer::RESPONSE, "x\x1b[2Jy\nz");
    session->send(reply);
    reply.mutable_query_done();
    reply.set_done(true);
    session->send(reply);
  });
  contains(run({"query", "hi"}, agent.socket(), {.out = true}).out, ": x\\x1b[2Jy\nz\n");
  contains(run({"query", "hi"}, agent.socket()).out, ": x\x1b[2Jy\nz\n");
}

TEST_CASE("options of a query reach the agent") {
  FakeAgent agent(answer_query);
  run({"query", "-node", "a", "-node=[b]", "-tag", "role=we", "-timeout", "1m30s", "-relay-factor",
       "255", "-limit", "7", "-status", "degraded", "hi", "pay load"},
      agent.socket());
  const auto requests = agent.requests();
  REQUIRE(requests.size() == 1);
  const control::QueryRequest& query = requests[0].query();
  CHECK(query.name() == "hi");
  CHECK(query.payload() == "pay load");
  REQUIRE(query.nodes_size() == 2);
  CHECK(query.nodes(1) == "[b]");
  REQUIRE(query.tags_size() == 1);
  CHECK(query.tags(0).value() == "we");
  CHECK(query.timeout_ms() == 90'000);
  CHECK(query.relay_factor() == 255);
  CHECK(query.limit() == 7);
  CHECK(query.status() == "degraded");
  CHECK(query.request_ack());
}

TEST_CASE("values that look like syntax are taken as they are") {
  FakeAgent agent(answer_query);
  const Words values = {"--", "-h", "[a,b]", "%%", "{}", "", "--node", "a b", "\"q\"", "query"};
  Words words = {"query"};
  for (const std::string& value : values) {
    words.insert(words.end(), {"-node", value});
  }
  for (const char* word : {"--", "--", "-v"}) words.emplace_back(word);
  CHECK(run(words, agent.socket()).err.empty());
  const auto requests = agent.requests();
  REQUIRE(requests.size() == 1);
  CHECK(requests[0].query().name() == "--");
  CHECK(requests[0].query().payload() == "-v");
  const auto& nodes = requests[0].query().nodes();
  CHECK(Words(nodes.begin(), nodes.end()) == values);
}
