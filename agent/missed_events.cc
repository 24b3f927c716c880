// SPDX-License-Identifier: Apache-2.0
#include "agent/missed_events.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace starling::agent {

using handlers::Event;
using handlers::EventTiming;

MissedEvents::MissedEvents(asio::io_context& io, Dispatch dispatch)
    : dispatch_(std::move(dispatch)), timer_(io) {}

void MissedEvents::set_wanted(bool latest) {
  latest_wanted_ = latest;
  if (!latest) flush();
}

void MissedEvents::arrived(Event event) {
  const bool missed = event.timing != EventTiming::kLive;
  if (!latest_wanted_ || (!missed && held_.empty())) return dispatch_(std::move(event));
  if (held_.empty()) first_ = std::chrono::steady_clock::now();
  bytes_ += handlers::size_in_memory(event);
  held_.push_back(std::move(event));
  if (held_.size() >= kMaxEvents || bytes_ >= kMaxBytes) return flush();
  if (missed) wait();
}

void MissedEvents::wait() {
  timer_.expires_at(std::min(std::chrono::steady_clock::now() + kQuiet, first_ + kLongest));
  timer_.async_wait([this](const asio::error_code& error) {
    if (!error) flush();
  });
}

void MissedEvents::flush() {
  timer_.cancel();
  bytes_ = 0;
  std::vector<Event> events = std::exchange(held_, {});
  std::map<std::string, size_t> newest;
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i].timing == EventTiming::kLive) continue;
    events[i].latest = false;
    const auto [found, added] = newest.try_emplace(events[i].name, i);
    if (!added && events[found->second].ltime <= events[i].ltime) found->second = i;
  }
  for (const auto& [name, place] : newest) events[place].latest = true;
  for (Event& event : events) dispatch_(std::move(event));
}

}  // namespace starling::agent
