// SPDX-License-Identifier: Apache-2.0
//
// The job command, against a service made for the test.
#include "test/catch.h"
#include "test/unit/cli/command_line.h"

using starling::agent::test::always;
using starling::agent::test::check;
using starling::agent::test::contains;
using starling::agent::test::FakeAgent;
using starling::agent::test::last_reply;
using starling::agent::test::Outcome;
using starling::agent::test::run;
using starling::agent::test::SessionPtr;
namespace control = starling::control;

namespace {

control::Job failed_job() {
  control::Job job;
  job.set_number(12);
  job.set_attempt(2);
  job.set_cause("user-1");
  job.set_handler("deploy");
  job.set_event("user:deploy");
  job.set_state("failed");
  job.set_reason("exit status 3");
  job.set_started_ms(1'700'000'000'000);
  job.set_ended_ms(1'700'000'062'000);
  job.set_status(3);
  job.set_output_bytes(6);
  return job;
}

}  // namespace

TEST_CASE("jobs are listed with state, time and reason") {
  control::Reply reply;
  reply.mutable_job()->set_node("web1");
  *reply.mutable_job()->add_jobs() = failed_job();
  control::Job& queued = *reply.mutable_job()->add_jobs();
  queued.set_number(3);
  queued.set_state("queued");
  queued.set_event("user:a\x1b[2J");
  queued.set_handler("a");
  FakeAgent agent(always(reply));
  const Outcome outcome = run({"job", "list", "-state", "failed", "-state=queued", "-handler", "d",
                               "-limit", "7", "-below", "90", "-node", "web1"},
                              agent.socket());
  CHECK(outcome.status == 0);
  contains(outcome.out, "1m2s");
  contains(outcome.out, "user:deploy   ");
  contains(outcome.out, "deploy  exit status 3\n");
  contains(outcome.out, "3   queued  -");
  contains(outcome.out, "user:a\\x1b[2J  a\n");
  const control::JobRequest request = agent.requests().at(0).job();
  CHECK(request.action() == control::JobRequest::LIST);
  CHECK(request.limit() == 7);
  CHECK(request.below() == 90);
  CHECK(request.handler() == "d");
  CHECK(request.node() == "web1");
  REQUIRE(request.states_size() == 2);
  CHECK(request.states(1) == "queued");
  const Outcome json = run({"job", "list", "-format", "json"}, agent.socket());
  contains(json.out, "\"node\": \"web1\"");
  contains(json.out, "\"job\": 12");
  contains(json.out, "\"reason\": \"exit status 3\"");
}

TEST_CASE("one job is shown with all that is known of it") {
  control::Reply reply;
  *reply.mutable_job()->add_jobs() = failed_job();
  FakeAgent agent(always(reply));
  const Outcome outcome = run({"job", "show", "12"}, agent.socket());
  CHECK(outcome.status == 0);
  contains(outcome.out, "job = 12\nstate = failed\nreason = exit status 3\n");
  contains(outcome.out, "attempt = 2\n");
  contains(outcome.out, "took = 1m2s\nexit status = 3\noutput = 6 bytes\n");
  CHECK(agent.requests().at(0).job().number() == 12);
}

TEST_CASE("a log is followed from piece to piece until its job has ended") {
  FakeAgent agent([](const SessionPtr& session, const control::Request& request) {
    control::Reply reply = last_reply(request);
    control::JobReply& piece = *reply.mutable_job();
    control::Job& job = *piece.add_jobs();
    job = failed_job();
    const std::string all = "one\ntwo\n";
    const size_t known = request.job().offset() < 4 ? 4 : all.size();
    if (request.job().offset() < all.size()) job.set_state("running");
    piece.set_offset(request.job().offset());
    piece.set_total(known);
    piece.set_output(all.substr(request.job().offset(), known - request.job().offset()));
    session->send(reply);
  });
  check(run({"job", "logs", "-f", "12"}, agent.socket()), 1, "one\ntwo\n");
  const auto requests = agent.requests();
  REQUIRE(requests.size() == 3);
  CHECK(requests[0].job().wait_ms() > 0);
  CHECK(requests[1].job().offset() == 4);
  CHECK(requests[2].job().offset() == 8);
  // Without -f what there is by now is enough.
  check(run({"job", "logs", "-attempt", "1", "12"}, agent.socket()), 0, "one\n");
  CHECK(agent.requests().back().job().attempt() == 1);
}

TEST_CASE("what of a log is not kept is said") {
  control::Reply reply;
  *reply.mutable_job()->add_jobs() = failed_job();
  reply.mutable_job()->set_offset(100);
  reply.mutable_job()->set_total(103);
  reply.mutable_job()->set_output("end");
  FakeAgent agent(always(reply));
  check(run({"job", "logs", "12"}, agent.socket()), 0, "end",
        "starling: 100 bytes before this are not kept\n");
}

TEST_CASE("jobs are killed, retried and pruned") {
  control::Reply reply;
  reply.mutable_job()->set_node("web1");
  reply.mutable_job()->set_count(4);
  FakeAgent agent(always(reply));
  check(run({"job", "kill", "12"}, agent.socket()), 0, "Job 12 of web1 is told to end\n");
  check(run({"job", "retry", "12"}, agent.socket()), 0, "Job 12 of web1 is queued again\n");
  check(run({"job", "prune", "-older-than", "24h"}, agent.socket()), 0, "Pruned 4 jobs\n");
  const auto requests = agent.requests();
  REQUIRE(requests.size() == 3);
  CHECK(requests[0].job().action() == control::JobRequest::KILL);
  CHECK(requests[1].job().action() == control::JobRequest::RETRY);
  CHECK(requests[2].job().action() == control::JobRequest::PRUNE);
  CHECK(requests[2].job().older_than_ms() == 24U * 3600 * 1000);
}

TEST_CASE("mistakes in a job command are explained before the agent is asked") {
  FakeAgent agent(always({}));
  const auto mistake = [&](const starling::agent::test::Words& words, const std::string& says) {
    const Outcome outcome = run(words, agent.socket());
    CHECK(outcome.status == 1);
    contains(outcome.err, says);
  };
  mistake({"job"}, "say what: list, show, logs, kill, retry or prune");
  mistake({"job", "stop", "1"}, "takes no further arguments");
  mistake({"job", "stop"}, "there is no 'job stop'");
  mistake({"job", "kill"}, "takes the number of one job");
  mistake({"job", "kill", "web"}, "'web' is no number of a job");
  mistake({"job", "list", "-limit", "0"}, "-limit is a number from 1 to 1000");
  mistake({"job", "prune"}, "say what to prune");
  mistake({"job", "prune", "-older-than", "soon"}, "invalid value for -older-than");
  CHECK(agent.requests().empty());
}
