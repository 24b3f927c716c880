// SPDX-License-Identifier: Apache-2.0
//
// What a command is given: its environment and its standard input, exactly as Serf gives them,
// plus STARLING_* variables. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "handlers/event.h"

namespace starling::handlers {

/// "KEY=value" strings.
using Environment = std::vector<std::string>;

/// The variables that describe `event` and the own host. `now` counts for a query's time left. NUL
/// bytes, which no variable can hold, become U+FFFD, so that a cut-off name is never mistaken for
/// another. Two tags that give one variable (`dc-1`, `dc_1`): the one that sorts last wins.
[[nodiscard]] Environment event_environment(const Event& event, const Host& host, TimePoint now);

/// `inherited` without the variables that `own` sets, without those of another event (an agent
/// started by a handler) and those of the service manager that are meant for the agent alone; then
/// `own`. No key twice.
[[nodiscard]] Environment merge_environment(const Environment& inherited, const Environment& own);

/// This process's environment.
[[nodiscard]] Environment process_environment();

/// Member events: one line per member, NAME TAB ADDRESS TAB ROLE TAB TAGS, tags as `k=v,k=v` sorted
/// by key; a real TAB or newline in name, role or tags becomes `\t` or `\n`. User events and
/// queries: the payload, ended by a newline unless it is empty or has one.
[[nodiscard]] std::string event_input(const Event& event);

/// The same as one JSON object on one line: event, id, job, attempt, self {name, tags}; members
/// [{name, address, role, tags}]; name, ltime, payload (or payload_base64, if it is not UTF-8);
/// source and deadline_ms of a query.
[[nodiscard]] std::string event_json(const Event& event, const Host& host, uint64_t job,
                                     unsigned attempt, TimePoint now);

/// The variable of a tag without its prefix: upper-cased, then each character that is not in
/// [A-Z0-9_] becomes one `_`; bytes that are not UTF-8 count as one character each.
[[nodiscard]] std::string tag_variable(std::string_view tag);

}  // namespace starling::handlers
