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
  for (const auto& answer :
       {query_answer("a", Kind::ACK), query_answer("a", Kind::RESPONSE, "one\n\n"),
        query_answer("b", Kind::RESPONSE, "two"), query_answer("c", Kind::NO_ANSWER),
        query_answer("d", Kind::FAILED, "", "exit status 3: no such file\n")}) {
    *reply.mutable_query_answer() = answer;
    session->send(reply);
  }
  reply.mutable_query_done()->add_silent("e");
  reply.mutable_query_done()->add_silent("f");
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
        "No answer from: e, f\n");
  check(run({"query", "-format", "json", "hi"}, agent.socket()), 0, R"({
  "Acks": [
    "a"
  ],
  "Responses": {
    "a": "one\n\n",
    "b": "two"
  },
  "Failed": {
    "d": "exit status 3: no such file\n"
  },
  "Silent": [
    "e",
    "f"
  ],
  "TimedOut": true
}
)");
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
       "255", "hi", "pay load"},
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
