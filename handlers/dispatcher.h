// SPDX-License-Identifier: Apache-2.0
//
// Dispatcher: what this host does about events. It coalesces them, finds the handlers that match,
// queues a job for each, runs the jobs under supervisors (process.h), and hands on what those for a
// query answer.
//
// Event-loop thread only; no call blocks or starts a process itself: that happens in later turns
// of the loop, a few at a time. No hook is called after the Dispatcher is destroyed, and calls to
// a continuation it gave away then do nothing. What runs when it is destroyed goes on.
//
// It keeps nothing: who must know later what was planned, started and ended writes it down in the
// hooks, and gives it back with restore() and adopt().
//
// Every queue is bounded: jobs per handler (HandlerLimits::queue), processes and bytes of waiting
// events (DispatcherOptions), events being coalesced (coalesce.h), queries (kMaxQueries). What is
// refused is counted in DispatcherStatistics and told to the hook `dropped`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "handlers/answer.h"
#include "handlers/coalesce.h"
#include "handlers/event.h"
#include "handlers/process.h"
#include "handlers/spawn.h"
#include "handlers/spec.h"

namespace asio {
class io_context;
}

namespace starling::handlers {

/// One run of one handler entry for one event. `handler` and `event_id` name a job for ever;
/// `number` does so on this host.
struct JobName {
  uint64_t number = 0;
  unsigned attempt = 1;
  /// "user:deploy=/etc/on.sh"; the second such entry of the configuration ends in "#2".
  std::string handler;
  std::string event_id;
  std::string event;                   ///< describe(): "user:deploy", for logs
  int64_t due_ms = 0;                  ///< unix milliseconds: not before; 0: at once
  size_t log_bytes = size_t{1} << 20;  ///< kept of its output, the last
};

enum class JobEnding : uint8_t {
  kSucceeded,   ///< exit status 0
  kFailed,      ///< another exit status, or killed by a signal
  kTimedOut,    ///< killed after its time limit
  kTerminated,  ///< ended because somebody, or the agent that stops, said so
  kNotStarted,  ///< the system had no process for it, or its setting was wrong
  kLost,        ///< its supervisor died: how it ended, nobody knows
};

/// One run, for logs and records.
struct JobReport {
  JobName job;
  JobEnding ending = JobEnding::kNotStarted;
  int status = 0;          ///< exit status, or the signal
  bool signalled = false;  ///< `status` is a signal
  std::string error;       ///< "exit status 3", "killed by signal 9", "timed out after 10m"; or ""
  Duration waited{};       ///< from the event until the run began
  Duration duration{};     ///< of the run
  std::string output;      ///< the end of its output, raw bytes
  uint64_t output_bytes = 0;  ///< all that it printed
  int64_t ended_ms = 0;       ///< unix milliseconds
  bool began = true;          ///< false: the command has certainly not run
  int64_t retry_ms = 0;       ///< unix milliseconds of the next attempt; 0: this was the last
};

enum class DropReason : uint8_t {
  kQueueFull,     ///< the handler's queue is full
  kMemoryFull,    ///< waiting events hold too many bytes
  kDeadlinePast,  ///< the query was over before the job's turn came
  kNotWanted,     ///< the query's asker had enough answers before the job's turn came
  kStopping,      ///< the agent stops; what is written down is taken up again later
  kSuperseded,    ///< coalesced: a newer event of the name stands for it
  kKilled,        ///< somebody took it out of the queue
  kReplaced,      ///< the queue was full, and a newer event took its place
};
[[nodiscard]] std::string_view drop_reason_name(DropReason reason);

/// What an event came to with one handler entry.
struct PlannedJob {
  JobName job;
  std::optional<DropReason> refused;  ///< none: it waits for its turn
  bool answers = false;               ///< a query's, and somebody waits for what it prints
};

/// How it stands with the event of a plan.
struct PlanState {
  bool last = true;  ///< no further plan of this event will come
  /// Called when the plan is written down (true), or cannot be.
  std::function<void(bool)> written;
};

/// Leave to run.
struct JobPermit {
  bool run = false;     ///< false: it is skipped
  FileDescriptor file;  ///< the job's file, new and locked; none: the run leaves no trace
  std::string path;     ///< of the file
};

/// All optional. A hook may dispatch further events, but not set handlers, shut down or destroy.
struct DispatcherHooks {
  /// A number that no job of this host has had.
  std::function<uint64_t()> number;
  /// Whether this handler (JobName::handler) may run for a user event or query. Asked more than
  /// once; it must not change its mind while an event is being coalesced.
  std::function<bool(const Event& event, const std::string& handler)> permits;
  /// A handler that matches was not permitted. Once for an event.
  std::function<void(const Event& event, const std::string& handler)> not_permitted;
  /// For each event, before any of its jobs starts: all handler entries that match (none: it needs
  /// no keeping). Handlers that coalesce by themselves have plans of their own, later. Of coalesced
  /// user events that a newer one replaced, each job is refused. Not told while the agent stops.
  /// May be called from within dispatch().
  std::function<void(const Event& event, const std::vector<PlannedJob>& jobs, PlanState state)>
      planned;
  /// Asked before a job runs, perhaps some time before. `proceed` is called once, now or later,
  /// from the loop. Whoever must not run a job twice writes it down here.
  std::function<void(const JobName& job, const Event& event,
                     std::function<void(JobPermit)> proceed)>
      starting;
  /// A job that was started, or could not be, has ended. `recorded` is called once, from the loop,
  /// when that is kept, or cannot be (false: the job's file then has to outlive everything).
  std::function<void(const JobReport& report, std::function<void(bool)> recorded)> finished;
  /// A job that was planned will not run.
  std::function<void(const JobName& job, DropReason reason)> dropped;
};

struct DispatcherOptions {
  size_t max_running = 64;  ///< processes at once; a quarter of them for queries only
  size_t max_queued_bytes = size_t{64} << 20;     ///< events that wait
  size_t response_limit = size_t{1} << 20;        ///< bytes of an answer
  Duration kill_grace = std::chrono::seconds(5);  ///< from SIGTERM to SIGKILL
  CoalesceWindow member_window{std::chrono::milliseconds(250), std::chrono::seconds(3)};
  /// Whether members are suspected to have failed; see MemberCoalescer. May be empty.
  MemberCoalescer::MoreComing more_failures;
  CoalesceWindow user_window{std::chrono::seconds(1), std::chrono::seconds(3)};
  /// The program that has `supervise`; the running one.
  std::string supervisor = "/proc/self/exe";
  /// shutdown() ends what runs. Otherwise only jobs for queries, whose askers hear nothing more.
  bool end_jobs_on_stop = false;
  /// Whatever tells this host from others, for splay.
  std::string splay_seed;
  /// Programs in it that are named for an event (`user-deploy`, `query-uptime`, `member-join`,
  /// `user`) are handlers, from the moment that they are there. Empty: none.
  std::string directory;
  HandlerLimits directory_limits;
  /// "KEY=value" for every command, beside the agent's own environment.
  std::vector<std::string> environment;
  DispatcherHooks hooks;
};

struct DispatcherStatistics {
  uint64_t started = 0;
  uint64_t succeeded = 0;
  uint64_t failed = 0;  ///< exit status not 0, or signal
  uint64_t timed_out = 0;
  uint64_t terminated = 0;   ///< ended because somebody said so
  uint64_t lost = 0;         ///< their supervisors died
  uint64_t adopted = 0;      ///< of an earlier process
  uint64_t not_started = 0;  ///< no process to be had
  uint64_t skipped = 0;      ///< by the hook `starting`
  uint64_t dropped_queue_full = 0;
  uint64_t dropped_memory_full = 0;
  uint64_t dropped_deadline_past = 0;
  uint64_t dropped_not_wanted = 0;
  uint64_t dropped_stopping = 0;
  uint64_t dropped_killed = 0;
  uint64_t dropped_replaced = 0;
  uint64_t retried = 0;
  uint64_t superseded = 0;       ///< coalesced user events that a newer one replaced
  uint64_t queries_refused = 0;  ///< more than kMaxQueries at once
  size_t running = 0;
  size_t waiting = 0;
};

struct HandlerStatus {
  std::string handler;  ///< HandlerSpec::to_string()
  size_t running = 0;
  size_t waiting = 0;
};

class Dispatcher {
 public:
  /// Queries being answered at once.
  static constexpr size_t kMaxQueries = 4096;
  /// Handlers of the directory that are remembered; at the bound, those that do nothing go.
  static constexpr size_t kMaxDirectoryHandlers = 1024;

  Dispatcher(asio::io_context& loop, DispatcherOptions options);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  /// From now on, these. What runs or waits keeps its command; a handler that stays the same, but
  /// for its limits, keeps its queue.
  void set_handlers(std::vector<HandlerSpec> specs);

  /// Some handler is for this event, permitted or not.
  [[nodiscard]] bool has_handler(const Event& event);
  /// A member or user event. `host` counts for all jobs that start from now on.
  void dispatch(Event event, const Host& host);

  /// `answer` is called later, from the loop, for each handler that has something to say, and
  /// exactly once with QueryOutcome::last, shortly before the query's deadline at the latest
  /// (unless the Dispatcher is destroyed first, or the query cancelled).
  void dispatch_query(Event event, const Host& host, std::function<void(QueryOutcome)> answer);
  /// The asker wants no more: what waits for this query is dropped, what runs goes on to its end,
  /// and nothing is answered any more. Unknown ids are ignored.
  void cancel_query(const std::string& event_id);

  /// The host as jobs that start from now on see it; each event brings it, too.
  void set_host(const Host& host);

  // --- what an earlier process left ---
  /// Queues a job again, whatever the bound of the queue. False: no handler has this name.
  bool restore(JobName job, Event event);
  /// Goes on with a run whose supervisor lives. kNotFound: it has ended meanwhile.
  Result<void> adopt(JobName job, bool for_query, Event event, const std::string& path);
  /// Whether a job of this handler may run again though nobody knows how far it came.
  [[nodiscard]] bool may_repeat(const std::string& handler);

  /// Ends a run (SIGTERM, SIGKILL after its grace), or takes a job out of its queue. False: there
  /// is no such job.
  bool kill_job(uint64_t number);

  /// Takes no more events, forgets what waits, and ends what it should not leave running: SIGTERM,
  /// and SIGKILL after `grace`. `done` is called from the loop when that is gone. Only once.
  void shutdown(Duration grace, std::function<void()> done);

  [[nodiscard]] DispatcherStatistics statistics() const;
  /// The present handlers, in order.
  [[nodiscard]] std::vector<HandlerStatus> handlers() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace starling::handlers
