// SPDX-License-Identifier: Apache-2.0
//
// Process: one run of a command under a supervisor (supervise.h), watched on an Asio loop and never
// blocking it. Event-loop thread only.
//
// - The command has its own process group within a session of its own, default signal handling, an
//   empty signal mask and no file descriptor but 0, 1 and 2.
// - Its standard input is complete before it starts. One that does not read it holds up nobody.
// - Standard output and error are one pipe, as in Serf, so that what is printed to both keeps its
//   order. However much is printed, the agent gets the first and the last bytes only.
// - The run ends when the command exits. What its own children hold open or print later does not
//   count.
// - After the time limit the group gets SIGTERM and, after the grace period, SIGKILL; with it, all
//   that came of the command.
// - It goes on when this process ends. The next one can adopt it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "handlers/ending.h"
#include "handlers/event.h"
#include "handlers/job_file.h"
#include "handlers/spawner.h"
#include "proto/support/result.h"

namespace asio {
class io_context;
}

namespace starling::handlers {

/// What a command is given beside its event; all optional.
struct ProcessSetting {
  std::string user;          ///< name or number; only root can give one
  std::string directory;     ///< working directory
  int nice = 0;              ///< -20 to 19
  unsigned io_priority = 0;  ///< as in ioprio_set(2); 0: unchanged
  int umask = -1;            ///< -1: the agent's

  bool operator==(const ProcessSetting&) const = default;
};

struct ProcessRequest {
  std::vector<std::string> arguments;    ///< what is run; [0] is looked up in its PATH
  std::vector<std::string> environment;  ///< "KEY=value", complete
  std::string input;
  ProcessSetting setting;
  std::string cgroup;  ///< name of a control group to make; empty: none
  Duration timeout = std::chrono::minutes(10);
  Duration grace = std::chrono::seconds(5);  ///< from SIGTERM to SIGKILL
  size_t head_limit = 0;                     ///< bytes kept of the output's begin
  size_t tail_limit = 8192;                  ///< bytes kept of the output's end
};

struct ProcessResult {
  ProcessEnding ending = ProcessEnding::kLost;
  int status = 0;
  Duration duration{};
  std::string head;  ///< empty if it was adopted
  std::string tail;
  uint64_t output_bytes = 0;  ///< all that was printed
  std::string error;          ///< kNotStarted: why
  int64_t ended_ms = 0;       ///< unix milliseconds
  bool began = true;          ///< false, with kLost: the command has certainly not run

  [[nodiscard]] bool succeeded() const { return ending == ProcessEnding::kExited && status == 0; }
};

/// From the file of a run that has ended.
[[nodiscard]] ProcessResult result_of(const JobFile& file, const Ended& ended, size_t tail_limit);

class Process {
 public:
  using Done = std::function<void(ProcessResult)>;

  /// Starts the command under a supervisor of `spawner`. `file`: the job's file, new and locked by
  /// us (empty: the run leaves no trace). `path`: where it is. `done` is called once, later, from
  /// the loop; it may destroy the Process. Errors: kUnavailable, when no process or memory is to be
  /// had.
  static Result<std::unique_ptr<Process>> start(asio::io_context& loop, Spawner& spawner,
                                                const ProcessRequest& request, FileDescriptor file,
                                                std::string path, Done done);
  /// Watches a run that an earlier process started and whose supervisor lives. kNotFound: it has
  /// ended meanwhile (see examine()); kUnavailable.
  static Result<std::unique_ptr<Process>> adopt(asio::io_context& loop, std::string path,
                                                size_t tail_limit, Done done);
  /// Lets the run go on; `done` is not called any more. A supervisor that has not heard of
  /// recorded() makes its file durable by itself.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Ends the run as the time limit would; done follows. Nothing if it is ending already.
  void terminate();
  /// SIGKILL to all of it; done follows.
  void kill();
  /// What done told is kept elsewhere: the supervisor need not wait.
  void recorded();

 private:
  class Run;
  explicit Process(std::shared_ptr<Run> run);

  std::shared_ptr<Run> run_;  // shared with the loop's pending callbacks
};

}  // namespace starling::handlers
