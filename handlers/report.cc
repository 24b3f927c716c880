// SPDX-License-Identifier: Apache-2.0
#include "handlers/report.h"

#include <utility>

#include "handlers/text.h"

namespace starling::handlers {

std::string_view drop_reason_name(DropReason reason) {
  switch (reason) {
    case DropReason::kQueueFull:
      return "the handler's queue is full";
    case DropReason::kMemoryFull:
      return "waiting events hold too much memory";
    case DropReason::kDeadlinePast:
      return "the query was over before the handler's turn";
    case DropReason::kNotWanted:
      return "the query's asker wants no more answers";
    case DropReason::kStopping:
      return "the agent stops";
    case DropReason::kSuperseded:
      return "coalesced: a newer event of the name stands for it";
    case DropReason::kReplaced:
      return "the handler's queue was full: a newer event took its place";
    case DropReason::kKilled:
      return "killed before its turn";
  }
  return "unknown";
}

JobReport make_report(JobName job, const ProcessResult& result, Duration limit, Duration waited) {
  JobReport report;
  report.job = std::move(job);
  report.status = result.status;
  report.waited = waited;
  report.duration = result.duration;
  report.output = result.tail;
  report.output_bytes = result.output_bytes;
  report.ended_ms = result.ended_ms;
  report.began = result.began;
  switch (result.ending) {
    case ProcessEnding::kExited:
      report.ending = result.status == 0 ? JobEnding::kSucceeded : JobEnding::kFailed;
      if (result.status != 0) report.error = "exit status " + std::to_string(result.status);
      break;
    case ProcessEnding::kSignalled:
      report.ending = JobEnding::kFailed;
      report.signalled = true;
      report.error = "killed by signal " + std::to_string(result.status);
      break;
    case ProcessEnding::kTimedOut:
      report.ending = JobEnding::kTimedOut;
      report.error = "timed out after " + format_duration(limit);
      break;
    case ProcessEnding::kTerminated:
      report.ending = JobEnding::kTerminated;
      report.error = "killed: it was told to end";
      break;
    case ProcessEnding::kLost:
      report.ending = JobEnding::kLost;
      report.error = result.error.empty() ? "its supervisor was killed" : result.error;
      break;
    case ProcessEnding::kNotStarted:
      report.ending = JobEnding::kNotStarted;
      report.error = result.error;
      break;
  }
  return report;
}

QueryOutcome make_outcome(const JobReport& report, ProcessResult result, size_t response_limit) {
  QueryOutcome outcome;
  if (report.ending != JobEnding::kSucceeded) {
    outcome.kind = QueryOutcomeKind::kFailed;
    outcome.error = report.error;
    outcome.payload = readable_end(report.output, kMaxErrorOutput);
    if (result.ending == ProcessEnding::kExited) outcome.exit_status = report.status;
  } else if (report.output_bytes > response_limit) {
    outcome.kind = QueryOutcomeKind::kTooLarge;
    outcome.error = "the answer has " + std::to_string(report.output_bytes) +
                    " bytes; the limit is " + std::to_string(response_limit);
  } else if (report.output_bytes > 0) {
    outcome.kind = QueryOutcomeKind::kResponse;
    outcome.payload = std::move(result.head);
  }
  return outcome;
}

}  // namespace starling::handlers
