// SPDX-License-Identifier: Apache-2.0
//
// Follows the jobs of an event or query on all members until they have ended: a table that changes
// on a terminal, a line for each change elsewhere. One thread; waits in the control socket.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "agent/cli/ask.h"
#include "agent/cli/job_board.h"

namespace starling::agent {

struct FollowOptions {
  std::string cause;                                 ///< "user-ID" or "query-ID"
  bool everyone = false;                             ///< the jobs of all members, whoever they are
  Format format = Format::kText;                     ///< JSON: nothing is printed
  std::optional<std::chrono::milliseconds> timeout;  ///< none: until all have ended
};

/// Asks for the jobs on the board until all have ended. False, with the reason on stderr, when the
/// agent cannot be asked any longer; what is still open is then given up.
bool follow_jobs(const Invocation& invocation, Context& context, const FollowOptions& options,
                 JobBoard& board);

/// -wait-timeout; none, with the error reported, when it makes no sense. Empty: not given.
std::optional<std::optional<std::chrono::milliseconds>> read_wait_timeout(
    const Invocation& invocation, Context& context);

}  // namespace starling::agent
