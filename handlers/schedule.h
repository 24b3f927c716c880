// SPDX-License-Identifier: Apache-2.0
//
// Schedule: which waiting run starts next. Pure policy: no process, no clock.
//
// Each handler has a queue of its own, in order, and a limit of runs at once, so that no handler
// waits for another. A limit on all runs together protects the host; free places go round the
// handlers that have something to run. Runs for events may fill only three quarters of all
// places: the last quarter is for answers to queries, which somebody waits for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <unordered_map>

namespace starling::handlers {

/// Ids are never used twice.
using HandlerId = uint64_t;
using JobId = uint64_t;

enum class JobClass : uint8_t { kEvent, kQuery };

class Schedule {
 public:
  /// `places`: runs at once, of all handlers; at least 1.
  explicit Schedule(size_t places);

  [[nodiscard]] HandlerId add_handler(size_t concurrency, size_t queue);
  /// New limits for what comes; what waits already stays, even above the new bound.
  void set_limits(HandlerId handler, size_t concurrency, size_t queue);
  /// The handler takes no more; it is forgotten when its last run has ended.
  void retire_handler(HandlerId handler);

  /// Queues a run. None: the queue is full.
  [[nodiscard]] std::optional<JobId> submit(HandlerId handler, JobClass job_class);
  /// The same whatever the bound, for what was accepted before.
  [[nodiscard]] JobId resubmit(HandlerId handler, JobClass job_class);
  /// As submit(), but it does not get its turn before release().
  [[nodiscard]] std::optional<JobId> hold(HandlerId handler, JobClass job_class, bool bounded);
  void release(JobId job);
  /// A run that goes on already, and counts as running, whatever the limits.
  [[nodiscard]] JobId adopt(HandlerId handler, JobClass job_class);
  /// The next run that may start, now counted as running; none: nothing waits, or no place is free.
  [[nodiscard]] std::optional<JobId> next();
  /// A run that `next` gave has ended.
  void finished(JobId job);
  /// Takes a waiting run out; false: it is not waiting.
  bool cancel(JobId job);

  [[nodiscard]] size_t running() const { return running_; }
  [[nodiscard]] size_t waiting() const { return jobs_.size() - running_; }
  [[nodiscard]] size_t running(HandlerId handler) const;
  [[nodiscard]] size_t waiting(HandlerId handler) const;
  /// False: never existed, or retired and done.
  [[nodiscard]] bool knows(HandlerId handler) const { return handlers_.contains(handler); }

 private:
  struct Handler {
    size_t concurrency = 1;
    size_t queue = 1;
    size_t running = 0;
    bool retired = false;
    bool in_ring = false;
    size_t held = 0;
    std::set<JobId> waiting{};  ///< ids rise, so this is the order of submission
  };
  struct Job {
    HandlerId handler = 0;
    JobClass job_class = JobClass::kEvent;
    bool running = false;
    bool held = false;
  };

  /// Puts the handler at the end of the ring if it could run something and is not there.
  void enter_ring(HandlerId id, Handler& handler);
  void forget_if_done(HandlerId id);
  [[nodiscard]] bool place_for(JobClass job_class) const;

  const size_t places_;
  const size_t event_places_;
  size_t running_ = 0;
  size_t running_events_ = 0;
  uint64_t last_id_ = 0;
  std::unordered_map<HandlerId, Handler> handlers_;
  std::unordered_map<JobId, Job> jobs_;
  std::deque<HandlerId> ring_;  ///< handlers with something to run, each once
};

}  // namespace starling::handlers
