// SPDX-License-Identifier: Apache-2.0
//
// What handlers are told about: events as plain values, and the facts about the own host that go
// with them. No thread, no clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace starling::handlers {

/// Monotonic time. The pure parts are told what time it is; only Dispatcher reads the clock.
using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

/// "Nothing is due", and the deadline of a query that has none.
inline constexpr TimePoint kNever = TimePoint::max();

enum class EventType : uint8_t {
  kMemberJoin,
  kMemberLeave,
  kMemberFailed,
  kMemberUpdate,
  kMemberReap,
  kUser,
  kQuery,
};

/// Serf's name: "member-join", ..., "user", "query".
[[nodiscard]] std::string_view event_type_name(EventType type);
[[nodiscard]] constexpr bool is_member_event(EventType type) {
  return type < EventType::kUser;
}

/// When a user event happened, as this host sees it.
enum class EventTiming : uint8_t {
  kLive,        ///< now
  kMissed,      ///< while this host was away
  kBeforeJoin,  ///< before this host first joined
};

using Tags = std::map<std::string, std::string>;

/// One line of a member event's input. The role is the tag `role`.
struct Member {
  std::string name;
  std::string address;  ///< IP without port
  Tags tags;

  bool operator==(const Member&) const = default;
};

/// Something that happened in the cluster. Which fields count depends on `type`.
struct Event {
  EventType type = EventType::kUser;
  /// Unique in the cluster for user events and queries, on this host for member events.
  std::string id;

  std::vector<Member> members;  ///< member events: at least one

  std::string name;       ///< user event, query
  std::string payload;    ///< user event, query
  uint64_t ltime = 0;     ///< user event, query: Lamport time
  bool coalesce = false;  ///< user event: the newest of a name stands for those before it

  EventTiming timing = EventTiming::kLive;  ///< user event
  /// Missed user event: the newest of its name among those that were missed together.
  bool latest = true;

  std::string source;           ///< query: name of the asking member
  TimePoint deadline = kNever;  ///< query: no answer counts after it

  // User event, query: who signed it; both empty: nobody.
  std::string operator_name = {};
  std::string operator_key = {};  ///< the id of the key
};

/// "member-join", "user:deploy" or "query:uptime": the event for logs.
[[nodiscard]] std::string describe(const Event& event);
/// Bytes that the event holds in memory, for the bounds of queues.
[[nodiscard]] size_t size_in_memory(const Event& event);

/// The host as its handlers see it; may change with every event.
struct Host {
  std::string name;
  Tags tags;
};

}  // namespace starling::handlers
