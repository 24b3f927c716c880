// SPDX-License-Identifier: Apache-2.0
//
// JobFile: the one file of a run. Its supervisor writes here that it begins, what the command
// prints and how it ended, so that this is known whatever becomes of the agent. Blocking; any
// thread; Linux only. The layout is in docs/handlers.md.
//
// Evidence, not belief:
// - The file is locked (flock) from its making until the last process that had it open through the
//   maker's descriptor is gone: the agent that made it, and the supervisor that inherited it.
//   Locked by somebody else means that the supervisor lives.
// - `begun` is written before the command is started. Without it, the command has never run.
// - Both records have room from the beginning, so that a disk that is full by then takes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "handlers/ending.h"
#include "handlers/spawn.h"
#include "proto/support/result.h"

namespace starling::handlers {

/// Bounds of `output`, in bytes.
inline constexpr size_t kMinLog = 1024;
inline constexpr size_t kMaxLog = size_t{1} << 30;

/// Who supervises, since when. `boot` and `start_time` tell whether `pid` is still that process.
struct Begun {
  std::string boot;         ///< the kernel's boot id
  int64_t pid = 0;          ///< of the supervisor
  uint64_t start_time = 0;  ///< of the supervisor, in clock ticks since the boot
  int64_t at_ms = 0;        ///< unix milliseconds
};

struct Ended {
  ProcessEnding ending = ProcessEnding::kLost;
  int status = 0;  ///< exit status, or the signal
  int64_t at_ms = 0;
  int64_t duration_us = 0;
  uint64_t output_bytes = 0;  ///< printed, kept or not
  uint64_t lost_bytes = 0;    ///< of those that should have been kept: the disk refused them
  std::string error;          ///< kNotStarted: why; cut at 200 bytes
};

/// A piece of the log.
struct LogPiece {
  uint64_t offset = 0;  ///< of its first byte in all that was printed
  std::string bytes;
  uint64_t total = 0;  ///< printed up to now
};

class JobFile {
 public:
  /// Makes `path`, mode 0600, with room for the records and a log of the last `log_limit` bytes,
  /// and locks it. kConflict: it exists; kUnavailable.
  static Result<JobFile> create(const std::string& path, size_t log_limit);
  /// For reading. kNotFound; kInvalid: not such a file; kUnavailable.
  static Result<JobFile> open(const std::string& path);
  /// Of an inherited descriptor; kInvalid.
  static Result<JobFile> inherit(FileDescriptor file);

  [[nodiscard]] int descriptor() const { return file_.get(); }
  [[nodiscard]] FileDescriptor release() { return std::move(file_); }

  // --- the supervisor's ---
  Result<void> begin(const Begun& begun);
  /// The command's process, which leads its group.
  void set_command(int64_t pid);
  /// False: some of it could not be written and is counted as lost.
  bool append(std::string_view bytes);
  Result<void> end(Ended ended);
  /// Returns when all is on disk, or could not be.
  void sync();

  // --- everybody's ---
  [[nodiscard]] std::optional<Begun> begun() const;
  [[nodiscard]] std::optional<Ended> ended() const;
  /// 0: none yet.
  [[nodiscard]] int64_t command() const;
  [[nodiscard]] uint64_t total() const;
  /// From `offset`, or the oldest byte that is kept; at most `limit` bytes.
  [[nodiscard]] LogPiece read(uint64_t offset, size_t limit) const;
  /// Whether another process, or another opening in this one, holds it.
  [[nodiscard]] bool locked() const;

 private:
  JobFile(FileDescriptor file, size_t log_limit) : file_(std::move(file)), log_limit_(log_limit) {}

  FileDescriptor file_;
  size_t log_limit_;
  uint64_t total_ = 0;  ///< of the writer
  uint64_t lost_ = 0;
};

/// What the file says about its run.
enum class Evidence : uint8_t {
  kNeverBegan,   ///< no file, or nobody has begun, and nobody will
  kStarting,     ///< a supervisor is there but has not begun: look again soon
  kRunning,      ///< a supervisor is there
  kEnded,        ///< the end is written
  kInterrupted,  ///< begun, not ended, and no supervisor
};
[[nodiscard]] Evidence examine(const std::string& path);

/// The kernel's boot id; empty if it does not tell.
[[nodiscard]] std::string boot_id();
/// In clock ticks since the boot; 0: no such process.
[[nodiscard]] uint64_t start_time_of(int64_t pid);

/// SIGKILL to what is left of a command whose supervisor died in this boot.
void kill_leftovers(const JobFile& file);

}  // namespace starling::handlers
