// SPDX-License-Identifier: Apache-2.0
#include "handlers/dispatcher.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "handlers/dispatcher_impl.h"
#include "proto/support/assert.h"
#include "proto/support/unix_time.h"

namespace starling::handlers {
namespace {

// What a query is answered with by a handler whose mode is `job`; the number follows.
constexpr const char* kJobAnswer = "job:";

TimePoint clock_now() {
  return TimePoint::clock::now();
}

}  // namespace

// --- configuration ---

void Dispatcher::Impl::set_handlers(std::vector<HandlerSpec> specs) {
  // What windows of single handlers hold goes its way early, and is not lost.
  for (const HandlerId id : own_windows()) {
    deliver_to(id, handlers_.at(id).members->flush());
    deliver_to(id, handlers_.at(id).users->flush());
  }
  std::vector<HandlerId> before = std::exchange(active_, {});
  std::map<std::string, int> names;
  for (HandlerSpec& spec : specs) {
    const auto same = std::ranges::find_if(before, [&](HandlerId id) {
      const HandlerSpec& old = handlers_.at(id).spec;
      return old.same_as(spec);
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
      handler = std::move(old->second);
      handler.entry_names.clear();
    }
    if (!spec.policy.coalesce) {
      handler.members = nullptr;
      handler.users = nullptr;
    } else if (!handler.members || handler.spec.policy.coalesce != spec.policy.coalesce) {
      handler.members =
          std::make_unique<MemberCoalescer>(*spec.policy.coalesce, options_.more_failures);
      handler.users = std::make_unique<UserCoalescer>(*spec.policy.coalesce);
    }
    handler.spec = std::move(spec);
    for (size_t filter = 0; filter < handler.spec.entries(); ++filter) {
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
  tell_not_permitted(event);
  offer_to_own_windows(event);
  if (is_member_event(event.type)) {
    deliver(member_coalescer_.offer(now, std::move(event)));
  } else if (event.coalesce) {
    deliver(user_coalescer_.offer(now, std::move(event)));
  } else {
    spread(std::move(event));
  }
  arm_timer();
}

void Dispatcher::Impl::deliver(Coalesced coalesced) {
  statistics_.superseded += coalesced.superseded.size();
  for (const Event& event : coalesced.superseded) supersede(event, match(event));
  for (Event& event : coalesced.events) spread(std::move(event));
}

/// To all handlers but those with windows of their own.
void Dispatcher::Impl::spread(Event event) {
  for (const HandlerId id : active_) {
    const Handler& handler = handlers_.at(id);
    if (handler.members || !handler.spec.picks_members() || !type_matches(id, event)) continue;
    Event narrow = handler.spec.narrowed(event);
    if (!narrow.members.empty()) enqueue(std::move(narrow), 0, {{id, 0}});
  }
  const std::vector<Match> matches = match(event);
  enqueue(std::move(event), 0, matches);
}

// --- windows of single handlers ---

std::vector<HandlerId> Dispatcher::Impl::own_windows() const {
  std::vector<HandlerId> list;
  for (const HandlerId id : active_) {
    if (handlers_.at(id).members) list.push_back(id);
  }
  return list;
}

bool Dispatcher::Impl::type_matches(HandlerId handler, const Event& event) const {
  const HandlerSpec& spec = handlers_.at(handler).spec;
  for (size_t entry = 0; entry < spec.entries(); ++entry) {
    if (spec.matches(entry, event) && permitted({handler, entry}, event)) return true;
  }
  return false;
}

void Dispatcher::Impl::offer_to_own_windows(const Event& event) {
  std::vector<HandlerId> wanting;
  for (const HandlerId id : own_windows()) {
    // Which members count is decided when the window ends: a member's tags may change within it.
    if (is_member_event(event.type) || type_matches(id, event)) wanting.push_back(id);
  }
  if (wanting.empty()) return;
  if (event.type == EventType::kUser) plans_[event.id] = wanting.size();
  const TimePoint now = clock_now();
  for (const HandlerId id : wanting) {
    Handler& handler = handlers_.at(id);
    if (is_member_event(event.type)) {
      deliver_to(id, handler.members->offer(now, event));
    } else if (event.coalesce) {
      deliver_to(id, handler.users->offer(now, event));
    } else {
      enqueue(event, 0, {{id, 0}});
    }
  }
}

void Dispatcher::Impl::deliver_to(HandlerId id, Coalesced coalesced) {
  statistics_.superseded += coalesced.superseded.size();
  for (const Event& event : coalesced.superseded) supersede(event, {{id, 0}});
  for (Event& event : coalesced.events) {
    if (!type_matches(id, event)) continue;
    if (is_member_event(event.type)) event = handlers_.at(id).spec.narrowed(event);
    if (is_member_event(event.type) && event.members.empty()) continue;
    enqueue(std::move(event), 0, {{id, 0}});
  }
}

TimePoint Dispatcher::Impl::next_window() const {
  TimePoint next = std::min(member_coalescer_.next_deadline(), user_coalescer_.next_deadline());
  for (const HandlerId id : own_windows()) {
    const Handler& handler = handlers_.at(id);
    next = std::min({next, handler.members->next_deadline(), handler.users->next_deadline()});
  }
  return next;
}

void Dispatcher::Impl::advance_windows(TimePoint now) {
  deliver(member_coalescer_.advance(now));
  deliver(user_coalescer_.advance(now));
  for (const HandlerId id : own_windows()) {
    deliver_to(id, handlers_.at(id).members->advance(now));
    deliver_to(id, handlers_.at(id).users->advance(now));
  }
}

/// Whether this was the last plan of the event.
bool Dispatcher::Impl::plan_done(const Event& event) {
  const auto found = plans_.find(event.id);
  if (found == plans_.end()) return true;
  if (found->second > 0) {
    found->second -= 1;
    return false;
  }
  plans_.erase(found);
  return true;
}

// --- plans ---

void Dispatcher::Impl::supersede(const Event& event, std::vector<Match> matches) {
  const bool last = event.type != EventType::kUser || plan_done(event);
  if (!options_.hooks.planned) return;
  std::vector<PlannedJob> plan;
  for (const Match& found : matches) {
    plan.push_back({job_name(found, event), DropReason::kSuperseded});
  }
  options_.hooks.planned(event, plan, PlanState{last, {}});
}

bool Dispatcher::Impl::permitted(const Match& match, const Event& event) const {
  if (!options_.hooks.permits || is_member_event(event.type)) return true;
  return options_.hooks.permits(event, handlers_.at(match.handler).entry_names[match.filter]);
}

size_t Dispatcher::Impl::tell_not_permitted(const Event& event) {
  if (!options_.hooks.permits || is_member_event(event.type)) return 0;
  size_t count = 0;
  for (const Match& found : match_all(event, true)) {
    if (permitted(found, event)) continue;
    ++count;
    if (!options_.hooks.not_permitted) continue;
    options_.hooks.not_permitted(event, handlers_.at(found.handler).entry_names[found.filter]);
  }
  return count;
}

std::vector<Dispatcher::Impl::Match> Dispatcher::Impl::match(const Event& event) {
  std::vector<Match> matches = match_all(event, event.type == EventType::kQuery);
  std::erase_if(matches, [&](const Match& found) { return !permitted(found, event); });
  return matches;
}

std::vector<Dispatcher::Impl::Match> Dispatcher::Impl::match_all(const Event& event,
                                                                 bool own_windows_too) {
  std::vector<Match> matches;
  for (const HandlerId id : active_) {
    const Handler& handler = handlers_.at(id);
    if (!own_windows_too && handler.members) continue;
    if (is_member_event(event.type) && handler.spec.picks_members()) continue;
    for (size_t entry = 0; entry < handler.spec.entries(); ++entry) {
      if (handler.spec.matches(entry, event)) matches.push_back({id, entry});
    }
  }
  add_directory_matches(event, matches);
  return matches;
}

bool Dispatcher::Impl::has_handler(const Event& event) {
  return !match_all(event, true).empty();
}

// --- the directory ---

void Dispatcher::Impl::add_directory_matches(const Event& event, std::vector<Match>& matches) {
  if (options_.directory.empty()) return;
  const std::string type(event_type_name(event.type));
  std::vector<std::string> names;
  // A name goes into a path: no way out of the directory.
  if (!is_member_event(event.type) &&
      event.name.find_first_of(std::string_view("/\0", 2)) == std::string::npos) {
    names.push_back(type + "-" + event.name);
  }
  names.push_back(type);
  for (const std::string& name : names) {
    if (const auto id = directory_handler(name)) matches.push_back({*id, 0});
  }
}

std::optional<HandlerId> Dispatcher::Impl::directory_handler(const std::string& file) {
  const std::string path = options_.directory + "/" + file;
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
      ::access(path.c_str(), X_OK) != 0) {
    return std::nullopt;
  }
  if (const auto known = directory_.find(file); known != directory_.end()) return known->second;
  if (directory_.size() >= kMaxDirectoryHandlers) {
    std::erase_if(directory_, [this](const auto& entry) {
      if (schedule_.running(entry.second) + schedule_.waiting(entry.second) > 0) return false;
      schedule_.retire_handler(entry.second);
      handlers_.erase(entry.second);
      return true;
    });
    if (directory_.size() >= kMaxDirectoryHandlers) return std::nullopt;
  }
  Handler handler;
  handler.spec.limits = options_.directory_limits;
  handler.spec.policy.name = path;
  handler.spec.policy.arguments = {path};
  handler.spec.policy.on = {Subscription{}};
  handler.entry_names = {path};
  const HandlerId id =
      schedule_.add_handler(handler.spec.limits.concurrency, handler.spec.limits.queue);
  handlers_[id] = std::move(handler);
  directory_[file] = id;
  return id;
}

std::optional<HandlerId> Dispatcher::Impl::find_handler(const std::string& name) {
  for (const HandlerId id : active_) {
    const auto& names = handlers_.at(id).entry_names;
    if (std::ranges::find(names, name) != names.end()) return id;
  }
  const std::string prefix = options_.directory + "/";
  if (options_.directory.empty() || !name.starts_with(prefix)) return std::nullopt;
  const std::string file = name.substr(prefix.size());
  if (file.find('/') != std::string::npos) return std::nullopt;
  return directory_handler(file);
}

// --- jobs ---

JobName Dispatcher::Impl::job_name(const Match& found, const Event& event) {
  JobName name;
  name.number = options_.hooks.number ? options_.hooks.number() : ++last_number_;
  name.handler = handlers_.at(found.handler).entry_names[found.filter];
  name.event_id = event.id;
  name.event = describe(event);
  return name;
}

void Dispatcher::Impl::enqueue(Event event, QueryKey query, const std::vector<Match>& matches) {
  const bool last = event.type != EventType::kUser || plan_done(event);
  const EventKey key = ++last_key_;
  const size_t bytes = size_in_memory(event);
  // One job for the time being, so that hooks called below find the event held.
  held_bytes_ += bytes;
  Held& held = held_.emplace(key, Held{std::move(event), bytes, 1}).first->second;
  std::vector<PlannedJob> plan;
  plan.reserve(matches.size());
  std::vector<std::pair<size_t, uint64_t>> promised;  // entries that are answered with a job
  for (size_t entry = 0; entry < matches.size(); ++entry) {
    const bool with_job = handlers_.at(matches[entry].handler).spec.policy.answers_with_job;
    const QueryKey waits = with_job ? 0 : query;
    JobName name = job_name(matches[entry], held.event);
    const auto refused = admit(matches[entry], key, bytes, name, waits, entry);
    if (refused) count_drop(*refused);
    if (refused && query != 0) {
      settle_entry(queries_.at(query), entry,
                   {QueryOutcomeKind::kBusy, {}, std::string(drop_reason_name(*refused))});
    }
    if (!refused && query != 0 && with_job) promised.emplace_back(entry, name.number);
    plan.push_back({std::move(name), refused, waits != 0});
  }
  const auto written = [this, query, promised = std::move(promised),
                        alive = std::weak_ptr<bool>(alive_)](bool ok) {
    if (!alive.lock()) return;
    for (const auto& [entry, number] : promised) answer_with_job(query, entry, number, ok);
  };
  if (options_.hooks.planned) {
    options_.hooks.planned(held.event, plan, PlanState{last, written});
  } else {
    later([written] { written(true); });
  }
  if (query == 0) claim_at_once(plan);
  release_event(key);
  pump_later();
}

void Dispatcher::Impl::answer_with_job(QueryKey query, size_t entry, uint64_t number,
                                       bool written) {
  if (written) {
    answer_entry(query, entry,
                 {QueryOutcomeKind::kResponse, kJobAnswer + std::to_string(number) + "\n", {}});
  } else {
    answer_entry(query, entry, {QueryOutcomeKind::kFailed, {}, "the job cannot be written down"});
  }
}

std::optional<DropReason> Dispatcher::Impl::admit(const Match& found, EventKey event, size_t bytes,
                                                  JobName& name, QueryKey query, size_t entry) {
  if (held_bytes_ > options_.max_queued_bytes && held_bytes_ > bytes) {
    return DropReason::kMemoryFull;
  }
  Handler& handler = handlers_.at(found.handler);
  const Duration splay =
      query != 0 ? Duration{}
                 : splay_of(name.event_id, options_.splay_seed, handler.spec.policy.splay);
  std::optional<JobId> id;
  if (query != 0) {
    id = schedule_.submit(found.handler, JobClass::kQuery);
  } else if (splay > Duration{}) {
    id = schedule_.hold(found.handler, JobClass::kEvent, true);
  } else {
    id = schedule_.submit(found.handler, JobClass::kEvent);
  }
  if (!id && query == 0) id = make_room(found.handler, name.event, splay > Duration{});
  if (!id) return DropReason::kQueueFull;
  held_.at(event).jobs += 1;
  const TimePoint now = clock_now();
  if (splay > Duration{}) {
    name.due_ms =
        unix_milliseconds() + std::chrono::duration_cast<std::chrono::milliseconds>(splay).count();
  }
  Job job{.handler = found.handler, .name = name, .event = event, .submitted = now};
  job.query = query;
  job.entry = entry;
  jobs_.emplace(*id, std::move(job));
  numbers_[name.number] = *id;
  if (query != 0) {
    queries_.at(query).jobs[entry] = *id;
  } else {
    handler.unclaimed.push_back(*id);
  }
  if (splay > Duration{}) delay(*id, now + splay);
  return std::nullopt;
}

/// What the policy says when the queue is full. None: the newest is refused.
std::optional<JobId> Dispatcher::Impl::make_room(HandlerId handler_id, const std::string& event,
                                                 bool delayed) {
  Handler& handler = handlers_.at(handler_id);
  const WhenFull when_full = handler.spec.policy.when_full;
  if (when_full == WhenFull::kDropNewest) return std::nullopt;
  bool room = false;
  for (const JobId id : std::vector<JobId>(handler.unclaimed.begin(), handler.unclaimed.end())) {
    const auto job = jobs_.find(id);
    if (job == jobs_.end() || job->second.its_turn) continue;
    if (when_full == WhenFull::kCollapse && job->second.name.event != event) continue;
    if (!schedule_.cancel(id)) continue;
    cancel_waiting(id, DropReason::kReplaced);
    room = true;
    if (when_full == WhenFull::kDropOldest) break;
  }
  if (!room) return std::nullopt;
  return delayed ? schedule_.hold(handler_id, JobClass::kEvent, true)
                 : schedule_.submit(handler_id, JobClass::kEvent);
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
    case DropReason::kNotWanted:
      statistics_.dropped_not_wanted += 1;
      break;
    case DropReason::kStopping:
      statistics_.dropped_stopping += 1;
      break;
    case DropReason::kKilled:
      statistics_.dropped_killed += 1;
      break;
    case DropReason::kReplaced:
      statistics_.dropped_replaced += 1;
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
bool Dispatcher::has_handler(const Event& event) {
  return impl_->has_handler(event);
}

void Dispatcher::dispatch(Event event, const Host& host) {
  impl_->dispatch(std::move(event), host);
}
void Dispatcher::dispatch_query(Event event, const Host& host,
                                std::function<void(QueryOutcome)> answer) {
  impl_->dispatch_query(std::move(event), host, std::move(answer));
}
void Dispatcher::cancel_query(const std::string& event_id) {
  impl_->cancel_query(event_id);
}
void Dispatcher::set_host(const Host& host) {
  impl_->set_host(host);
}
bool Dispatcher::restore(JobName job, Event event) {
  return impl_->restore(std::move(job), std::move(event));
}
Result<void> Dispatcher::adopt(JobName job, bool for_query, Event event, const std::string& path) {
  return impl_->adopt(std::move(job), for_query, std::move(event), path);
}
bool Dispatcher::may_repeat(const std::string& handler) {
  return impl_->may_repeat(handler);
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
