// SPDX-License-Identifier: Apache-2.0
#include "handlers/dispatcher.h"

#include <algorithm>
#include <map>
#include <utility>

#include "handlers/dispatcher_impl.h"
#include "handlers/payload.h"
#include "handlers/report.h"
#include "proto/support/assert.h"

namespace starling::handlers {
namespace {

// Starting a process holds the loop for half a millisecond; after so many, others have their turn.
constexpr int kStartsPerTurn = 2;

TimePoint clock_now() {
  return TimePoint::clock::now();
}

}  // namespace

// --- configuration ---

void Dispatcher::Impl::set_handlers(std::vector<HandlerSpec> specs) {
  std::vector<HandlerId> before = std::exchange(active_, {});
  std::map<std::string, int> names;
  for (HandlerSpec& spec : specs) {
    const auto same = std::ranges::find_if(before, [&](HandlerId id) {
      const HandlerSpec& old = handlers_.at(id).spec;
      return old.filters == spec.filters && old.command == spec.command;
    });
    HandlerId id = 0;
    if (same != before.end()) {
      id = *same;
      before.erase(same);
      schedule_.set_limits(id, spec.limits.concurrency, spec.limits.queue);
    } else {
      id = schedule_.add_handler(spec.limits.concurrency, spec.limits.queue);
    }
    Handler handler{std::move(spec), {}};
    for (size_t filter = 0; filter < handler.spec.filters.size(); ++filter) {
      std::string name = handler.spec.entry_name(filter);
      const int number = ++names[name];
      if (number > 1) name += "#" + std::to_string(number);
      handler.entry_names.push_back(std::move(name));
    }
    handlers_.insert_or_assign(id, std::move(handler));
    active_.push_back(id);
  }
  for (const HandlerId id : before) {
    schedule_.retire_handler(id);
    forget_retired(id);
  }
  pump_later();
}

void Dispatcher::Impl::forget_retired(HandlerId id) {
  if (!schedule_.knows(id)) handlers_.erase(id);
}

// --- events to jobs ---

void Dispatcher::Impl::dispatch(Event event, const Host& host) {
  STARLING_ASSERT(event.type != EventType::kQuery);
  host_ = host;
  if (stopping_) {
    for (const Match& found : match(event)) drop(job_name(found, event), DropReason::kStopping);
    return;
  }
  const TimePoint now = clock_now();
  if (is_member_event(event.type)) {
    deliver(member_coalescer_.offer(now, std::move(event)));
  } else if (event.coalesce) {
    deliver(user_coalescer_.offer(now, std::move(event)));
  } else {
    const std::vector<Match> matches = match(event);
    enqueue(std::move(event), 0, matches);
  }
  arm_timer();
}

void Dispatcher::Impl::deliver(Coalesced coalesced) {
  statistics_.superseded += coalesced.superseded.size();
  for (Event& event : coalesced.events) {
    const std::vector<Match> matches = match(event);
    enqueue(std::move(event), 0, matches);
  }
  if (!options_.hooks.settled) return;
  for (const std::string& id : coalesced.superseded) options_.hooks.settled(id);
}

std::vector<Dispatcher::Impl::Match> Dispatcher::Impl::match(const Event& event) const {
  std::vector<Match> matches;
  for (const HandlerId id : active_) {
    const std::vector<Filter>& filters = handlers_.at(id).spec.filters;
    for (size_t filter = 0; filter < filters.size(); ++filter) {
      if (filters[filter].matches(event)) matches.push_back({id, filter});
    }
  }
  return matches;
}

JobName Dispatcher::Impl::job_name(const Match& found, const Event& event) const {
  return {handlers_.at(found.handler).entry_names[found.filter], event.id, describe(event)};
}

void Dispatcher::Impl::enqueue(Event event, QueryKey query, const std::vector<Match>& matches) {
  if (matches.empty()) return settle(event);
  const EventKey key = ++last_key_;
  const size_t bytes = size_in_memory(event);
  // One job for the time being, so that hooks called below find the event held.
  held_bytes_ += bytes;
  Held& held = held_.emplace(key, Held{std::move(event), bytes, 1}).first->second;
  for (size_t entry = 0; entry < matches.size(); ++entry) {
    JobName name = job_name(matches[entry], held.event);
    const auto refused = admit(matches[entry], key, bytes, name, query, entry);
    if (!refused) continue;
    drop(name, *refused);
    if (query != 0) {
      queries_.at(query).collector.settle(
          entry, {QueryOutcomeKind::kBusy, {}, std::string(drop_reason_name(*refused))});
    }
  }
  release_event(key);
  pump_later();
}

std::optional<DropReason> Dispatcher::Impl::admit(const Match& found, EventKey event, size_t bytes,
                                                  JobName name, QueryKey query, size_t entry) {
  if (held_bytes_ > options_.max_queued_bytes && held_bytes_ > bytes) {
    return DropReason::kMemoryFull;
  }
  const JobClass job_class = query == 0 ? JobClass::kEvent : JobClass::kQuery;
  const std::optional<JobId> id = schedule_.submit(found.handler, job_class);
  if (!id) return DropReason::kQueueFull;
  held_.at(event).jobs += 1;
  jobs_.emplace(*id, Job{.handler = found.handler,
                         .name = std::move(name),
                         .event = event,
                         .submitted = clock_now(),
                         .query = query,
                         .entry = entry,
                         .process = nullptr});
  if (query != 0) queries_.at(query).jobs[entry] = *id;
  return std::nullopt;
}

void Dispatcher::Impl::drop(const JobName& name, DropReason reason) {
  switch (reason) {
    case DropReason::kQueueFull:
      statistics_.dropped_queue_full += 1;
      break;
    case DropReason::kMemoryFull:
      statistics_.dropped_memory_full += 1;
      break;
    case DropReason::kDeadlinePast:
      statistics_.dropped_deadline_past += 1;
      break;
    case DropReason::kStopping:
      statistics_.dropped_stopping += 1;
      break;
  }
  if (options_.hooks.dropped) options_.hooks.dropped(name, reason);
}

void Dispatcher::Impl::settle(const Event& event) {
  if (stopping_ || is_member_event(event.type) || !options_.hooks.settled) return;
  options_.hooks.settled(event.id);
}

void Dispatcher::Impl::release_event(EventKey key) {
  const auto found = held_.find(key);
  found->second.jobs -= 1;
  if (found->second.jobs > 0) return;
  const Event event = std::move(found->second.event);
  held_bytes_ -= found->second.bytes;
  held_.erase(found);
  settle(event);
}

// --- jobs to processes ---

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
    if (!id) return;
    begin(*id);
  }
  pump_later();
}

void Dispatcher::Impl::begin(JobId id) {
  Job& job = jobs_.at(id);
  const Held& held = held_.at(job.event);
  const TimePoint now = clock_now();
  if (held.event.type == EventType::kQuery && held.event.deadline <= now) {
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
  if (!options_.hooks.starting) return proceed(id, true);
  const JobName name = job.name;
  options_.hooks.starting(
      name, [this, id, alive = std::weak_ptr<bool>(alive_), called = false](bool run) mutable {
        if (std::exchange(called, true) || !alive.lock()) return;
        proceed(id, run);
      });
}

void Dispatcher::Impl::proceed(JobId id, bool run) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;  // a copy of the continuation was called twice
  Job& job = found->second;
  if (job.event == 0) return;  // the same
  const EventKey key = std::exchange(job.event, 0);
  if (run && stopping_) {
    release_event(key);
    return not_started(id, "not started because the agent stops");
  }
  if (run) {
    launch(id, held_.at(key).event);
  } else {
    statistics_.skipped += 1;
    const QueryKey query = job.query;
    const size_t entry = job.entry;
    end_job(id);
    answer_entry(query, entry, {});
  }
  release_event(key);
}

void Dispatcher::Impl::launch(JobId id, const Event& event) {
  Job& job = jobs_.at(id);
  const HandlerSpec& spec = handlers_.at(job.handler).spec;
  const TimePoint now = clock_now();
  job.waited = now - job.submitted;
  ProcessRequest request;
  request.command = spec.command;
  request.environment =
      merge_environment(merge_environment(process_environment(), options_.environment),
                        event_environment(event, host_, now));
  request.input = event_input(event);
  request.timeout = spec.limits.timeout;
  request.grace = options_.kill_grace;
  request.tail_limit = spec.limits.output_tail;
  if (job.query != 0) {
    request.head_limit = options_.response_limit;
    request.tail_limit = std::max(request.tail_limit, kMaxErrorOutput);
  }
  job.limit = spec.limits.timeout;
  Result<std::unique_ptr<Process>> process =
      Process::start(loop_, std::move(request),
                     [this, id](ProcessResult result) { process_ended(id, std::move(result)); });
  if (!process) return not_started(id, process.error().message);
  statistics_.started += 1;
  job.process = *std::move(process);
}

void Dispatcher::Impl::process_ended(JobId id, ProcessResult result) {
  Job& job = jobs_.at(id);
  const QueryKey query = job.query;
  const size_t entry = job.entry;
  const JobReport report = make_report(std::move(job.name), result, job.limit, job.waited);
  end_job(id);
  count(report);
  if (options_.hooks.finished) options_.hooks.finished(report);
  if (query != 0) {
    answer_entry(query, entry, make_outcome(report, std::move(result), options_.response_limit));
  }
  check_stopped();
}

void Dispatcher::Impl::not_started(JobId id, std::string error) {
  Job& job = jobs_.at(id);
  const QueryKey query = job.query;
  const size_t entry = job.entry;
  JobReport report;
  report.job = std::move(job.name);
  report.waited = clock_now() - job.submitted;
  report.error = std::move(error);
  end_job(id);
  count(report);
  if (options_.hooks.finished) options_.hooks.finished(report);
  answer_entry(query, entry, {QueryOutcomeKind::kFailed, {}, report.error});
}

void Dispatcher::Impl::end_job(JobId id) {
  const auto found = jobs_.find(id);
  const HandlerId handler = found->second.handler;
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
  }
}

DispatcherStatistics Dispatcher::Impl::statistics() const {
  DispatcherStatistics now = statistics_;
  now.running = schedule_.running();
  now.waiting = schedule_.waiting();
  return now;
}

std::vector<HandlerStatus> Dispatcher::Impl::handlers() const {
  std::vector<HandlerStatus> list;
  list.reserve(active_.size());
  for (const HandlerId id : active_) {
    list.push_back(
        {handlers_.at(id).spec.to_string(), schedule_.running(id), schedule_.waiting(id)});
  }
  return list;
}

Dispatcher::Dispatcher(asio::io_context& loop, DispatcherOptions options)
    : impl_(std::make_unique<Impl>(loop, std::move(options))) {}
Dispatcher::~Dispatcher() = default;

void Dispatcher::set_handlers(std::vector<HandlerSpec> specs) {
  impl_->set_handlers(std::move(specs));
}
void Dispatcher::dispatch(Event event, const Host& host) {
  impl_->dispatch(std::move(event), host);
}
void Dispatcher::dispatch_query(Event event, const Host& host,
                                std::function<void(QueryOutcome)> done) {
  impl_->dispatch_query(std::move(event), host, std::move(done));
}
void Dispatcher::shutdown(Duration grace, std::function<void()> done) {
  impl_->shutdown(grace, std::move(done));
}
DispatcherStatistics Dispatcher::statistics() const {
  return impl_->statistics();
}
std::vector<HandlerStatus> Dispatcher::handlers() const {
  return impl_->handlers();
}

}  // namespace starling::handlers
