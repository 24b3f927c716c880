// SPDX-License-Identifier: Apache-2.0
//
// Coalescing: many events that come together reach handlers as few. Pure: told the time, bounded;
// at a bound events are delivered early, never lost.
//
// A window ends when nothing has come for `quiet`, and at the latest `longest` after its first
// event. For member events it ends sooner while there is one member in it, and later while there is
// reason to believe that more members have failed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "handlers/event.h"

namespace starling::handlers {

/// Zero for either switches coalescing off.
struct CoalesceWindow {
  Duration quiet;
  Duration longest;
  /// In place of `quiet`, if it is less, as long as a single member is concerned: what stays alone
  /// is not kept waiting for others.
  Duration alone = Duration::max();

  [[nodiscard]] bool off() const { return quiet <= Duration{0} || longest <= Duration{0}; }
  bool operator==(const CoalesceWindow&) const = default;
};

/// What comes out: events to deliver, in order, and those that a newer one replaced.
struct Coalesced {
  std::vector<Event> events;
  std::vector<Event> superseded;
};

/// Member events. Of each member's changes within a window the last one survives; what survives is
/// grouped into one event per type, with many members, in order of arrival. The group's id is its
/// youngest event's.
///
/// Beyond Serf, where a change could hide another for good: an update does not replace the join
/// before it (the join carries the new facts), and a member that is joined, as handlers were told,
/// and is so again at the end of the window is reported as updated if its address or tags changed,
/// else not at all.
class MemberCoalescer {
 public:
  /// Members in one window; one more ends it.
  static constexpr size_t kMaxPending = 16'384;
  /// Members whose last report is remembered; past it the memory is emptied, and a change may be
  /// reported again.
  static constexpr size_t kMaxKnown = 262'144;

  /// A window with failures in it that has been quiet stays open while this is true: others are
  /// suspected to have failed, too.
  using MoreComing = std::function<bool()>;
  /// How often it is asked.
  static constexpr Duration kAskAgain = std::chrono::milliseconds(50);

  explicit MemberCoalescer(CoalesceWindow window, MoreComing more_coming = {})
      : window_(window), more_coming_(std::move(more_coming)) {}

  /// `event` must be a member event.
  [[nodiscard]] Coalesced offer(TimePoint now, Event event);
  /// What is due at `now`.
  [[nodiscard]] Coalesced advance(TimePoint now);
  /// Ends the window.
  [[nodiscard]] Coalesced flush();
  [[nodiscard]] TimePoint next_deadline() const;

 private:
  struct Pending {
    EventType type;
    Member member;
    std::string event_id;
    uint64_t arrival;  ///< order within the window
  };
  /// What handlers were last told about a member.
  struct Known {
    EventType type;
    uint64_t facts;  ///< hash of address and tags
  };

  void take(EventType type, Member member, const std::string& event_id);
  [[nodiscard]] bool wait_for_more() const;
  /// False: handlers know already. May turn a join into an update.
  bool worth_telling(Pending& pending);

  CoalesceWindow window_;
  MoreComing more_coming_;
  TimePoint window_start_ = kNever;
  TimePoint last_arrival_ = kNever;
  TimePoint ask_again_ = TimePoint::min();
  uint64_t arrivals_ = 0;
  std::unordered_map<std::string, Pending> pending_;
  std::unordered_map<std::string, Known> known_;
};

/// User events sent with coalesce = true. The first of a name that has been quiet is delivered at
/// once (Serf delays it); of those that follow within the window only the newest by Lamport time
/// (all of them if equal) is delivered, at its end. What is older than one delivered in the
/// window before is dropped.
class UserCoalescer {
 public:
  /// Names with an open window; further names are not coalesced.
  static constexpr size_t kMaxNames = 1024;
  /// Events of equal Lamport time kept for one name; one more ends its window.
  static constexpr size_t kMaxEqual = 64;
  /// Bytes kept for all names; more end the window of the name that brings them.
  static constexpr size_t kMaxBytes = size_t{16} << 20;

  explicit UserCoalescer(CoalesceWindow window) : window_(window) {}

  /// `event` must be a user event.
  [[nodiscard]] Coalesced offer(TimePoint now, Event event);
  [[nodiscard]] Coalesced advance(TimePoint now);
  /// Ends all windows.
  [[nodiscard]] Coalesced flush();
  [[nodiscard]] TimePoint next_deadline() const;

 private:
  struct Window {
    TimePoint start;
    TimePoint last_arrival;
    uint64_t newest = 0;  ///< Lamport time delivered or pending
    std::vector<Event> pending;
  };

  [[nodiscard]] TimePoint end_of(const Window& window) const;
  void release(Window& window, Coalesced& out);

  CoalesceWindow window_;
  size_t bytes_ = 0;
  std::map<std::string, Window, std::less<>> windows_;
};

}  // namespace starling::handlers
