// SPDX-License-Identifier: Apache-2.0
//
// From jobs to processes: leave to run, start, end; and what an earlier process left.
#include <algorithm>
#include <utility>

#include "handlers/dispatcher_impl.h"
#include "handlers/payload.h"
#include "handlers/report.h"
#include "proto/support/unix_time.h"

namespace starling::handlers {
namespace {

// Starting a process holds the loop for a tenth of a millisecond; after so many, others have their
// turn.
constexpr int kStartsPerTurn = 4;
// Leave is asked for ahead of time for as many jobs as will start within this, so that the disk's
// answer is there when their turn comes: all that wait for it share one.
constexpr auto kClaimAhead = std::chrono::milliseconds(20);
constexpr int64_t kMostAhead = 64;
// Attempts at a job whose supervisor dies, which is nobody's policy.
constexpr unsigned kMostLostStarts = 3;

TimePoint clock_now() {
  return TimePoint::clock::now();
}

}  // namespace

void Dispatcher::Impl::pump_later() {
  if (pump_posted_) return;
  pump_posted_ = true;
  later([this] {
    pump_posted_ = false;
    pump();
  });
}

void Dispatcher::Impl::pump() {
  for (int started = 0; started < kStartsPerTurn; ++started) {
    if (stopping_) return;
    const std::optional<JobId> id = schedule_.next();
    if (!id) return claim_ahead();
    begin(*id);
  }
  pump_later();
}

void Dispatcher::Impl::begin(JobId id) {
  Job& job = jobs_.at(id);
  const Held& held = held_.at(job.event);
  const TimePoint now = clock_now();
  if (job.query != 0 && held.event.deadline <= now) {
    const JobName name = job.name;
    const QueryKey query = job.query;
    const size_t entry = job.entry;
    const EventKey event = job.event;
    const Duration waited = now - job.submitted;
    end_job(id);
    drop(name, DropReason::kDeadlinePast);
    release_event(event);
    answer_entry(
        query, entry,
        {QueryOutcomeKind::kBusy,
         {},
         "the handler's turn came after " + format_duration(waited) + ", when the query was over"});
    return;
  }
  job.its_turn = true;
  std::deque<JobId>& unclaimed = handlers_.at(job.handler).unclaimed;
  while (!unclaimed.empty()) {
    const auto first = jobs_.find(unclaimed.front());
    if (first != jobs_.end() && !first->second.its_turn) break;
    unclaimed.pop_front();
  }
  if (job.claim == Claim::kNone) return claim(id);
  if (job.claim == Claim::kGranted) launch(id);
}

void Dispatcher::Impl::claim(JobId id) {
  Job& job = jobs_.at(id);
  job.claim = Claim::kAsked;
  if (!options_.hooks.starting) {
    JobPermit permit;
    permit.run = true;
    return proceed(id, std::move(permit));
  }
  spawner_.prepare();  // while the disk takes its time
  job.name.log_bytes = handlers_.at(job.handler).spec.limits.output;
  const JobName name = job.name;
  options_.hooks.starting(name, held_.at(job.event).event,
                          [this, id, alive = std::weak_ptr<bool>(alive_)](JobPermit permit) {
                            if (alive.lock()) proceed(id, std::move(permit));
                          });
}

void Dispatcher::Impl::claim_ahead() {
  for (const HandlerId handler_id : active_) {
    Handler& handler = handlers_.at(handler_id);
    if (handler.usual <= Duration{0}) continue;
    auto left = std::min<int64_t>(
        kClaimAhead * static_cast<int64_t>(handler.spec.limits.concurrency) / handler.usual,
        kMostAhead);
    std::vector<JobId> ask;
    for (auto waiting = handler.unclaimed.begin();
         waiting != handler.unclaimed.end() && left > 0;) {
      const auto job = jobs_.find(*waiting);
      if (job == jobs_.end() || job->second.its_turn) {
        waiting = handler.unclaimed.erase(waiting);
        continue;
      }
      if (job->second.due != TimePoint::min()) {
        ++waiting;
        continue;
      }
      if (job->second.claim == Claim::kNone) ask.push_back(*waiting);
      ++waiting;
      --left;
    }
    for (const JobId id : ask) {
      if (jobs_.contains(id)) claim(id);
    }
  }
}

/// For those that need not wait for their turn: plan and start are then written down together.
void Dispatcher::Impl::claim_at_once(const std::vector<PlannedJob>& plan) {
  if (stopping_ || schedule_.running() + schedule_.waiting() > options_.max_running / 2) return;
  for (const PlannedJob& planned : plan) {
    const auto number = numbers_.find(planned.job.number);
    if (planned.refused || number == numbers_.end()) continue;
    const JobId id = number->second;
    const Job& job = jobs_.at(id);
    const Handler& handler = handlers_.at(job.handler);
    const size_t before = schedule_.running(job.handler) + schedule_.waiting(job.handler);
    if (job.claim == Claim::kNone && job.due == TimePoint::min() &&
        before <= handler.spec.limits.concurrency) {
      claim(id);
    }
  }
}

void Dispatcher::Impl::proceed(JobId id, JobPermit permit) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;  // taken out of the queue meanwhile
  Job& job = found->second;
  if (job.claim != Claim::kAsked) return;  // a copy of the continuation was called twice
  if (!permit.run) return skip(id);
  job.claim = Claim::kGranted;
  job.permit = std::move(permit);
  // While the agent stops nothing starts: the next one finds that it has not begun.
  if (job.its_turn && !stopping_) launch(id);
}

void Dispatcher::Impl::skip(JobId id) {
  Job& job = jobs_.at(id);
  statistics_.skipped += 1;
  const QueryKey query = job.query;
  const size_t entry = job.entry;
  const EventKey event = job.event;
  if (job.its_turn) {
    end_job(id);
  } else {
    const HandlerId handler = job.handler;
    numbers_.erase(job.name.number);
    delayed_.erase({job.due, id});
    schedule_.cancel(id);
    jobs_.erase(id);
    forget_retired(handler);
  }
  release_event(event);
  if (query != 0) answer_entry(query, entry, {});
}

void Dispatcher::Impl::launch(JobId id) {
  Job& job = jobs_.at(id);
  const Event& event = held_.at(job.event).event;
  const HandlerSpec& spec = handlers_.at(job.handler).spec;
  const TimePoint now = clock_now();
  job.waited = now - job.submitted;
  ProcessRequest request;
  request.arguments = spec.program();
  Environment own = event_environment(event, host_, now);
  own.push_back("STARLING_JOB=" + std::to_string(job.name.number));
  own.push_back("STARLING_ATTEMPT=" + std::to_string(job.name.attempt));
  request.environment =
      spec.policy.environment.empty()
          ? merge_environment(environment_, own)
          : merge_environment(merge_environment(environment_, spec.policy.environment), own);
  request.input = spec.policy.json_input
                      ? event_json(event, host_, job.name.number, job.name.attempt, now)
                      : event_input(event);
  request.setting = spec.policy.setting;
  request.timeout = spec.limits.timeout;
  request.grace = spec.policy.grace;
  request.cgroup = "starling-job-" + std::to_string(job.name.number);
  request.tail_limit = spec.limits.output_tail;
  if (job.query != 0) {
    request.head_limit = options_.response_limit;
    request.tail_limit = std::max(request.tail_limit, kMaxErrorOutput);
  }
  job.limit = spec.limits.timeout;
  JobPermit permit = std::move(job.permit);
  Result<std::unique_ptr<Process>> process =
      Process::start(loop_, spawner_, request, std::move(permit.file), std::move(permit.path),
                     [this, id](ProcessResult result) { process_ended(id, std::move(result)); });
  if (!process) return not_started(id, process.error().message);
  statistics_.started += 1;
  jobs_.at(id).process = *std::move(process);
}

void Dispatcher::Impl::process_ended(JobId id, ProcessResult result) {
  Job& job = jobs_.at(id);
  const QueryKey query = job.query;
  const size_t entry = job.entry;
  Handler& handler = handlers_.at(job.handler);
  handler.usual =
      handler.usual == Duration{} ? result.duration : (handler.usual * 7 + result.duration) / 8;
  JobReport report = make_report(job.name, result, job.limit, job.waited);
  const TimePoint again = retry_at(job, report);
  const EventKey event = job.event;
  const HandlerId handler_id = job.handler;
  std::unique_ptr<Process> process = std::move(job.process);
  if (again != kNever) {
    report.retry_ms =
        unix_milliseconds() +
        std::chrono::duration_cast<std::chrono::milliseconds>(again - clock_now()).count();
    if (event != 0) held_.at(event).jobs += 1;
  }
  end_job(id);
  if (event != 0) release_event(event);
  count(report);
  tell_finished(report, std::move(process));
  if (again != kNever) try_again(report.job, handler_id, event, again);
  if (query != 0) {
    answer_entry(query, entry, make_outcome(report, std::move(result), options_.response_limit));
  }
  check_stopped();
}

/// When the job is to be tried again; kNever: not.
TimePoint Dispatcher::Impl::retry_at(const Job& job, const JobReport& report) const {
  if (stopping_ || job.query != 0 || job.event == 0 || !schedule_.knows(job.handler)) return kNever;
  // Its handler is gone with the last reload: no further attempt could be restored.
  if (std::ranges::find(active_, job.handler) == active_.end()) return kNever;
  const HandlerPolicy& policy = handlers_.at(job.handler).spec.policy;
  const unsigned next = job.name.attempt + 1;
  bool again = false;
  switch (report.ending) {
    case JobEnding::kFailed:
    case JobEnding::kTimedOut:
    case JobEnding::kNotStarted:
      again = job.name.attempt <= policy.retries;
      break;
    case JobEnding::kLost:
      // What has certainly not run may run whatever the policy; but not for ever.
      again = !report.began ? job.name.attempt <= std::max(policy.retries, kMostLostStarts)
                            : policy.idempotent &&
                                  job.name.attempt <= std::max(policy.retries, kMostLostStarts);
      break;
    case JobEnding::kSucceeded:
    case JobEnding::kTerminated:
      break;
  }
  return again ? clock_now() + backoff_of(policy, next) : kNever;
}

void Dispatcher::Impl::try_again(JobName name, HandlerId handler, EventKey event, TimePoint due) {
  statistics_.retried += 1;
  name.attempt += 1;
  const JobId id = *schedule_.hold(handler, JobClass::kEvent, false);
  numbers_[name.number] = id;
  jobs_.emplace(
      id,
      Job{.handler = handler, .name = std::move(name), .event = event, .submitted = clock_now()});
  handlers_.at(handler).unclaimed.push_back(id);
  delay(id, due);
}

void Dispatcher::Impl::delay(JobId id, TimePoint due) {
  jobs_.at(id).due = due;
  delayed_.emplace(due, id);
  arm_timer();
}

void Dispatcher::Impl::release_due(TimePoint now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const JobId id = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    jobs_.at(id).due = TimePoint::min();
    schedule_.release(id);
    pump_later();
  }
}

void Dispatcher::Impl::tell_finished(const JobReport& report, std::unique_ptr<Process> process) {
  if (!options_.hooks.finished) {
    if (process) process->recorded();
    return;
  }
  const uint64_t number = report.job.number;
  if (process) unrecorded_[number] = std::move(process);
  options_.hooks.finished(report, [this, number, alive = std::weak_ptr<bool>(alive_)](bool kept) {
    if (!alive.lock()) return;
    auto process_kept = unrecorded_.extract(number);
    if (kept && !process_kept.empty()) process_kept.mapped()->recorded();
  });
}

void Dispatcher::Impl::not_started(JobId id, std::string error) {
  Job& job = jobs_.at(id);
  const QueryKey query = job.query;
  const size_t entry = job.entry;
  const EventKey event = job.event;
  const HandlerId handler = job.handler;
  JobReport report;
  report.job = job.name;
  report.waited = clock_now() - job.submitted;
  report.error = std::move(error);
  report.ended_ms = unix_milliseconds();
  report.began = false;
  const TimePoint again = retry_at(job, report);
  if (again != kNever) {
    report.retry_ms =
        unix_milliseconds() +
        std::chrono::duration_cast<std::chrono::milliseconds>(again - clock_now()).count();
    held_.at(event).jobs += 1;
  }
  end_job(id);
  if (event != 0) release_event(event);
  count(report);
  tell_finished(report, nullptr);
  if (again != kNever) try_again(report.job, handler, event, again);
  answer_entry(query, entry, {QueryOutcomeKind::kFailed, {}, report.error});
}

void Dispatcher::Impl::end_job(JobId id) {
  const auto found = jobs_.find(id);
  const HandlerId handler = found->second.handler;
  numbers_.erase(found->second.name.number);
  jobs_.erase(found);
  schedule_.finished(id);
  forget_retired(handler);
  pump_later();
}

void Dispatcher::Impl::count(const JobReport& report) {
  switch (report.ending) {
    case JobEnding::kSucceeded:
      statistics_.succeeded += 1;
      break;
    case JobEnding::kFailed:
      statistics_.failed += 1;
      break;
    case JobEnding::kTimedOut:
      statistics_.timed_out += 1;
      break;
    case JobEnding::kTerminated:
      statistics_.terminated += 1;
      break;
    case JobEnding::kNotStarted:
      statistics_.not_started += 1;
      break;
    case JobEnding::kLost:
      statistics_.lost += 1;
      break;
  }
}

// --- what an earlier process left ---

bool Dispatcher::Impl::restore(JobName name, Event event) {
  const std::optional<HandlerId> handler = find_handler(name.handler);
  if (!handler) return false;
  const EventKey key = ++last_key_;
  const size_t bytes = size_in_memory(event);
  held_bytes_ += bytes;
  held_.emplace(key, Held{std::move(event), bytes, 1});
  const auto wait = std::chrono::milliseconds(name.due_ms - unix_milliseconds());
  const bool later = name.due_ms > 0 && wait.count() > 0;
  const JobId id = later ? *schedule_.hold(*handler, JobClass::kEvent, false)
                         : schedule_.resubmit(*handler, JobClass::kEvent);
  numbers_[name.number] = id;
  jobs_.emplace(
      id,
      Job{.handler = *handler, .name = std::move(name), .event = key, .submitted = clock_now()});
  handlers_.at(*handler).unclaimed.push_back(id);
  if (later) delay(id, clock_now() + std::min<Duration>(wait, kMaxDelay));
  pump_later();
  return true;
}

bool Dispatcher::Impl::may_repeat(const std::string& name) {
  const std::optional<HandlerId> handler = find_handler(name);
  return handler && handlers_.at(*handler).spec.policy.idempotent;
}

Result<void> Dispatcher::Impl::adopt(JobName name, bool for_query, Event event,
                                     const std::string& path) {
  std::optional<HandlerId> handler = find_handler(name.handler);
  const bool known = handler.has_value();
  if (!known) {
    // Its handler is not configured any more: it runs to its end in a place of its own.
    handler = schedule_.add_handler(1, 1);
    handlers_[*handler] = {};
  }
  const JobId id = schedule_.adopt(*handler, for_query ? JobClass::kQuery : JobClass::kEvent);
  if (!known) schedule_.retire_handler(*handler);
  Job job{.handler = *handler, .name = std::move(name), .event = 0, .submitted = clock_now()};
  job.its_turn = true;
  job.claim = Claim::kGranted;
  job.name.log_bytes = handlers_.at(*handler).spec.limits.output;
  job.limit = handlers_.at(*handler).spec.limits.timeout;
  auto process =
      Process::adopt(loop_, path, handlers_.at(*handler).spec.limits.output_tail,
                     [this, id](ProcessResult result) { process_ended(id, std::move(result)); });
  if (!process) {
    schedule_.finished(id);
    forget_retired(*handler);
    return tl::unexpected(process.error());
  }
  statistics_.adopted += 1;
  if (!for_query) {
    job.event = ++last_key_;
    const size_t bytes = size_in_memory(event);
    held_bytes_ += bytes;
    held_.emplace(job.event, Held{std::move(event), bytes, 1});
  }
  job.process = *std::move(process);
  numbers_[job.name.number] = id;
  jobs_.emplace(id, std::move(job));
  return {};
}

bool Dispatcher::Impl::kill_job(uint64_t number) {
  const auto found = numbers_.find(number);
  if (found == numbers_.end()) return false;
  const JobId id = found->second;
  Job& job = jobs_.at(id);
  if (job.process) {
    job.process->terminate();
    return true;
  }
  if (!schedule_.cancel(id)) return false;  // it is about to start
  const QueryKey query = job.query;
  const size_t entry = job.entry;
  cancel_waiting(id, DropReason::kKilled);
  if (query != 0) {
    answer_entry(query, entry, {QueryOutcomeKind::kFailed, {}, "killed before its turn"});
  }
  return true;
}

void Dispatcher::Impl::cancel_waiting(JobId id, DropReason reason) {
  const auto job = jobs_.find(id);
  const JobName name = std::move(job->second.name);
  const EventKey event = job->second.event;
  const HandlerId handler = job->second.handler;
  numbers_.erase(name.number);
  delayed_.erase({job->second.due, id});
  jobs_.erase(job);
  forget_retired(handler);
  drop(name, reason);
  release_event(event);
}

}  // namespace starling::handlers
