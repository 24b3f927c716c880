// SPDX-License-Identifier: Apache-2.0
//
// The ledger of jobs as values: what is kept about each run of a handler, and the changes to it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/support/result.h"

namespace starling::agent {

/// The numbers are on disk: they keep their meaning.
enum class JobState : uint8_t {
  kQueued = 0,
  kRunning = 1,
  kSucceeded = 2,    ///< exit status 0
  kFailed = 3,       ///< another, a signal, or it could not be started
  kTimedOut = 4,     ///< ended after its time limit
  kKilled = 5,       ///< ended because somebody said so
  kInterrupted = 6,  ///< the host or the supervisor died: how it ended, nobody knows
  kSkipped = 7,      ///< never ran: coalesced or refused, `reason` says why
};
/// "queued", "running", "succeeded", "failed", "timed-out", "killed", "interrupted", "skipped".
[[nodiscard]] std::string_view job_state_name(JobState state);
[[nodiscard]] constexpr bool is_final(JobState state) {
  return state >= JobState::kSucceeded;
}

/// One job. `cause` and `handler` together are in the ledger once.
struct JobRow {
  uint64_t number = 0;  ///< never used twice on this host
  unsigned attempt = 1;
  std::string cause;  ///< id of the event
  std::string handler;
  std::string event;  ///< "user:deploy"
  JobState state = JobState::kQueued;
  std::string reason;     ///< "exit status 3", "the handler's queue is full"
  bool answers = false;   ///< somebody waits for its answer: of no use to a later process
  std::string boot;       ///< boot id of the host when it started
  int64_t queued_ms = 0;  ///< unix milliseconds; 0: not yet
  int64_t started_ms = 0;
  int64_t ended_ms = 0;
  int status = 0;          ///< exit status, or the signal
  bool signalled = false;  ///< `status` is a signal
  uint64_t output_bytes = 0;
  uint64_t log_bytes = 0;  ///< of it, those that are kept
  std::string record;      ///< the event, encoded, to run it again; may be empty
};

// --- changes: each replaces the whole row of its number, but an empty record keeps the old one ---

/// Planned or skipped. Ignored when the ledger has its number, or its cause and handler.
struct PutJob {
  JobRow row;
};
/// About to run. Refused (kConflict) when it has run already in this attempt, or another job of
/// its cause and handler is in the ledger. `prepare` runs on the store's thread before the commit;
/// when it fails, so does the change, with its error.
struct StartJob {
  JobRow row;
  std::function<Result<void>()> prepare;
  /// Also after a power cut: the commit waits for the disk.
  bool durable = false;
};
/// Ended, or queued again for its next attempt.
struct EndJob {
  JobRow row;
  bool durable = false;
};

// --- reading ---

/// Which jobs, the newest first.
struct JobQuery {
  uint64_t number = 0;                ///< only this one; 0: any
  uint64_t below = 0;                 ///< only with smaller numbers; 0: all
  std::string cause = {};             ///< only of this event; empty: any
  std::string handler = {};           ///< only whose handler or event holds this text; empty: any
  std::vector<JobState> states = {};  ///< only these; empty: all
  size_t limit = 100;
};

/// What is kept of jobs that have ended. What is over a bound goes, the oldest first.
struct JobRetention {
  size_t count = 10'000;
  int64_t age_ms = int64_t{7} * 24 * 3600 * 1000;
  uint64_t log_bytes = uint64_t{256} << 20;    ///< their logs together
  uint64_t record_bytes = uint64_t{64} << 20;  ///< their events together
};

/// Number and attempt: the name of a run's file.
using JobRun = std::pair<uint64_t, unsigned>;

}  // namespace starling::agent
