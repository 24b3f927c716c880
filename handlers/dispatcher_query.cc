// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "handlers/dispatcher_impl.h"
#include "proto/support/assert.h"

namespace starling::handlers {
namespace {

// An answer leaves this long before the deadline, or a tenth of the query's time if that is less.
constexpr auto kAnswerMargin = std::chrono::milliseconds(100);

TimePoint clock_now() {
  return TimePoint::clock::now();
}

}  // namespace

void Dispatcher::Impl::dispatch_query(Event event, const Host& host,
                                      std::function<void(QueryOutcome)> answer) {
  STARLING_ASSERT(event.type == EventType::kQuery);
  host_ = host;
  if (stopping_ || queries_.size() >= kMaxQueries) {
    if (!stopping_) statistics_.queries_refused += 1;
    const char* why = stopping_ ? "the agent stops" : "too many queries are being answered";
    later([answer = std::move(answer), why] { answer({QueryOutcomeKind::kBusy, {}, why}); });
    return;
  }
  const std::vector<Match> matches = match(event);
  const bool refused = tell_not_permitted(event) > 0;
  std::vector<std::string> responders;
  responders.reserve(matches.size());
  for (const Match& found : matches) {
    responders.push_back(handlers_.at(found.handler).entry_names[found.filter]);
  }
  const TimePoint now = clock_now();
  TimePoint answer_by = event.deadline;
  if (answer_by != kNever) {
    answer_by -= std::min<Duration>(kAnswerMargin, std::max(answer_by - now, Duration{0}) / 10);
  }
  const QueryKey key = ++last_key_;
  Query& query =
      queries_
          .emplace(key, Query{AnswerCollector(std::move(responders)), event.id,
                              std::vector<JobId>(matches.size()), answer_by, std::move(answer)})
          .first->second;
  query_times_.emplace(answer_by, key);
  if (matches.empty() && refused) {
    query.untold.push_back({QueryOutcomeKind::kRefused,
                            {},
                            "refused by policy: no handler for it may run for who asks"});
  } else if (matches.empty()) {
    query.untold.push_back({QueryOutcomeKind::kNoHandler, {}, {}});
  }
  enqueue(std::move(event), key, matches);
  // No entry, or all refused: known now, told later.
  later([this, key] { tell_asker(key); });
  arm_timer();
}

void Dispatcher::Impl::settle_entry(Query& query, size_t entry, QueryOutcome outcome) {
  if (auto told = query.collector.settle(entry, std::move(outcome))) {
    query.untold.push_back(*std::move(told));
  }
}

void Dispatcher::Impl::answer_entry(QueryKey key, size_t entry, QueryOutcome outcome) {
  const auto found = queries_.find(key);
  if (found == queries_.end() || found->second.collector.settled(entry)) return;
  settle_entry(found->second, entry, std::move(outcome));
  tell_asker(key);
}

void Dispatcher::Impl::tell_asker(QueryKey key) {
  const auto found = queries_.find(key);
  if (found == queries_.end()) return;
  const std::function<void(QueryOutcome)> answer = found->second.answer;
  std::vector<QueryOutcome> untold = std::exchange(found->second.untold, {});
  if (found->second.collector.complete()) {
    query_times_.erase({found->second.answer_by, key});
    queries_.erase(found);
  }
  for (QueryOutcome& outcome : untold) answer(std::move(outcome));
}

void Dispatcher::Impl::out_of_time(QueryKey key) {
  const auto found = queries_.find(key);
  if (found == queries_.end()) return;
  Query& query = found->second;
  std::vector<JobId> never_begun;
  for (size_t entry = 0; entry < query.jobs.size(); ++entry) {
    if (query.collector.settled(entry)) continue;
    const JobId id = query.jobs[entry];
    if (schedule_.cancel(id)) {
      never_begun.push_back(id);
      settle_entry(
          query, entry,
          {QueryOutcomeKind::kBusy, {}, "the handler was busy until the query's deadline"});
    } else {
      settle_entry(query, entry,
                   {QueryOutcomeKind::kFailed, {}, "still running at the query's deadline"});
    }
  }
  for (const JobId id : never_begun) cancel_waiting(id, DropReason::kDeadlinePast);
  tell_asker(key);
}

void Dispatcher::Impl::cancel_query(const std::string& event_id) {
  const auto found = std::ranges::find_if(
      queries_, [&](const auto& query) { return query.second.event_id == event_id; });
  if (found == queries_.end()) return;
  const std::vector<JobId> jobs = std::move(found->second.jobs);
  query_times_.erase({found->second.answer_by, found->first});
  queries_.erase(found);
  for (const JobId id : jobs) {
    if (schedule_.cancel(id)) cancel_waiting(id, DropReason::kNotWanted);
  }
  arm_timer();
}

// --- time and end ---

void Dispatcher::Impl::arm_timer() {
  TimePoint next = next_window();
  if (!delayed_.empty()) next = std::min(next, delayed_.begin()->first);
  if (!query_times_.empty()) next = std::min(next, query_times_.begin()->first);
  if (next == timer_at_) return;
  timer_at_ = next;
  timer_.cancel();
  if (next == kNever) return;
  timer_.expires_at(next);
  timer_.async_wait([this, alive = std::weak_ptr<bool>(alive_)](const asio::error_code& error) {
    if (error || !alive.lock()) return;
    timer_at_ = kNever;
    timer_fired();
  });
}

void Dispatcher::Impl::timer_fired() {
  if (stopping_) return;
  const TimePoint now = clock_now();
  advance_windows(now);
  release_due(now);
  while (!query_times_.empty() && query_times_.begin()->first <= now) {
    out_of_time(query_times_.begin()->second);
  }
  arm_timer();
}

void Dispatcher::Impl::shutdown(Duration grace, std::function<void()> done) {
  STARLING_ASSERT(!stopping_);
  stopping_ = true;
  stopped_ = std::move(done);
  timer_.cancel();
  std::vector<JobId> waiting;
  for (auto& [id, job] : jobs_) {
    if (schedule_.cancel(id)) {
      waiting.push_back(id);
    } else if (job.process && (options_.end_jobs_on_stop || job.query != 0)) {
      job.process->terminate();
    } else {
      job.process = nullptr;  // goes on, to be adopted by the next agent
    }
  }
  std::ranges::sort(waiting);
  for (const JobId id : waiting) cancel_waiting(id, DropReason::kStopping);
  std::vector<std::function<void(QueryOutcome)>> askers;
  askers.reserve(queries_.size());
  for (auto& [key, query] : queries_) askers.push_back(std::move(query.answer));
  queries_.clear();
  query_times_.clear();
  later([this, askers = std::move(askers)] {
    for (const auto& asker : askers) asker({QueryOutcomeKind::kBusy, {}, "the agent stops"});
    check_stopped();
  });
  shutdown_timer_.expires_after(grace);
  shutdown_timer_.async_wait(
      [this, alive = std::weak_ptr<bool>(alive_)](const asio::error_code& error) {
        if (error || !alive.lock()) return;
        std::vector<JobId> running;
        for (const auto& [id, job] : jobs_) {
          if (job.process) running.push_back(id);
        }
        for (const JobId id : running) {
          if (!alive.lock()) return;  // the last one's end may have been ours
          if (const auto job = jobs_.find(id); job != jobs_.end()) job->second.process->kill();
        }
      });
}

void Dispatcher::Impl::check_stopped() {
  if (!stopping_ || !stopped_) return;
  if (std::ranges::any_of(jobs_, [](const auto& job) { return job.second.process != nullptr; })) {
    return;
  }
  shutdown_timer_.cancel();
  const std::function<void()> done = std::exchange(stopped_, nullptr);
  done();
}

}  // namespace starling::handlers
