// SPDX-License-Identifier: Apache-2.0
//
// The supervisor of one job: a process of its own, `starling supervise`, that runs one command,
// writes its output and its end into the job's file, and lives as long as the command does,
// whatever becomes of the agent. Started by Process (process.h) only. Linux only.
//
// It has a session of its own and adopts what the command leaves behind (PR_SET_CHILD_SUBREAPER).
// The command is killed by the kernel if the supervisor dies.
//
// Signals: SIGTERM ends the command (SIGTERM to its group, SIGKILL after the grace period and to
// all that came of it); SIGUSR1 kills it at once.
#pragma once

namespace starling::handlers {

/// Descriptors that a supervisor inherits: a stream socket to the agent, and the job's file
/// (closed: none, nothing is recorded).
inline constexpr int kSupervisorSocket = 3;
inline constexpr int kSupervisorFile = 4;

/// Until the job has ended and the agent knows, or is gone. The exit status: 0; 2 when it was not
/// started by an agent.
int run_supervisor();

}  // namespace starling::handlers
