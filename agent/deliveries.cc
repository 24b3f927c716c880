// SPDX-License-Identifier: Apache-2.0
#include "agent/deliveries.h"

#include <utility>

#include "agent/handler_events.h"

namespace starling::agent {

Deliveries::Deliveries(Store& store, const std::vector<PendingEvent>& restored) : store_(store) {
  for (const PendingEvent& event : restored) {
    pending_[pending_event_id(event.id)] = {event.id, {event.started.begin(), event.started.end()}};
  }
}

void Deliveries::expect(const membership::MessageId& id) {
  pending_.try_emplace(pending_event_id(id), Pending{id, {}});
}

void Deliveries::starting(const handlers::JobName& job, std::function<void(bool)> proceed) {
  const auto found = pending_.find(job.event_id);
  if (found == pending_.end()) return proceed(true);
  if (!found->second.started.insert(job.handler).second) return proceed(false);
  // When the disk refuses it runs all the same: once too often is better than never.
  store_.save({StartHandler{found->second.id, job.handler}},
              [proceed = std::move(proceed)](const Result<void>&) { proceed(true); });
}

void Deliveries::settled(const std::string& event_id) {
  auto settled = pending_.extract(event_id);
  if (!settled.empty()) store_.save({SettleEvent{settled.mapped().id}});
}

}  // namespace starling::agent
