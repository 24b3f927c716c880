// SPDX-License-Identifier: Apache-2.0
//
// How a run that has ended is told: to the log (JobReport) and to whoever asked (QueryOutcome).
// Pure.
#pragma once

#include <string>

#include "handlers/answer.h"
#include "handlers/dispatcher.h"
#include "handlers/process.h"

namespace starling::handlers {

/// Bytes of a failed handler's output that the asker is sent.
inline constexpr size_t kMaxErrorOutput = 1024;

/// `limit`: the run's time limit, for the words.
[[nodiscard]] JobReport make_report(JobName job, const ProcessResult& result, Duration limit,
                                    Duration waited);

/// What the run makes of a query. `head` of the result is moved out.
[[nodiscard]] QueryOutcome make_outcome(const JobReport& report, ProcessResult result,
                                        size_t response_limit);

}  // namespace starling::handlers
