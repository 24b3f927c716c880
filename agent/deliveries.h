// SPDX-License-Identifier: Apache-2.0
//
// Deliveries: makes the dispatcher's work on user events durable. No event runs the same handler
// twice, even after `kill -9`, and what was accepted but not begun when the process ended is begun
// by the next one.
//
// A job is written down before it starts; whether it ended well is not asked: a handler that was
// killed with the agent has run. Event-loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/store/store.h"
#include "handlers/dispatcher.h"
#include "membership/ids.h"

namespace starling::agent {

class Deliveries {
 public:
  /// `store` outlives it. `restored`: what an earlier process left.
  Deliveries(Store& store, const std::vector<PendingEvent>& restored);

  /// The event is pending in the store. Call before it is dispatched.
  void expect(const membership::MessageId& id);

  // For DispatcherHooks:
  /// Lets a job of a pending event run once it is written down, and not if it has run before; any
  /// other job at once.
  void starting(const handlers::JobName& job, std::function<void(bool)> proceed);
  /// The event needs no keeping any more.
  void settled(const std::string& event_id);

  [[nodiscard]] size_t pending() const { return pending_.size(); }

 private:
  struct Pending {
    membership::MessageId id;
    std::set<std::string> started;  ///< handlers, of this and earlier processes
  };

  Store& store_;
  std::unordered_map<std::string, Pending> pending_;  // by handler event id
};

}  // namespace starling::agent
