// SPDX-License-Identifier: Apache-2.0
//
// What `starling supervise` is: a server that forks the supervisor of each job. Started by Spawner
// (spawner.h) only. Linux only.
//
// The server is small, has one thread, and lives as long as its socket's other end. For each packet
// on it, which brings the job's own socket and perhaps its file, it forks. It answers with how many
// it has served. Its end ends no supervisor.
//
// A supervisor runs one command, writes its output and its end into the job's file, and lives as
// long as the command does, whatever becomes of agent and server. It has a session of its own and
// adopts what the command leaves behind (PR_SET_CHILD_SUBREAPER). The command is killed by the
// kernel if the supervisor dies.
//
// A supervisor ends its command (SIGTERM to its group, SIGKILL after the grace period and to all
// that came of it) on SIGTERM or kTerminate from the agent, and kills it at once on SIGUSR1 or
// kKill.
#pragma once

#include <cstdint>
#include <string>

#include "handlers/spawn.h"

namespace starling::handlers {

/// The descriptor that the server inherits: its end of a connection of packets.
inline constexpr int kServerSocket = 3;
/// How many jobs the server has served; its packets to the agent.
using ServedCount = uint64_t;

// Bytes from the agent to a supervisor, after its order:
inline constexpr char kTerminate = 't';
inline constexpr char kKill = 'k';
inline constexpr char kRecorded = 'r';  ///< what was reported is kept: the supervisor may go

/// The server, until the agent closes its end. The exit status: 0; 2 when it was not started by an
/// agent.
int run_supervisor();

/// The supervisor of one job, in a process of its own, until the job has ended and the agent knows,
/// or is gone. `file`: none, nothing is recorded. `boot`: boot_id(). SIGTERM, SIGINT, SIGHUP and
/// SIGUSR1 are blocked. The exit status of the process.
int supervise(FileDescriptor agent, FileDescriptor file, const std::string& boot);

}  // namespace starling::handlers
