// SPDX-License-Identifier: Apache-2.0
#include "handlers/schedule.h"

#include <algorithm>

#include "proto/support/assert.h"

namespace starling::handlers {

Schedule::Schedule(size_t places)
    : places_(std::max<size_t>(places, 1)),
      event_places_(std::max<size_t>(places_ - places_ / 4, 1)) {}

HandlerId Schedule::add_handler(size_t concurrency, size_t queue) {
  const HandlerId id = ++last_id_;
  handlers_.emplace(id, Handler{.concurrency = concurrency, .queue = queue});
  return id;
}

void Schedule::set_limits(HandlerId id, size_t concurrency, size_t queue) {
  Handler& handler = handlers_.at(id);
  handler.concurrency = concurrency;
  handler.queue = queue;
  enter_ring(id, handler);
}

void Schedule::retire_handler(HandlerId id) {
  handlers_.at(id).retired = true;
  forget_if_done(id);
}

std::optional<JobId> Schedule::submit(HandlerId id, JobClass job_class) {
  Handler& handler = handlers_.at(id);
  if (handler.waiting.size() + handler.held >= handler.queue) return std::nullopt;
  return resubmit(id, job_class);
}

std::optional<JobId> Schedule::hold(HandlerId id, JobClass job_class, bool bounded) {
  Handler& handler = handlers_.at(id);
  if (bounded && handler.waiting.size() + handler.held >= handler.queue) return std::nullopt;
  const JobId job = ++last_id_;
  jobs_.emplace(job, Job{.handler = id, .job_class = job_class, .held = true});
  handler.held += 1;
  return job;
}

void Schedule::release(JobId job_id) {
  Job& job = jobs_.at(job_id);
  STARLING_ASSERT(job.held);
  job.held = false;
  Handler& handler = handlers_.at(job.handler);
  handler.held -= 1;
  handler.waiting.insert(job_id);
  enter_ring(job.handler, handler);
}

JobId Schedule::adopt(HandlerId id, JobClass job_class) {
  const JobId job = ++last_id_;
  jobs_.emplace(job, Job{.handler = id, .job_class = job_class, .running = true});
  handlers_.at(id).running += 1;
  running_ += 1;
  if (job_class == JobClass::kEvent) running_events_ += 1;
  return job;
}

JobId Schedule::resubmit(HandlerId id, JobClass job_class) {
  Handler& handler = handlers_.at(id);
  STARLING_ASSERT(!handler.retired);
  const JobId job = ++last_id_;
  jobs_.emplace(job, Job{.handler = id, .job_class = job_class});
  handler.waiting.insert(handler.waiting.end(), job);
  enter_ring(id, handler);
  return job;
}

void Schedule::enter_ring(HandlerId id, Handler& handler) {
  if (handler.in_ring || handler.waiting.empty() || handler.running >= handler.concurrency) return;
  handler.in_ring = true;
  ring_.push_back(id);
}

bool Schedule::place_for(JobClass job_class) const {
  if (running_ >= places_) return false;
  return job_class == JobClass::kQuery || running_events_ < event_places_;
}

std::optional<JobId> Schedule::next() {
  // Handlers that could run but find no place keep their turn at the front.
  for (auto turn = ring_.begin(); turn != ring_.end();) {
    if (running_ >= places_) return std::nullopt;
    const HandlerId id = *turn;
    const auto found = handlers_.find(id);
    if (found == handlers_.end() || found->second.waiting.empty() ||
        found->second.running >= found->second.concurrency) {
      if (found != handlers_.end()) found->second.in_ring = false;
      turn = ring_.erase(turn);
      continue;
    }
    Handler& handler = found->second;
    const JobId job_id = *handler.waiting.begin();
    Job& job = jobs_.at(job_id);
    if (!place_for(job.job_class)) {
      ++turn;
      continue;
    }
    ring_.erase(turn);
    handler.in_ring = false;
    handler.waiting.erase(handler.waiting.begin());
    handler.running += 1;
    running_ += 1;
    if (job.job_class == JobClass::kEvent) running_events_ += 1;
    job.running = true;
    enter_ring(id, handler);
    return job_id;
  }
  return std::nullopt;
}

void Schedule::finished(JobId job_id) {
  const auto found = jobs_.find(job_id);
  STARLING_ASSERT(found != jobs_.end() && found->second.running);
  const Job job = found->second;
  jobs_.erase(found);
  running_ -= 1;
  if (job.job_class == JobClass::kEvent) running_events_ -= 1;
  Handler& handler = handlers_.at(job.handler);
  handler.running -= 1;
  enter_ring(job.handler, handler);
  forget_if_done(job.handler);
}

bool Schedule::cancel(JobId job_id) {
  const auto found = jobs_.find(job_id);
  if (found == jobs_.end() || found->second.running) return false;
  const HandlerId handler = found->second.handler;
  if (found->second.held) handlers_.at(handler).held -= 1;
  jobs_.erase(found);
  handlers_.at(handler).waiting.erase(job_id);
  forget_if_done(handler);
  return true;
}

void Schedule::forget_if_done(HandlerId id) {
  const auto found = handlers_.find(id);
  const Handler& handler = found->second;
  if (handler.retired && handler.running == 0 && handler.waiting.empty() && handler.held == 0) {
    handlers_.erase(found);
  }
}

size_t Schedule::running(HandlerId id) const {
  const auto found = handlers_.find(id);
  return found == handlers_.end() ? 0 : found->second.running;
}

size_t Schedule::waiting(HandlerId id) const {
  const auto found = handlers_.find(id);
  return found == handlers_.end() ? 0 : found->second.waiting.size() + found->second.held;
}

}  // namespace starling::handlers
