// SPDX-License-Identifier: Apache-2.0
//
// The inside of Dispatcher, for its own .cc files only: dispatcher.cc has the way from events to
// jobs, dispatcher_jobs.cc that from jobs to processes, dispatcher_query.cc that of queries, and
// the clock and the end.
#pragma once

#include <asio.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "handlers/dispatcher.h"
#include "handlers/payload.h"
#include "handlers/schedule.h"
#include "handlers/spawner.h"

namespace starling::handlers {

class Dispatcher::Impl {
 public:
  Impl(asio::io_context& loop, DispatcherOptions options)
      : loop_(loop),
        options_(std::move(options)),
        environment_(merge_environment(process_environment(), options_.environment)),
        spawner_(loop, options_.supervisor),
        schedule_(options_.max_running),
        member_coalescer_(options_.member_window, options_.more_failures),
        user_coalescer_(options_.user_window),
        timer_(loop),
        shutdown_timer_(loop) {}

  void set_handlers(std::vector<HandlerSpec> specs);
  [[nodiscard]] bool has_handler(const Event& event);
  void dispatch(Event event, const Host& host);
  void dispatch_query(Event event, const Host& host, std::function<void(QueryOutcome)> answer);
  void cancel_query(const std::string& event_id);
  void set_host(const Host& host) { host_ = host; }
  bool restore(JobName job, Event event);
  Result<void> adopt(JobName job, bool for_query, Event event, const std::string& path);
  bool may_repeat(const std::string& handler);
  bool kill_job(uint64_t number);
  void shutdown(Duration grace, std::function<void()> done);
  [[nodiscard]] DispatcherStatistics statistics() const;
  [[nodiscard]] std::vector<HandlerStatus> handlers() const;

 private:
  using EventKey = uint64_t;
  using QueryKey = uint64_t;

  struct Handler {
    HandlerSpec spec;
    std::vector<std::string> entry_names;  ///< one per filter
    Duration usual{};                      ///< smoothed length of its runs
    std::deque<JobId> unclaimed{};         ///< waiting jobs for events, oldest first
    // Of handlers that coalesce by themselves:
    std::unique_ptr<MemberCoalescer> members{};
    std::unique_ptr<UserCoalescer> users{};
  };
  /// An event some of whose jobs have not begun.
  struct Held {
    Event event;
    size_t bytes;
    size_t jobs;
  };
  /// Whether the hook `starting` has been asked about a job.
  enum class Claim : uint8_t { kNone, kAsked, kGranted };
  struct Job {
    HandlerId handler;
    JobName name;
    EventKey event;  ///< in held_ until the job has ended for good; 0: unknown
    TimePoint submitted;
    Duration waited{};
    Duration limit{};    ///< the time limit that it was started with
    QueryKey query = 0;  ///< 0: not for a query
    size_t entry = 0;    ///< of the query's collector
    Claim claim = Claim::kNone;
    JobPermit permit{};
    bool its_turn = false;             ///< has a place, waits for the permit
    TimePoint due = TimePoint::min();  ///< in delayed_ until then
    std::unique_ptr<Process> process{};
  };
  struct Query {
    AnswerCollector collector;
    std::string event_id;
    std::vector<JobId> jobs;  ///< by entry; 0: refused
    TimePoint answer_by;
    std::function<void(QueryOutcome)> answer;
    std::vector<QueryOutcome> untold = {};
  };
  struct Match {
    HandlerId handler;
    size_t filter;
  };

  // --- events to jobs ---
  void deliver(Coalesced coalesced);
  void deliver_to(HandlerId handler, Coalesced coalesced);
  void spread(Event event);
  void offer_to_own_windows(const Event& event);
  [[nodiscard]] bool plan_done(const Event& event);
  [[nodiscard]] bool type_matches(HandlerId handler, const Event& event) const;
  [[nodiscard]] TimePoint next_window() const;
  void advance_windows(TimePoint now);
  [[nodiscard]] std::vector<HandlerId> own_windows() const;
  [[nodiscard]] std::optional<HandlerId> find_handler(const std::string& name);
  [[nodiscard]] std::optional<HandlerId> directory_handler(const std::string& file);
  void add_directory_matches(const Event& event, std::vector<Match>& matches);
  void enqueue(Event event, QueryKey query, const std::vector<Match>& matches);
  /// Those that may run.
  [[nodiscard]] std::vector<Match> match(const Event& event);
  [[nodiscard]] std::vector<Match> match_all(const Event& event, bool own_windows_too);
  [[nodiscard]] bool permitted(const Match& match, const Event& event) const;
  /// How many were not permitted.
  size_t tell_not_permitted(const Event& event);
  [[nodiscard]] std::optional<DropReason> admit(const Match& match, EventKey event, size_t bytes,
                                                JobName& name, QueryKey query, size_t entry);
  [[nodiscard]] std::optional<JobId> make_room(HandlerId handler, const std::string& event,
                                               bool delayed);
  void answer_with_job(QueryKey query, size_t entry, uint64_t number, bool written);
  void count_drop(DropReason reason);
  void drop(const JobName& name, DropReason reason);
  void supersede(const Event& event, std::vector<Match> matches);
  void release_event(EventKey key);
  [[nodiscard]] JobName job_name(const Match& match, const Event& event);

  // --- jobs to processes ---
  void pump_later();
  void pump();
  void begin(JobId id);
  void claim(JobId id);
  void claim_ahead();
  void claim_at_once(const std::vector<PlannedJob>& plan);
  void proceed(JobId id, JobPermit permit);
  void skip(JobId id);
  void launch(JobId id);
  void process_ended(JobId id, ProcessResult result);
  void not_started(JobId id, std::string error);
  /// Tells the hook; `process` stays until that is recorded.
  void tell_finished(const JobReport& report, std::unique_ptr<Process> process);
  void cancel_waiting(JobId id, DropReason reason);
  void delay(JobId id, TimePoint due);
  void release_due(TimePoint now);
  [[nodiscard]] TimePoint retry_at(const Job& job, const JobReport& report) const;
  void try_again(JobName name, HandlerId handler, EventKey event, TimePoint due);
  void end_job(JobId id);
  void count(const JobReport& report);

  // --- queries ---
  static void settle_entry(Query& query, size_t entry, QueryOutcome outcome);
  void answer_entry(QueryKey key, size_t entry, QueryOutcome outcome);
  void tell_asker(QueryKey key);
  void out_of_time(QueryKey key);

  // --- time and end ---
  void arm_timer();
  void timer_fired();
  void check_stopped();
  void forget_retired(HandlerId id);
  /// `action`, later, unless this is gone by then.
  template <typename Action>
  void later(Action action);

  asio::io_context& loop_;
  const DispatcherOptions options_;
  const Environment environment_;  ///< of every command
  Spawner spawner_;
  Schedule schedule_;
  MemberCoalescer member_coalescer_;
  UserCoalescer user_coalescer_;
  asio::steady_timer timer_;
  TimePoint timer_at_ = kNever;
  asio::steady_timer shutdown_timer_;

  Host host_;
  std::unordered_map<HandlerId, Handler> handlers_;
  std::vector<HandlerId> active_;  ///< in order of the configuration; the others are retired
  std::unordered_map<std::string, HandlerId> directory_;  ///< by file name
  std::unordered_map<std::string, size_t> plans_;  ///< events with several plans, and how many more
  std::set<std::pair<TimePoint, JobId>> delayed_;
  uint64_t last_key_ = 0;
  size_t held_bytes_ = 0;
  std::unordered_map<EventKey, Held> held_;
  std::unordered_map<JobId, Job> jobs_;
  std::unordered_map<uint64_t, JobId> numbers_;
  uint64_t last_number_ = 0;  ///< when nobody else gives numbers
  std::unordered_map<uint64_t, std::unique_ptr<Process>> unrecorded_;
  std::unordered_map<QueryKey, Query> queries_;
  std::set<std::pair<TimePoint, QueryKey>> query_times_;
  bool pump_posted_ = false;
  bool stopping_ = false;
  std::function<void()> stopped_;
  DispatcherStatistics statistics_;
  // What outlives this in callbacks and continuations holds a weak pointer to it.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

template <typename Action>
void Dispatcher::Impl::later(Action action) {
  asio::post(loop_, [alive = std::weak_ptr<bool>(alive_), action = std::move(action)]() mutable {
    if (alive.lock()) action();
  });
}

}  // namespace starling::handlers
