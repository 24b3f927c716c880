// SPDX-License-Identifier: Apache-2.0
//
// The command of a job as a child of its supervisor: started, ended with all that came of it.
// One thread; Linux only.
#pragma once

#include <sys/types.h>

#include <string>

#include "handlers/spawn.h"
#include "proto/job.pb.h"
#include "proto/support/result.h"

namespace starling::handlers {

struct StartedCommand {
  pid_t pid = -1;         ///< also the id of its process group
  FileDescriptor output;  ///< read end of its standard output and error, does not block
  /// It was to be run by a shell that would have done nothing but run it (plain_command.h).
  bool without_shell = false;
};

/// Finds out what is the same for all commands, before supervisors are forked.
void prepare_commands();

/// Errors: kUnavailable, in words for the user. Then nothing runs.
Result<StartedCommand> start_command(const job::Order& order);

/// A cgroup v2 group for what the command starts, if the system lets us make one.
class ControlGroup {
 public:
  /// Beside our own; `name` is unique on the host. Nothing, if it cannot be made.
  explicit ControlGroup(const std::string& name);
  /// Removes it if it is empty.
  ~ControlGroup();
  ControlGroup(const ControlGroup&) = delete;
  ControlGroup& operator=(const ControlGroup&) = delete;

  /// Moves this process into it.
  [[nodiscard]] const std::string& processes_file() const { return processes_; }
  void kill() const;

 private:
  std::string path_;
  std::string processes_;
};

/// SIGKILL to all descendants of this process, which must be their subreaper. Reaps those that are
/// no `keep`.
void kill_descendants(pid_t keep);
/// Reaps every child that has ended but `keep`.
void reap_others(pid_t keep);

}  // namespace starling::handlers
