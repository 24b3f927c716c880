// SPDX-License-Identifier: Apache-2.0
//
// Process: one run of `/bin/sh -c COMMAND` as a child that is watched on an Asio loop and never
// blocks it. Event-loop thread only.
//
// - The child has its own process group, default signal handling, an empty signal mask, no file
//   descriptor but 0, 1 and 2, and this process's working directory.
// - Standard input is a pipe with the given bytes and then its end. A child that does not read it
//   holds up nobody.
// - Standard output and error are one pipe, as in Serf, so that what is printed to both keeps its
//   order. However much the child prints, memory and the loop's time are bounded.
// - The run ends when the child exits. What its own children hold open or print later does not
//   count.
// - After the time limit the group gets SIGTERM and, after the grace period, SIGKILL, and no
//   member of the group survives that.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "handlers/event.h"
#include "proto/support/result.h"

namespace asio {
class io_context;
}

namespace starling::handlers {

struct ProcessRequest {
  std::string command;
  std::vector<std::string> environment;  ///< "KEY=value", complete
  std::string input;
  Duration timeout = std::chrono::minutes(10);
  Duration grace = std::chrono::seconds(5);  ///< from SIGTERM to SIGKILL
  size_t head_limit = 0;                     ///< bytes kept of the output's begin
  size_t tail_limit = 8192;                  ///< bytes kept of the output's end
};

enum class ProcessEnding : uint8_t {
  kExited,      ///< `status` is the exit status
  kSignalled,   ///< `status` is the signal
  kTimedOut,    ///< ended by us, after the time limit
  kTerminated,  ///< ended by us, after terminate()
  kLost,        ///< somebody else took the child's exit status
};

struct ProcessResult {
  ProcessEnding ending = ProcessEnding::kLost;
  int status = 0;
  Duration duration{};
  std::string head;
  std::string tail;
  uint64_t output_bytes = 0;  ///< all that was printed

  [[nodiscard]] bool succeeded() const { return ending == ProcessEnding::kExited && status == 0; }
};

class Process {
 public:
  using Done = std::function<void(ProcessResult)>;

  /// Starts the command. `done` is called once, later, from the loop; it may destroy the Process.
  /// Errors: kUnavailable, when no process, pipe or memory is to be had, or the environment or
  /// command is too large for the system.
  static Result<std::unique_ptr<Process>> start(asio::io_context& loop, ProcessRequest request,
                                                Done done);
  /// Kills the group if the run has not ended; `done` is then not called.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Ends the run as the time limit would; done follows. Nothing if it is ending already.
  void terminate();
  /// SIGKILL to the group, now; done follows, or is called from within.
  void kill();
  [[nodiscard]] pid_t pid() const;

 private:
  class Run;
  explicit Process(std::shared_ptr<Run> run);

  std::shared_ptr<Run> run_;  // shared with the loop's pending callbacks
};

}  // namespace starling::handlers
