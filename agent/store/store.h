// SPDX-License-Identifier: Apache-2.0
//
// The store: what must survive a restart and `kill -9`. One data directory:
//
//   lock       held while the agent runs, with its pid
//   node.key   the Ed25519 key pair that the node id follows from
//   epoch      the boot epoch of the last start
//   state.db   members, events, progress, jobs, clocks, live tags (SQLite)
//   jobs/      one file for each run of a job (handlers/job_file.h)
//
// open() and flush() block; everything else returns at once and is called from the event-loop
// thread. Writing happens on a thread of the store's own, which puts all that is waiting into one
// transaction. Callbacks are posted to the io_context, in the order of save().
//
// The queue is bounded; at its bound, and when the disk refuses, changes fail and are counted, and
// the agent goes on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/store/database.h"
#include "agent/store/identity.h"
#include "agent/store/state.h"
#include "proto/support/result.h"

namespace asio {
class io_context;
}

namespace starling::agent {

struct StoreLimits {
  size_t queued_changes = 65'536;
  /// save() calls in one transaction.
  size_t batch = 1024;
  /// Writing works again when it succeeds this long after the last failure: on a full disk, small
  /// changes still succeed between large ones that do not.
  std::chrono::milliseconds recovered_after{10'000};
  DatabaseLimits database;
};

struct StoreStatistics {
  uint64_t commits = 0;  ///< transactions
  uint64_t changes = 0;  ///< written
  uint64_t failed = 0;   ///< not written: the disk refused
  uint64_t dropped = 0;  ///< not written: the queue was full
  size_t queued = 0;     ///< waiting now
};

class Store {
 public:
  /// Called from the loop: an error when writing begins to fail, success when it works again (see
  /// StoreLimits::recovered_after).
  using Health = std::function<void(const Result<void>&)>;
  using Done = std::function<void(const Result<void>&)>;
  /// Unix seconds.
  using Clock = std::function<int64_t()>;

  /// Takes the directory (making it if need be), reads the key, raises the epoch, loads the state.
  /// `io` must outlive the store. Errors are one line with the remedy.
  static Result<std::unique_ptr<Store>> open(asio::io_context& io, const std::string& directory,
                                             Clock clock = system_clock(),
                                             const StoreLimits& limits = {});
  /// Writes what is queued. Callbacks that have not run by then are not called by it.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  static Clock system_clock();
  [[nodiscard]] int64_t unix_now() const;

  [[nodiscard]] const NodeKey& key() const;
  [[nodiscard]] uint32_t epoch() const;
  /// What was loaded; moved out.
  [[nodiscard]] StoredState take_state();
  /// What the operator should know about the opening, one line each.
  [[nodiscard]] const std::vector<std::string>& notes() const;

  void set_health(Health health);

  /// Carries out all changes, or none; `done` tells which. kBusy when the queue is full. A StartJob
  /// that is refused fails alone (see Database::commit()).
  void save(Changes changes, Done done = {});
  /// Runs `work` on the store's thread, after all that was saved before, and `done` from the loop.
  /// False: the queue is full, and neither is called.
  using Work = std::function<void(Database& database)>;
  [[nodiscard]] bool run(Work work, std::function<void()> done);
  /// Blocks until all that was saved has been written, or could not be.
  void flush();

  [[nodiscard]] StoreStatistics statistics() const;

 private:
  class Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace starling::agent
