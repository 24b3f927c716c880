// SPDX-License-Identifier: Apache-2.0
#include "handlers/dispatcher.h"

#include <algorithm>
#include <map>
#include <utility>

#include "handlers/dispatcher_impl.h"
#include "proto/support/assert.h"

namespace starling::handlers {
namespace {

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
    Handler handler;
    if (const auto old = handlers_.find(id); old != handlers_.end()) {
      handler.usual = old->second.usual;
      handler.unclaimed = std::move(old->second.unclaimed);
    }
    handler.spec = std::move(spec);
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
    statistics_.dropped_stopping += match(event).size();
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
  for (const Event& event : coalesced.superseded) supersede(event);
  for (Event& event : coalesced.events) {
    const std::vector<Match> matches = match(event);
    enqueue(std::move(event), 0, matches);
  }
}

void Dispatcher::Impl::supersede(const Event& event) {
  if (!options_.hooks.planned) return;
  std::vector<PlannedJob> plan;
  for (const Match& found : match(event)) {
    plan.push_back({job_name(found, event), DropReason::kSuperseded});
  }
  options_.hooks.planned(event, plan);
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

JobName Dispatcher::Impl::job_name(const Match& found, const Event& event) {
  JobName name;
  name.number = options_.hooks.number ? options_.hooks.number() : ++last_number_;
  name.handler = handlers_.at(found.handler).entry_names[found.filter];
  name.event_id = event.id;
  name.event = describe(event);
  return name;
}

void Dispatcher::Impl::enqueue(Event event, QueryKey query, const std::vector<Match>& matches) {
  const EventKey key = ++last_key_;
  const size_t bytes = size_in_memory(event);
  // One job for the time being, so that hooks called below find the event held.
  held_bytes_ += bytes;
  Held& held = held_.emplace(key, Held{std::move(event), bytes, 1}).first->second;
  std::vector<PlannedJob> plan;
  plan.reserve(matches.size());
  for (size_t entry = 0; entry < matches.size(); ++entry) {
    JobName name = job_name(matches[entry], held.event);
    const auto refused = admit(matches[entry], key, bytes, name, query, entry);
    if (refused) count_drop(*refused);
    if (refused && query != 0) {
      queries_.at(query).collector.settle(
          entry, {QueryOutcomeKind::kBusy, {}, std::string(drop_reason_name(*refused))});
    }
    plan.push_back({std::move(name), refused});
  }
  if (options_.hooks.planned) options_.hooks.planned(held.event, plan);
  release_event(key);
  pump_later();
}

std::optional<DropReason> Dispatcher::Impl::admit(const Match& found, EventKey event, size_t bytes,
                                                  const JobName& name, QueryKey query,
                                                  size_t entry) {
  if (held_bytes_ > options_.max_queued_bytes && held_bytes_ > bytes) {
    return DropReason::kMemoryFull;
  }
  const JobClass job_class = query == 0 ? JobClass::kEvent : JobClass::kQuery;
  const std::optional<JobId> id = schedule_.submit(found.handler, job_class);
  if (!id) return DropReason::kQueueFull;
  held_.at(event).jobs += 1;
  Job job{.handler = found.handler, .name = name, .event = event, .submitted = clock_now()};
  job.query = query;
  job.entry = entry;
  jobs_.emplace(*id, std::move(job));
  numbers_[name.number] = *id;
  if (query != 0) {
    queries_.at(query).jobs[entry] = *id;
  } else {
    handlers_.at(found.handler).unclaimed.push_back(*id);
  }
  return std::nullopt;
}

void Dispatcher::Impl::count_drop(DropReason reason) {
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
    case DropReason::kKilled:
      statistics_.dropped_killed += 1;
      break;
    case DropReason::kSuperseded:
      break;  // counted by the event
  }
}

void Dispatcher::Impl::drop(const JobName& name, DropReason reason) {
  count_drop(reason);
  if (options_.hooks.dropped) options_.hooks.dropped(name, reason);
}

void Dispatcher::Impl::release_event(EventKey key) {
  const auto found = held_.find(key);
  found->second.jobs -= 1;
  if (found->second.jobs > 0) return;
  held_bytes_ -= found->second.bytes;
  held_.erase(found);
}

// --- the door ---

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
void Dispatcher::set_host(const Host& host) {
  impl_->set_host(host);
}
bool Dispatcher::restore(JobName job, Event event) {
  return impl_->restore(std::move(job), std::move(event));
}
Result<void> Dispatcher::adopt(JobName job, bool for_query, const std::string& path) {
  return impl_->adopt(std::move(job), for_query, path);
}
bool Dispatcher::kill_job(uint64_t number) {
  return impl_->kill_job(number);
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
