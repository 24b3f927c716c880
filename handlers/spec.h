// SPDX-License-Identifier: Apache-2.0
//
// HandlerSpec: which events run which command, under which limits. Values only.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "handlers/event.h"
#include "handlers/policy.h"
#include "proto/support/result.h"

namespace starling::handlers {

/// One filter: a type of event, or all (`*`), and for user events and queries optionally a name,
/// which must be equal (no patterns).
struct Filter {
  std::optional<EventType> type;  ///< none: every event
  std::string name;               ///< empty: any name

  /// "member-join", "user", "user:deploy", "query:uptime", "*". Errors: kInvalid, which names the
  /// filter and the valid ones.
  static Result<Filter> parse(std::string_view text);

  [[nodiscard]] bool matches(const Event& event) const;
  [[nodiscard]] std::string to_string() const;
  bool operator==(const Filter&) const = default;
};

/// What a handler gets of the user events that its host missed.
enum class MissedEvents : uint8_t { kAll, kLatest, kNone };

/// "all", "latest" or "none".
[[nodiscard]] std::string_view missed_events_name(MissedEvents missed);
[[nodiscard]] std::optional<MissedEvents> parse_missed_events(std::string_view name);

inline constexpr size_t kMaxConcurrency = 1024;
inline constexpr size_t kMaxQueue = 65'536;
inline constexpr size_t kMaxOutputTail = size_t{1} << 20;
inline constexpr size_t kMaxCommand = 65'536;
inline constexpr auto kMaxTimeout = std::chrono::hours(24 * 7);

/// What one handler may use.
struct HandlerLimits {
  /// Runs at the same time, 1 to kMaxConcurrency. 1: in order, never two at once.
  size_t concurrency = 1;
  /// Runs waiting for their turn, 1 to kMaxQueue. When full, the newest is refused.
  size_t queue = 1024;
  /// Longest run, 1 ms to kMaxTimeout; then SIGTERM to its process group, then SIGKILL.
  Duration timeout = std::chrono::minutes(10);
  /// Bytes of output told in reports, counted from its end; up to kMaxOutputTail.
  size_t output_tail = 8192;
  /// Bytes of output kept in the job's log, counted from its end.
  size_t output = size_t{1} << 20;

  bool operator==(const HandlerLimits&) const = default;
};

/// One handler. Each of its filters is an entry of its own, as in Serf: a command whose filters
/// match an event twice runs twice. All entries share the handler's queue and limits, so that a
/// script listed for joins and leaves sees them in order.
struct HandlerSpec {
  std::vector<Filter> filters;
  std::string command;  ///< for /bin/sh -c
  HandlerLimits limits;
  HandlerPolicy policy;
  /// None: all that happened while the host was away, and nothing from before its first join.
  std::optional<MissedEvents> missed;

  /// Whether it wants this user event at all; true for all that happen now, and for other events.
  [[nodiscard]] bool wants(const Event& event) const;

  /// Serf's `FILTER=COMMAND`, split at the first '='; without '=', all events. FILTER is a list
  /// with commas and no spaces. Errors: kInvalid, with the remedy.
  static Result<HandlerSpec> parse(std::string_view text);

  /// The same from the fields of a configuration file. Each string is a filter or a list with
  /// commas; none, or an empty one, means all events. Errors: kInvalid, naming the field, its value
  /// and its range.
  static Result<HandlerSpec> make(const std::vector<std::string>& filters, std::string command,
                                  HandlerLimits limits = {});

  /// With `on` and what runs from the policy. kInvalid: nothing to run, or a value out of range.
  static Result<HandlerSpec> make(HandlerPolicy policy, std::string command, HandlerLimits limits);

  /// How often it can run for one event: its filters, or 1.
  [[nodiscard]] size_t entries() const { return policy.on.empty() ? filters.size() : 1; }
  [[nodiscard]] bool matches(size_t entry, const Event& event) const;
  /// The members of `event` that it is for; the whole event if it asks for no tags.
  [[nodiscard]] bool picks_members() const;
  [[nodiscard]] Event narrowed(const Event& event) const;
  /// What is run: a program and its arguments.
  [[nodiscard]] std::vector<std::string> program() const;
  /// The same handler, but for its limits and policy's numbers.
  [[nodiscard]] bool same_as(const HandlerSpec& other) const;

  /// "user:deploy,member-join=/etc/starling/on.sh".
  [[nodiscard]] std::string to_string() const;
  /// The name of one entry in logs and records: "user:deploy=/etc/starling/on.sh".
  [[nodiscard]] std::string entry_name(size_t filter) const;
  bool operator==(const HandlerSpec&) const = default;
};

/// "250ms", "2s", "1m30s", "10m", "1h": the way that durations are written in errors and logs.
[[nodiscard]] std::string format_duration(Duration duration);

}  // namespace starling::handlers
