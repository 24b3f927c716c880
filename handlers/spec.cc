// SPDX-License-Identifier: Apache-2.0
#include "handlers/spec.h"

#include <algorithm>
#include <array>
#include <utility>

namespace starling::handlers {
namespace {

constexpr std::string_view kUserPrefix = "user:";
constexpr std::string_view kQueryPrefix = "query:";
constexpr std::string_view kValidFilters =
    "member-join, member-leave, member-failed, member-update, member-reap, user, user:NAME, query, "
    "query:NAME, *";

constexpr std::array kTypes = {
    EventType::kMemberJoin,   EventType::kMemberLeave, EventType::kMemberFailed,
    EventType::kMemberUpdate, EventType::kMemberReap,  EventType::kUser,
    EventType::kQuery,
};

Result<std::vector<Filter>> parse_filters(std::string_view list) {
  std::vector<Filter> filters;
  if (list.empty()) return std::vector<Filter>{Filter{}};
  while (true) {
    const size_t comma = list.find(',');
    Result<Filter> filter = Filter::parse(list.substr(0, comma));
    if (!filter) return tl::unexpected(filter.error());
    filters.push_back(*std::move(filter));
    if (comma == std::string_view::npos) return filters;
    list.remove_prefix(comma + 1);
  }
}

Result<void> check_command(const std::string& command) {
  if (command.find_first_not_of(" \t\n") == std::string::npos) {
    return fail(ErrorKind::kInvalid,
                "a handler has no command; write FILTER=COMMAND, for example "
                "user:deploy=/usr/local/bin/deploy.sh");
  }
  if (command.size() > kMaxCommand) {
    return fail(ErrorKind::kInvalid, "a handler's command has " + std::to_string(command.size()) +
                                         " bytes; put it into a script file (the limit is " +
                                         std::to_string(kMaxCommand) + ")");
  }
  if (command.find('\0') != std::string::npos) {
    return fail(ErrorKind::kInvalid, "a handler's command holds a NUL byte; remove it");
  }
  return {};
}

Result<void> check_range(std::string_view field, size_t value, size_t low, size_t high) {
  if (value >= low && value <= high) return {};
  return fail(ErrorKind::kInvalid, "handler " + std::string(field) + " is " +
                                       std::to_string(value) + "; it must be from " +
                                       std::to_string(low) + " to " + std::to_string(high));
}

Result<void> check_limits(const HandlerLimits& limits) {
  if (auto ok = check_range("concurrency", limits.concurrency, 1, kMaxConcurrency); !ok) return ok;
  if (auto ok = check_range("queue", limits.queue, 1, kMaxQueue); !ok) return ok;
  if (auto ok = check_range("output_tail", limits.output_tail, 0, kMaxOutputTail); !ok) return ok;
  if (limits.timeout < std::chrono::milliseconds(1) || limits.timeout > kMaxTimeout) {
    return fail(ErrorKind::kInvalid, "handler timeout is " + format_duration(limits.timeout) +
                                         "; it must be from 1ms to " +
                                         format_duration(kMaxTimeout));
  }
  return {};
}

}  // namespace

Result<Filter> Filter::parse(std::string_view text) {
  if (text == "*") return Filter{};
  if (text.starts_with(kUserPrefix)) {
    return Filter{EventType::kUser, std::string(text.substr(kUserPrefix.size()))};
  }
  if (text.starts_with(kQueryPrefix)) {
    return Filter{EventType::kQuery, std::string(text.substr(kQueryPrefix.size()))};
  }
  for (const EventType type : kTypes) {
    if (text == event_type_name(type)) return Filter{type, {}};
  }
  return fail(ErrorKind::kInvalid, "invalid event filter \"" + std::string(text) +
                                       "\"; valid are: " + std::string(kValidFilters) +
                                       " (a list has commas and no spaces)");
}

bool Filter::matches(const Event& event) const {
  if (!type) return true;
  return event.type == *type && (name.empty() || event.name == name);
}

std::string Filter::to_string() const {
  if (!type) return "*";
  std::string text(event_type_name(*type));
  if (!name.empty()) text += ":" + name;
  return text;
}

Result<HandlerSpec> HandlerSpec::parse(std::string_view text) {
  const size_t equals = text.find('=');
  const bool has_filter = equals != std::string_view::npos;
  const std::string_view list = has_filter ? text.substr(0, equals) : std::string_view{};
  Result<std::vector<Filter>> filters = parse_filters(list);
  if (!filters) {
    return fail(ErrorKind::kInvalid,
                "handler \"" + std::string(text) + "\": " + filters.error().message +
                    "; what is before the first '=' is the filter: to run a command that holds "
                    "'=' for every event, write *=" +
                    std::string(text));
  }
  HandlerSpec spec;
  spec.filters = *std::move(filters);
  spec.command = std::string(has_filter ? text.substr(equals + 1) : text);
  if (auto ok = check_command(spec.command); !ok) return tl::unexpected(ok.error());
  return spec;
}

Result<HandlerSpec> HandlerSpec::make(const std::vector<std::string>& filters, std::string command,
                                      HandlerLimits limits) {
  HandlerSpec spec;
  for (const std::string& text : filters) {
    Result<std::vector<Filter>> list = parse_filters(text);
    if (!list) return tl::unexpected(list.error());
    spec.filters.insert(spec.filters.end(), list->begin(), list->end());
  }
  if (spec.filters.empty()) spec.filters.emplace_back();
  if (auto ok = check_command(command); !ok) return tl::unexpected(ok.error());
  if (auto ok = check_limits(limits); !ok) return tl::unexpected(ok.error());
  spec.command = std::move(command);
  spec.limits = limits;
  return spec;
}

Result<HandlerSpec> HandlerSpec::make(HandlerPolicy policy, std::string command,
                                      HandlerLimits limits) {
  HandlerSpec spec;
  if (policy.arguments.empty()) {
    if (auto ok = check_command(command); !ok) return tl::unexpected(ok.error());
  } else if (policy.arguments[0].empty()) {
    return fail(ErrorKind::kInvalid, "run: the name of the program is empty");
  }
  if (auto ok = check_limits(limits); !ok) return tl::unexpected(ok.error());
  if (auto ok = check_range("retries", policy.retries, 0, kMaxRetries); !ok) {
    return tl::unexpected(ok.error());
  }
  for (const Duration delay :
       {policy.splay, policy.backoff, policy.longest_backoff, policy.grace}) {
    if (delay >= Duration{0} && delay <= kMaxDelay) continue;
    return fail(ErrorKind::kInvalid,
                "handler splay, backoff and grace are at most " + format_duration(kMaxDelay));
  }
  if (policy.on.empty()) policy.on.emplace_back();
  spec.command = std::move(command);
  spec.limits = limits;
  spec.policy = std::move(policy);
  return spec;
}

bool HandlerSpec::matches(size_t entry, const Event& event) const {
  if (!wants(event)) return false;
  if (policy.on.empty()) return filters[entry].matches(event);
  return std::ranges::any_of(policy.on, [&](const Subscription& on) { return on.matches(event); });
}

bool HandlerSpec::picks_members() const {
  return std::ranges::any_of(policy.on, [](const Subscription& on) { return !on.tags.empty(); });
}

Event HandlerSpec::narrowed(const Event& event) const {
  Event narrow = event;
  std::erase_if(narrow.members, [&](const Member& member) {
    return std::ranges::none_of(policy.on, [&](const Subscription& on) {
      return (!on.type || *on.type == event.type) && on.matches(member);
    });
  });
  return narrow;
}

std::vector<std::string> HandlerSpec::program() const {
  if (!policy.arguments.empty()) return policy.arguments;
  return {"/bin/sh", "-c", command};
}

bool HandlerSpec::same_as(const HandlerSpec& other) const {
  return filters == other.filters && command == other.command && policy.on == other.policy.on &&
         policy.arguments == other.policy.arguments && policy.name == other.policy.name;
}

std::string_view missed_events_name(MissedEvents missed) {
  switch (missed) {
    case MissedEvents::kAll:
      return "all";
    case MissedEvents::kLatest:
      return "latest";
    case MissedEvents::kNone:
      return "none";
  }
  return "all";
}

std::optional<MissedEvents> parse_missed_events(std::string_view name) {
  for (const auto missed : {MissedEvents::kAll, MissedEvents::kLatest, MissedEvents::kNone}) {
    if (name == missed_events_name(missed)) return missed;
  }
  return std::nullopt;
}

bool HandlerSpec::wants(const Event& event) const {
  if (event.type != EventType::kUser || event.timing == EventTiming::kLive) return true;
  const bool before_join = event.timing == EventTiming::kBeforeJoin;
  switch (missed.value_or(before_join ? MissedEvents::kNone : MissedEvents::kAll)) {
    case MissedEvents::kAll:
      return true;
    case MissedEvents::kLatest:
      return event.latest;
    case MissedEvents::kNone:
      return false;
  }
  return true;
}

std::string HandlerSpec::to_string() const {
  std::string text;
  for (const Subscription& on : policy.on) {
    if (!text.empty()) text += ',';
    text += on.to_string();
  }
  for (const Filter& filter : filters) {
    if (!text.empty()) text += ',';
    text += filter.to_string();
  }
  text += "=";
  if (policy.arguments.empty()) return text + command;
  for (size_t i = 0; i < policy.arguments.size(); ++i) {
    text.append(i == 0 ? "" : " ").append(policy.arguments[i]);
  }
  return text;
}

std::string HandlerSpec::entry_name(size_t filter) const {
  if (!policy.name.empty()) return policy.name;
  if (!policy.on.empty()) return to_string();
  return filters.at(filter).to_string() + "=" + command;
}

std::string format_duration(Duration duration) {
  using std::chrono::milliseconds;
  const auto total = std::chrono::duration_cast<milliseconds>(duration).count();
  if (total < 0) return "-" + format_duration(-duration);
  if (total < 1000) return std::to_string(total) + "ms";
  const auto hours = total / 3'600'000;
  const auto minutes = total / 60'000 % 60;
  const auto seconds = total / 1000 % 60;
  const auto millis = total % 1000;
  std::string text;
  if (hours > 0) text += std::to_string(hours) + "h";
  if (minutes > 0) text += std::to_string(minutes) + "m";
  if (millis > 0) {
    std::string fraction = std::to_string(1000 + millis).substr(1);
    while (fraction.back() == '0') fraction.pop_back();
    text += std::to_string(seconds) + "." + fraction + "s";
  } else if (seconds > 0) {
    text += std::to_string(seconds) + "s";
  }
  return text;
}

}  // namespace starling::handlers
