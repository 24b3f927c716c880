// SPDX-License-Identifier: Apache-2.0
//
// HandlerPolicy: what a handler may ask for beyond Serf's FILTER=COMMAND, and the sums behind it.
// Values and pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "handlers/coalesce.h"
#include "handlers/event.h"
#include "handlers/process.h"
#include "proto/support/result.h"

namespace starling::handlers {

inline constexpr unsigned kMaxRetries = 1000;
inline constexpr auto kMaxDelay = std::chrono::hours(24 * 7);

/// What happens when a handler's queue is full.
enum class WhenFull : uint8_t {
  kDropNewest,  ///< the one that comes is refused
  kDropOldest,  ///< the one that has waited longest goes
  kCollapse,    ///< those that wait for an event of the same name go; if there is none, the newest
};

/// One line of `on`: a type of event, a name with wildcards for user events and queries, and for
/// member events tags with wildcards.
struct Subscription {
  std::optional<EventType> type;  ///< none: every event
  std::string name = "*";
  std::map<std::string, std::string> tags;

  /// "member-failed role=web dc=east-*", "user:deploy-*", "query:uptime", "*". kInvalid, with what
  /// is valid.
  static Result<Subscription> parse(std::string_view text);

  [[nodiscard]] bool matches(const Event& event) const;
  [[nodiscard]] bool matches(const Member& member) const;
  [[nodiscard]] std::string to_string() const;
  bool operator==(const Subscription&) const = default;
};

struct HandlerPolicy {
  /// In the ledger and in logs. Empty: made of what the handler is for and what it runs.
  std::string name;
  /// Instead of Serf's filters: one run for an event, however many of these match.
  std::vector<Subscription> on;
  /// Instead of the command for a shell: a program and its arguments.
  std::vector<std::string> arguments;
  Duration grace = std::chrono::seconds(5);  ///< from SIGTERM to SIGKILL
  WhenFull when_full = WhenFull::kDropNewest;
  Duration splay{};                            ///< runs are spread over this
  std::optional<CoalesceWindow> coalesce;      ///< none: the agent's
  unsigned retries = 0;                        ///< further attempts after a failure
  Duration backoff = std::chrono::seconds(1);  ///< before the first of them; doubles each time
  Duration longest_backoff = std::chrono::minutes(5);
  bool idempotent = false;               ///< may run again though nobody knows how far it came
  std::vector<std::string> environment;  ///< "KEY=value"
  ProcessSetting setting;
  bool json_input = false;
  bool answers_with_job = false;  ///< a query is answered at once with the job's number

  bool operator==(const HandlerPolicy&) const = default;
};

/// '*' stands for any text, '?' for one byte.
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view text);

/// A time from 0 to `splay`, always the same for an event and a host: a fleet spreads evenly
/// without a message.
[[nodiscard]] Duration splay_of(std::string_view event_id, std::string_view host, Duration splay);

/// The wait before `attempt` (from 2).
[[nodiscard]] Duration backoff_of(const HandlerPolicy& policy, unsigned attempt);

/// "be:4", "best-effort:4", "idle", "rt:0", "realtime:0" as for ioprio_set(2). kInvalid.
[[nodiscard]] Result<unsigned> parse_io_priority(std::string_view text);

}  // namespace starling::handlers
