// SPDX-License-Identifier: Apache-2.0
//
// Spawner: the agent's side of the server that forks supervisors (supervise.h). To fork a small
// process costs a tenth of what it costs to start the agent's program anew for each job.
// Event-loop thread only.
//
// The server is started when it is first needed and ended after a minute without jobs. One that is
// gone is replaced by the next job; so is one that does nothing for seconds. A job that was with
// it then has not begun: its socket closes without a word. The end of a Spawner ends the server
// once that has served what it has, and no job.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "handlers/spawn.h"
#include "proto/support/result.h"

namespace asio {
class io_context;
}

namespace starling::handlers {

struct SpawnerLimits {
  /// Without a job for so long, the server ends.
  std::chrono::milliseconds idle{60'000};
  /// A server that has not served a job for so long, though there is one, is killed.
  std::chrono::milliseconds stuck{6'000};
};

/// Shared by a server's jobs.
struct SpawnerLease {
  /// A job was lost before it began: the server is dying, though that may not be seen yet.
  bool lost = false;
};

class Spawner {
 public:
  /// `program` has `supervise`. `loop` outlives this.
  Spawner(asio::io_context& loop, std::string program, SpawnerLimits limits = {});
  ~Spawner();
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  /// A job may come soon: starts the server if there is none. What fails, fails again with it.
  void prepare();

  /// A supervisor that will come, and nobody's claim that the server need not end.
  struct Supervisor {
    FileDescriptor socket;                ///< to it; closes when it is gone. Does not block
    std::shared_ptr<SpawnerLease> lease;  ///< while the job may run
  };
  /// Asks for a supervisor. `file`: a job's file, which it inherits; -1: none. Errors:
  /// kUnavailable. Then none will come.
  Result<Supervisor> start(int file);

  /// Of the server; -1: there is none.
  [[nodiscard]] int server_pid() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with the loop's pending callbacks
};

}  // namespace starling::handlers
