// SPDX-License-Identifier: Apache-2.0
//
// MissedEvents: between the cluster and the dispatcher, finds the newest of each name among the
// user events that this host missed, for handlers that want only those.
//
// A host that is back gets what it missed in one go. While such events keep coming, all user events
// are held back, in order, until none has come for kQuiet, at the latest kLongest after the first.
// When no handler asks for it nothing is held. What is held is pending in the store, and so
// survives.
//
// Event-loop thread only.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

#include "handlers/event.h"

namespace starling::agent {

class MissedEvents {
 public:
  static constexpr auto kQuiet = std::chrono::seconds(1);
  static constexpr auto kLongest = std::chrono::seconds(10);
  /// At these bounds what is held is dispatched early: a handler may then get the latest twice.
  static constexpr size_t kMaxEvents = 16'384;
  static constexpr size_t kMaxBytes = size_t{16} << 20;

  using Dispatch = std::function<void(handlers::Event)>;
  /// `dispatch` is called from arrived(), flush() and the loop.
  MissedEvents(asio::io_context& io, Dispatch dispatch);

  /// Whether some handler wants only the latest of a name.
  void set_wanted(bool latest);
  /// A user event, in the order of arrival.
  void arrived(handlers::Event event);
  /// Dispatches what is held.
  void flush();
  [[nodiscard]] size_t held() const { return held_.size(); }

 private:
  void wait();

  Dispatch dispatch_;
  asio::steady_timer timer_;
  bool latest_wanted_ = false;
  std::vector<handlers::Event> held_;
  size_t bytes_ = 0;
  std::chrono::steady_clock::time_point first_;
};

}  // namespace starling::agent
