// SPDX-License-Identifier: Apache-2.0
#include "handlers/answer.h"

#include "handlers/output.h"
#include "handlers/report.h"
#include "test/catch.h"

using namespace std::chrono_literals;
using starling::handlers::AnswerCollector;
using starling::handlers::JobEnding;
using starling::handlers::make_outcome;
using starling::handlers::make_report;
using starling::handlers::Output;
using starling::handlers::ProcessEnding;
using starling::handlers::ProcessResult;
using starling::handlers::QueryOutcome;
using starling::handlers::QueryOutcomeKind;

namespace {

const QueryOutcome kNothing{};
const QueryOutcome kFailure{QueryOutcomeKind::kFailed, {}, "exit status 1"};
const QueryOutcome kTooMuch{QueryOutcomeKind::kTooLarge, {}, "too large"};

QueryOutcome response(std::string payload) {
  return {QueryOutcomeKind::kResponse, std::move(payload), {}};
}

ProcessResult ended(ProcessEnding ending, int status, const std::string& output = {}) {
  ProcessResult result;
  result.ending = ending;
  result.status = status;
  result.head = result.tail = output;
  result.output_bytes = output.size();
  return result;
}

}  // namespace

TEST_CASE("a handler that is alone has no name and its answer is the last") {
  AnswerCollector collector({"query=a"});
  const auto told = collector.settle(0, response("x"));
  REQUIRE(told);
  CHECK(told->payload == "x");
  CHECK(told->responder.empty());
  CHECK(told->last);
  CHECK(collector.complete());
}

TEST_CASE("several handlers answer as they come, each under its name") {
  AnswerCollector collector({"query=a", "query=b", "query=c"});
  const auto third = collector.settle(2, response("third"));
  REQUIRE(third);
  CHECK(third->responder == "query=c");
  CHECK(third->position == 2);
  CHECK_FALSE(third->last);
  const auto failed = collector.settle(0, kFailure);
  REQUIRE(failed);
  CHECK(failed->kind == QueryOutcomeKind::kFailed);
  CHECK_FALSE(failed->last);
  CHECK(collector.settled(0));
  CHECK_FALSE(collector.settled(1));
  CHECK(collector.settle(1, kTooMuch)->last);
  CHECK(collector.complete());
}

TEST_CASE("handlers that print nothing are mentioned only to end the answer") {
  AnswerCollector silent({"query=a", "query=b"});
  CHECK_FALSE(silent.settle(0, kNothing));
  const auto nothing = silent.settle(1, kNothing);
  REQUIRE(nothing);
  CHECK(nothing->kind == QueryOutcomeKind::kNoAnswer);
  CHECK(nothing->last);

  AnswerCollector answered({"query=a", "query=b"});
  CHECK_FALSE(answered.settle(1, kNothing));
  CHECK(answered.settle(0, response("x"))->last);
}

TEST_CASE("output keeps its begin and its end") {
  Output output(4, 6);
  for (const char* part : {"ab", "cd", "ef", "g", "hij"}) output.append(part);
  CHECK(output.total() == 10);
  CHECK(output.tail() == "efghij");
  CHECK(output.take_head() == "abcd");
}

TEST_CASE("output's ring is right for every way to cut the same bytes") {
  std::string all;
  for (int i = 0; i < 200; ++i) all += static_cast<char>('a' + i % 26);
  for (size_t step = 1; step <= all.size(); ++step) {
    Output output(0, 17);
    for (size_t at = 0; at < all.size(); at += step) output.append(all.substr(at, step));
    CAPTURE(step);
    CHECK(output.tail() == all.substr(all.size() - 17));
    CHECK(output.take_head().empty());
  }
}

TEST_CASE("output may keep nothing") {
  Output output(0, 0);
  output.append("abc");
  CHECK(output.total() == 3);
  CHECK(output.tail().empty());
}

TEST_CASE("a report says how the run ended") {
  const auto report = [](ProcessEnding ending, int status) {
    return make_report({}, ended(ending, status), 10min, 0s);
  };
  CHECK(report(ProcessEnding::kExited, 0).ending == JobEnding::kSucceeded);
  CHECK(report(ProcessEnding::kExited, 0).error.empty());
  CHECK(report(ProcessEnding::kExited, 3).error == "exit status 3");
  CHECK(report(ProcessEnding::kSignalled, 9).error == "killed by signal 9");
  CHECK(report(ProcessEnding::kSignalled, 9).signalled);
  CHECK(report(ProcessEnding::kTimedOut, 15).error == "timed out after 10m");
  CHECK(report(ProcessEnding::kTimedOut, 0).ending == JobEnding::kTimedOut);
  CHECK(report(ProcessEnding::kTerminated, 15).ending == JobEnding::kTerminated);
}

TEST_CASE("a run's outcome for the asker follows status and size") {
  const auto outcome = [](const ProcessResult& result, size_t limit) {
    return make_outcome(make_report({}, result, 10s, 0s), result, limit);
  };
  CHECK(outcome(ended(ProcessEnding::kExited, 0, "up\n"), 3).payload == "up\n");
  CHECK(outcome(ended(ProcessEnding::kExited, 0, "up\n"), 2).kind == QueryOutcomeKind::kTooLarge);
  CHECK(outcome(ended(ProcessEnding::kExited, 0, "up\n"), 2).error ==
        "the answer has 3 bytes; the limit is 2");
  CHECK(outcome(ended(ProcessEnding::kExited, 0), 2).kind == QueryOutcomeKind::kNoAnswer);
  const QueryOutcome failed = outcome(ended(ProcessEnding::kExited, 3, "no disk\n"), 100);
  CHECK(failed.kind == QueryOutcomeKind::kFailed);
  CHECK(failed.error == "exit status 3");
  CHECK(failed.payload == "no disk");
  CHECK(failed.exit_status == 3);
  CHECK(outcome(ended(ProcessEnding::kTimedOut, 15), 100).error == "timed out after 10s");
}
