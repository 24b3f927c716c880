// SPDX-License-Identifier: Apache-2.0
//
// The SQLite database behind the store: schema, statements, and errors in words. Blocking. One
// thread at a time; it may be another one than the one that opened it.
//
// WAL with synchronous=NORMAL: a commit survives the death of the process at any moment; a power
// cut may take the last ones, but leaves an older state that is whole. A commit that holds a change
// marked `durable` waits for the disk, so that no power cut takes it or what was before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent/store/state.h"
#include "proto/support/result.h"

namespace starling::agent {

/// Bounds of what is kept.
struct DatabaseLimits {
  /// Members that failed or left; the longest unseen go first.
  size_t gone_members = 16'384;
  int64_t gone_member_s = int64_t{30} * 24 * 3600;
  /// Those that have not expired, and of each asker the last one; the oldest go first.
  size_t queries = 16'384;
  /// The file itself, in pages of 4 KiB.
  unsigned pages = 65'536;
};

class Database {
 public:
  /// Opens `path`, or creates it, to be followed by sync_directory(). A damaged file is moved aside
  /// as `path`.corrupt-<n>, and a new one begun; `notes` says so. kConflict: another program holds
  /// it; kInvalid: written by a newer version; kUnavailable: the system refused.
  static Result<std::unique_ptr<Database>> open(const std::string& path,
                                                const DatabaseLimits& limits,
                                                std::vector<std::string>& notes);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Everything. Queries that expired before `unix_now` are left out.
  Result<StoredState> load(int64_t unix_now);

  /// Carries out all changes in one transaction, or none. kUnavailable (disk full, read-only, I/O
  /// error) may pass; kInternal will not.
  /// A StartJob that is refused fails alone: its error is in `outcomes` (one for each of `batch`),
  /// and what else its Changes hold is carried out.
  Result<void> commit(std::span<const Changes> batch, int64_t unix_now,
                      std::vector<Result<void>>& outcomes);

  /// The table of jobs, to be read and pruned between commits.
  Result<std::vector<JobRow>> jobs(const JobQuery& query);
  /// Removes what `retention` does not keep.
  Result<std::vector<JobRun>> prune_jobs(const JobRetention& retention, int64_t now_ms);
  Result<std::vector<JobRun>> remove_jobs(const std::vector<uint64_t>& numbers);
  /// Those of `numbers` that no job has.
  Result<std::vector<uint64_t>> unknown_jobs(std::vector<uint64_t> numbers);

 private:
  class Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace starling::agent
