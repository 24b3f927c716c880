// SPDX-License-Identifier: Apache-2.0
//
// What is known of jobs on many members, and how they are followed.
#include "agent/cli/job_board.h"

#include "test/catch.h"
#include "test/unit/cli/command_line.h"

namespace starling::agent::test {
namespace {

using namespace std::chrono_literals;

const JobBoard::TimePoint kStart{};

control::JobReply reply_of(const std::string& node, bool settled = true) {
  control::JobReply reply;
  reply.set_node(node);
  reply.set_arrived(true);
  reply.set_settled(settled);
  reply.set_now_ms(10'000);
  return reply;
}

control::JobReply with_job(const std::string& node, uint64_t number, const std::string& state) {
  control::JobReply reply = reply_of(node);
  control::Job& job = *reply.add_jobs();
  job.set_number(number);
  job.set_state(state);
  job.set_handler("deploy");
  job.set_started_ms(7'000);
  return reply;
}

}  // namespace

TEST_CASE("a board waits for each member until all of its jobs have ended") {
  JobBoard board;
  board.take(with_job("a", 1, "running"), kStart);
  board.take(reply_of("b", false), kStart);
  board.take(reply_of("c"), kStart);
  CHECK(board.pending() == std::vector<std::string>{"a", "b"});
  CHECK(board.totals(kStart) == "1 waiting, 1 running, 1 no handler");
  CHECK(board.lines(kStart + 2s)[0].runs_for == 5s);
  board.take(with_job("b", 4, "succeeded"), kStart);
  board.take(with_job("a", 1, "succeeded"), kStart);
  CHECK(board.pending().empty());
  CHECK(board.succeeded());
  CHECK(board.totals(kStart) == "2 succeeded, 1 no handler");
}

TEST_CASE("a board without a job, or with one that failed, is no success") {
  JobBoard board;
  CHECK_FALSE(board.succeeded());
  board.take(reply_of("a"), kStart);
  CHECK(board.pending().empty());
  CHECK_FALSE(board.succeeded());
  board.take(with_job("b", 1, "succeeded"), kStart);
  CHECK(board.succeeded());
  board.take(with_job("c", 1, "skipped"), kStart);
  CHECK_FALSE(board.succeeded());
}

TEST_CASE("of a member that has promised a job, no other one counts") {
  JobBoard board;
  board.promise("a", 7);
  CHECK(board.waits_for("a"));
  CHECK(board.totals(kStart) == "1 waiting");
  control::JobReply reply = with_job("a", 7, "succeeded");
  *reply.add_jobs() = with_job("a", 8, "failed").jobs(0);
  board.take(reply, kStart);
  CHECK_FALSE(board.waits_for("a"));
  CHECK(board.succeeded());
}

TEST_CASE("a member that is silent, or lacks the event or the job, is given up in time") {
  JobBoard board;
  board.promise("forgets", 7);
  board.take(with_job("dies", 1, "running"), kStart);
  control::JobReply without;
  without.set_node("lacks");
  for (const auto after : {0s, 59s}) {
    board.silent("dies", "it has failed", kStart + after);
    board.take(without, kStart + after);
    board.take(reply_of("forgets"), kStart + after);
    CHECK(board.pending().size() == 3);
  }
  // A word in between begins the time anew.
  board.take(with_job("dies", 1, "running"), kStart + 59s);
  CHECK(board.lines(kStart + 59s)[0].reason.empty());
  board.silent("dies", "it has failed", kStart + 60s);
  board.take(without, kStart + 60s);
  board.take(reply_of("forgets"), kStart + 60s);
  CHECK(board.pending() == std::vector<std::string>{"dies"});
  board.silent("dies", "it has failed", kStart + 120s);
  CHECK(board.pending().empty());
  CHECK_FALSE(board.succeeded());
  const auto lines = board.lines(kStart + 120s);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].state == "no answer");
  CHECK(lines[0].reason == "it has failed");
  CHECK(lines[1].reason == "it does not know the job any more");
  CHECK(lines[2].reason == "it has not got the event");
}

TEST_CASE("what is still open at the end of the wait is given up") {
  JobBoard board;
  board.take(with_job("a", 1, "succeeded"), kStart);
  board.take(with_job("b", 1, "running"), kStart);
  board.give_up("time is over");
  CHECK(board.pending().empty());
  CHECK(board.totals(kStart) == "1 no answer, 1 succeeded");
}

TEST_CASE("event -wait asks everybody, then those who have not ended, and prints each change") {
  int rounds = 0;
  FakeAgent agent([&](const SessionPtr& session, const control::Request& request) {
    control::Reply reply;
    reply.set_id(request.id());
    if (request.has_event()) {
      reply.mutable_event()->set_id("77");
      reply.set_done(true);
      session->send(reply);
      return;
    }
    CHECK(request.job().cause() == "user-77");
    CHECK(request.job().nodes_size() == (rounds == 0 ? 0 : 1));
    if (rounds == 0) {
      *reply.mutable_job() = reply_of("idle");
      session->send(reply);
    }
    *reply.mutable_job() = with_job("web", 3, rounds == 0 ? "running" : "succeeded");
    if (rounds > 0) reply.mutable_job()->mutable_jobs(0)->set_ended_ms(9'000);
    session->send(reply);
    ++rounds;
    reply.mutable_query_done();
    reply.set_done(true);
    session->send(reply);
  });
  const Outcome outcome = run({"event", "-wait", "deploy"}, agent.socket());
  CHECK(outcome.status == 0);
  contains(outcome.out, "web  job 3  running  ");
  contains(outcome.out, "idle    no handler\n");
  contains(outcome.out, "web  job 3  succeeded  2s  deploy\nJobs: 1 succeeded, 1 no handler\n");
  CHECK(rounds == 2);
}

TEST_CASE("query -wait-jobs leaves answers that are jobs to the table") {
  std::string state = "succeeded";
  FakeAgent agent([&](const SessionPtr& session, const control::Request& request) {
    control::Reply reply;
    reply.set_id(request.id());
    if (request.has_query()) {
      reply.mutable_query_started()->set_id("5");
      session->send(reply);
      control::QueryAnswer answer;
      answer.set_from("web");
      answer.set_kind(control::QueryAnswer::RESPONSE);
      answer.set_payload("job:3\n");
      *reply.mutable_query_answer() = answer;
      session->send(reply);
      reply.mutable_query_answer()->set_from("old");
      reply.mutable_query_answer()->set_payload("done\n");
      session->send(reply);
    } else {
      CHECK(request.job().cause() == "query-5");
      *reply.mutable_job() = with_job("web", 3, state);
      session->send(reply);
    }
    reply.mutable_query_done();
    reply.set_done(true);
    session->send(reply);
  });
  const Words words = {"query", "-no-ack", "-wait-jobs", "deploy"};
  check(run(words, agent.socket()), 0,
        "Query 'deploy' dispatched\nResponse from 'old': done\nTotal Responses: 2\n"
        "web  job 3  waiting  -\nweb  job 3  succeeded  -  deploy\nJobs: 1 succeeded\n");
  state = "failed";
  CHECK(run(words, agent.socket()).status == 1);
  Words json = words;
  json.insert(json.begin() + 1, "-format=json");
  const Outcome outcome = run(json, agent.socket());
  CHECK(outcome.status == 1);
  contains(outcome.out, "\"succeeded\": false");
  contains(outcome.out, "\"node\": \"web\"");
}

}  // namespace starling::agent::test
