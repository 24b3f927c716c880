// SPDX-License-Identifier: Apache-2.0
#include "handlers/policy.h"

#include <algorithm>
#include <array>
#include <utility>

namespace starling::handlers {
namespace {

constexpr std::array kTypes = {
    EventType::kMemberJoin,   EventType::kMemberLeave, EventType::kMemberFailed,
    EventType::kMemberUpdate, EventType::kMemberReap,  EventType::kUser,
    EventType::kQuery,
};

tl::unexpected<Error> invalid(std::string_view text) {
  return fail(ErrorKind::kInvalid,
              "\"" + std::string(text) +
                  "\" is not an event; write member-join, member-leave, member-failed, "
                  "member-update or member-reap, perhaps with tags (member-failed role=web), "
                  "user:NAME, query:NAME (NAME may hold * and ?), or *");
}

Result<void> parse_kind(std::string_view word, Subscription& into) {
  if (word == "*") return {};
  const size_t colon = word.find(':');
  const std::string_view type = word.substr(0, colon);
  for (const EventType candidate : kTypes) {
    if (type == event_type_name(candidate)) into.type = candidate;
  }
  if (!into.type) return invalid(word);
  if (colon == std::string_view::npos) return {};
  into.name = std::string(word.substr(colon + 1));
  if (is_member_event(*into.type) || into.name.empty()) return invalid(word);
  return {};
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view text) {
  size_t star = std::string_view::npos;
  size_t resume = 0;
  size_t p = 0;
  size_t t = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Result<Subscription> Subscription::parse(std::string_view text) {
  Subscription made;
  bool first = true;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t blank = std::min(rest.find(' '), rest.size());
    const std::string_view word = rest.substr(0, blank);
    rest.remove_prefix(std::min(blank + 1, rest.size()));
    if (word.empty()) continue;
    if (std::exchange(first, false)) {
      if (auto ok = parse_kind(word, made); !ok) return tl::unexpected(ok.error());
      continue;
    }
    const size_t equals = word.find('=');
    const bool member = made.type && is_member_event(*made.type);
    if (equals == std::string_view::npos || equals == 0 || !member) return invalid(text);
    made.tags[std::string(word.substr(0, equals))] = std::string(word.substr(equals + 1));
  }
  if (first) return invalid(text);
  return made;
}

bool Subscription::matches(const Event& event) const {
  if (type && event.type != *type) return false;
  if (!is_member_event(event.type)) return glob_matches(name, event.name);
  return std::ranges::any_of(event.members,
                             [this](const Member& member) { return matches(member); });
}

bool Subscription::matches(const Member& member) const {
  return std::ranges::all_of(tags, [&](const auto& tag) {
    const auto found = member.tags.find(tag.first);
    return glob_matches(tag.second, found == member.tags.end() ? "" : found->second);
  });
}

std::string Subscription::to_string() const {
  std::string text(type ? event_type_name(*type) : "*");
  if (type && !is_member_event(*type) && name != "*") text += ":" + name;
  for (const auto& [key, value] : tags) text.append(" ").append(key).append("=").append(value);
  return text;
}

Duration splay_of(std::string_view event_id, std::string_view host, Duration splay) {
  if (splay <= Duration{0}) return {};
  uint64_t state = 0xcbf29ce484222325U;
  const auto mix = [&state](std::string_view text) {
    for (const char c : text) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    state = (state ^ 0xffU) * 0x100000001b3U;
  };
  mix(event_id);
  mix(host);
  // FNV's high bits are poor: finish as splitmix64 does.
  state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9U;
  state = (state ^ (state >> 27)) * 0x94d049bb133111ebU;
  state ^= state >> 31;
  const auto range = static_cast<uint64_t>(splay.count());
  return Duration(static_cast<Duration::rep>(state % range));
}

Duration backoff_of(const HandlerPolicy& policy, unsigned attempt) {
  Duration wait = policy.backoff;
  for (unsigned i = 2; i < attempt && wait < policy.longest_backoff; ++i) wait *= 2;
  return std::min(wait, policy.longest_backoff);
}

Result<unsigned> parse_io_priority(std::string_view text) {
  constexpr unsigned kClassShift = 13;
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  unsigned kind = 0;
  if (name == "realtime" || name == "rt") kind = 1;
  if (name == "best-effort" || name == "be") kind = 2;
  if (name == "idle") kind = 3;
  unsigned level = 4;
  bool good = kind != 0;
  if (colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    good = good && kind != 3 && digits.size() == 1 && digits[0] >= '0' && digits[0] <= '7';
    if (good) level = static_cast<unsigned>(digits[0] - '0');
  }
  if (!good) {
    return fail(ErrorKind::kInvalid, "\"" + std::string(text) +
                                         "\" is no I/O priority; write idle, best-effort:0 to "
                                         "best-effort:7, or realtime:0 to realtime:7");
  }
  return kind << kClassShift | (kind == 3 ? 0 : level);
}

}  // namespace starling::handlers
