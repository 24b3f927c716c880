// SPDX-License-Identifier: Apache-2.0
//
// JobLedger: makes the dispatcher's work durable. It writes each job down before it starts and when
// it has ended, takes up what an earlier process left, and keeps records and logs within bounds.
// Event-loop thread only.
//
// What it guarantees, over `kill -9` of agent, supervisor and command at any moment:
// - A handler starts at most once for an event, unless its policy or an operator asks for a retry.
// - What was accepted is run, or the ledger says why not.
// - No job stays "running" when nothing runs. How it ended is what its file says (job_file.h); if
// it
//   says nothing, the job is "interrupted".
//
// When the disk refuses: jobs of user events wait until they can be written down. Jobs of queries
// and member events, which never come a second time, run without a record; the log says so.
#pragma once

#include <asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/log.h"
#include "agent/store/store.h"
#include "handlers/dispatcher.h"
#include "membership/ids.h"

namespace starling::agent {

struct JobLedgerOptions {
  std::string directory;  ///< of the jobs' files
  JobRetention retention = {};
};

struct JobLedgerStatistics {
  uint64_t unrecorded = 0;  ///< runs without a record
  uint64_t postponed = 0;   ///< starts that had to wait for the disk
  uint64_t pruned = 0;      ///< jobs forgotten
  uint64_t ends_lost = 0;   ///< ends that nobody could write down; the files have them
};

class JobLedger {
 public:
  /// Ends of runs that wait for a disk that refuses.
  static constexpr size_t kMaxWaitingEnds = 65'536;
  /// Events that are remembered for who asks what became of them.
  static constexpr size_t kMaxArrived = 8192;

  /// All outlive it. Makes the directory: kUnavailable.
  static Result<std::unique_ptr<JobLedger>> open(asio::io_context& io, Store& store, Log& log,
                                                 JobLedgerOptions options);

  /// The event is pending in the store. Call before it is dispatched.
  void expect(const membership::MessageId& id);
  /// The event has come, and no handler is for it.
  void note_unwanted(const membership::MessageId& id);
  /// The event has come, and its handlers do not run, and why.
  void refuse(const membership::MessageId& id, std::string reason);
  /// What an earlier process left, to the dispatcher. Once, before any event.
  void resume(handlers::Dispatcher& dispatcher, std::vector<JobRow> unfinished, uint64_t last);

  // For DispatcherHooks:
  uint64_t next_number() { return ++last_number_; }
  void planned(const handlers::Event& event, const std::vector<handlers::PlannedJob>& jobs,
               const handlers::PlanState& state);
  void starting(const handlers::JobName& job, const handlers::Event& event,
                std::function<void(handlers::JobPermit)> proceed);
  void finished(const handlers::JobReport& report, std::function<void(bool)> recorded);
  void dropped(const handlers::JobName& job, handlers::DropReason reason);

  // For the control service. Callbacks run later, from the loop.
  using Listed = std::function<void(Result<std::vector<JobRow>>)>;
  void list(JobQuery query, Listed listed);
  [[nodiscard]] std::string file_of(uint64_t number, unsigned attempt) const;
  /// How it stands with an event's jobs, as far as they are not in the ledger. A list() that is
  /// asked for afterwards has all jobs of an event that is settled.
  struct CauseState {
    bool arrived = false;      ///< this process has had the event
    bool settled = false;      ///< no further job of it will come
    std::string refused = {};  ///< why none will run at all
  };
  [[nodiscard]] CauseState cause_state(const std::string& cause) const;
  /// Runs a job again that has ended and whose event is still kept. kNotFound, kConflict.
  void retry(uint64_t number, std::function<void(Result<JobRow>)> done);
  /// Forgets jobs that have ended: those that `retention` does not keep.
  void prune(JobRetention retention, std::function<void(Result<size_t>)> done);

  [[nodiscard]] size_t pending() const { return pending_.size(); }
  [[nodiscard]] const JobLedgerStatistics& statistics() const { return statistics_; }

 private:
  void arrived(const std::string& cause);
  struct Start;
  struct End {
    JobRow row;
    bool durable = false;
    std::function<void(bool)> recorded;
  };

  JobLedger(asio::io_context& io, Store& store, Log& log, JobLedgerOptions options);

  void try_start(const std::shared_ptr<Start>& start);
  void started(const std::shared_ptr<Start>& start, const Result<void>& result);
  void save_end(End end);
  void retry_soon();
  void retry();
  /// Puts an unfinished row right. False: a supervisor is about to begin, look again.
  bool settle(const JobRow& row);
  void settle_starting();
  void end_row(JobRow row, JobState state, std::string reason);
  void restore(JobRow row, bool requeue);
  void prune_now_and_then();
  void retry_row(JobRow row, const std::function<void(Result<JobRow>)>& done);
  void sweep_files();
  [[nodiscard]] JobRow row_of(const handlers::JobName& job) const;

  asio::io_context& io_;
  Store& store_;
  Log& log_;
  const JobLedgerOptions options_;
  const std::string boot_;
  handlers::Dispatcher* dispatcher_ = nullptr;
  std::unordered_map<std::string, membership::MessageId> pending_;  // by handler event id
  std::unordered_set<std::string> arrived_;                         // the last kMaxArrived
  std::unordered_map<std::string, std::string> refused_;            // of these
  std::deque<std::string> arrived_order_;                           // of these
  std::unordered_set<std::string> unwritten_;  // events whose plans the disk refused
  /// Jobs between plan and end.
  struct Known {
    int64_t queued_ms = 0;
    int64_t started_ms = 0;
    bool replayable = false;  ///< its event might come again after a power cut
    bool answers = false;
  };
  std::unordered_map<uint64_t, Known> known_;
  uint64_t last_number_ = 0;
  std::vector<std::shared_ptr<Start>> postponed_;
  std::deque<End> waiting_ends_;
  std::vector<JobRow> starting_rows_;  ///< adopted soon
  asio::steady_timer retry_timer_;
  asio::steady_timer settle_timer_;
  bool retrying_ = false;
  unsigned until_prune_ = 0;
  JobLedgerStatistics statistics_;
  // What is posted, and callbacks of the store, hold a weak pointer to it.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace starling::agent
