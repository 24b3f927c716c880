// SPDX-License-Identifier: Apache-2.0
#include "handlers/payload.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "handlers/text.h"
#include "proto/support/utf8.h"

namespace starling::handlers {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Variables that tell of one event; those of an outer event must not leak into an inner one.
constexpr std::array<std::string_view, 7> kEventVariables = {
    "EVENT", "USER_EVENT", "USER_LTIME", "QUERY_NAME", "QUERY_LTIME", "SELF_NAME", "SELF_ROLE",
};
constexpr std::array<std::string_view, 6> kOwnEventVariables = {
    "STARLING_EVENT_ID", "STARLING_JOB",          "STARLING_ATTEMPT",
    "STARLING_OPERATOR", "STARLING_QUERY_SOURCE", "STARLING_QUERY_DEADLINE_MS",
};
// systemd's, for the agent itself: a child that used them would speak in the agent's name.
constexpr std::array<std::string_view, 6> kServiceVariables = {
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
};

std::string variable_value(std::string_view value) {
  std::string clean;
  clean.reserve(value.size());
  for (const char c : value) {
    if (c == '\0') {
      clean += kReplacement;
    } else {
      clean += c;
    }
  }
  return clean;
}

std::string_view role_of(const Tags& tags) {
  const auto role = tags.find("role");
  return role == tags.end() ? std::string_view{} : std::string_view(role->second);
}

/// Adds each variable twice: Serf's name and ours.
class Writer {
 public:
  void both(std::string_view key, std::string_view value) {
    add("SERF_", key, value);
    add("STARLING_", key, value);
  }
  void ours(std::string_view key, std::string_view value) { add("STARLING_", key, value); }

  Environment take() { return std::move(out_); }

 private:
  void add(std::string_view prefix, std::string_view key, std::string_view value) {
    std::string entry(prefix);
    entry.append(key).append("=").append(variable_value(value));
    out_.push_back(std::move(entry));
  }

  Environment out_;
};

std::string clean_field(std::string_view field) {
  std::string clean;
  clean.reserve(field.size());
  for (const char c : field) {
    if (c == '\t') {
      clean += "\\t";
    } else if (c == '\n') {
      clean += "\\n";
    } else {
      clean += c;
    }
  }
  return clean;
}

std::string member_line(const Member& member) {
  std::string tags;
  for (const auto& [key, value] : member.tags) {
    if (!tags.empty()) tags += ',';
    tags.append(key).append("=").append(value);
  }
  return clean_field(member.name) + "\t" + member.address + "\t" +
         clean_field(role_of(member.tags)) + "\t" + clean_field(tags) + "\n";
}

std::string_view key_of(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

bool for_another(std::string_view key) {
  if (std::ranges::find(kServiceVariables, key) != kServiceVariables.end()) return true;
  if (std::ranges::find(kOwnEventVariables, key) != kOwnEventVariables.end()) return true;
  for (const std::string_view prefix : {"SERF_", "STARLING_"}) {
    if (!key.starts_with(prefix)) continue;
    const std::string_view rest = key.substr(prefix.size());
    if (std::ranges::find(kEventVariables, rest) != kEventVariables.end()) return true;
  }
  return false;
}

}  // namespace

std::string tag_variable(std::string_view tag) {
  std::string name;
  while (!tag.empty()) {
    const size_t length = std::max<size_t>(utf8_length(tag), 1);
    const std::string_view character = tag.substr(0, length);
    tag.remove_prefix(length);
    const char c = character[0];
    if (c >= 'a' && c <= 'z') {
      name += static_cast<char>(c - 'a' + 'A');
    } else if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_') {
      name += c;
    } else if (character == "\xC4\xB1") {  // U+0131, whose capital is I
      name += 'I';
    } else if (character == "\xC5\xBF") {  // U+017F, whose capital is S
      name += 'S';
    } else {
      name += '_';
    }
  }
  return name;
}

Environment event_environment(const Event& event, const Host& host, TimePoint now) {
  Writer writer;
  writer.both("EVENT", event_type_name(event.type));
  writer.both("SELF_NAME", host.name);
  writer.both("SELF_ROLE", role_of(host.tags));
  std::map<std::string, std::string_view> tags;
  for (const auto& [key, value] : host.tags) tags["TAG_" + tag_variable(key)] = value;
  for (const auto& [key, value] : tags) writer.both(key, value);
  if (!event.id.empty()) writer.ours("EVENT_ID", event.id);
  if (!event.operator_name.empty()) writer.ours("OPERATOR", event.operator_name);
  if (event.type == EventType::kUser) {
    writer.both("USER_EVENT", event.name);
    writer.both("USER_LTIME", std::to_string(event.ltime));
  } else if (event.type == EventType::kQuery) {
    writer.both("QUERY_NAME", event.name);
    writer.both("QUERY_LTIME", std::to_string(event.ltime));
    writer.ours("QUERY_SOURCE", event.source);
    if (event.deadline != kNever) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(event.deadline - now);
      writer.ours("QUERY_DEADLINE_MS", std::to_string(std::max<int64_t>(0, left.count())));
    }
  }
  return writer.take();
}

Environment merge_environment(const Environment& inherited, const Environment& own) {
  std::set<std::string_view> seen;
  Environment merged;
  for (const std::string& variable : own) {
    seen.insert(key_of(variable));
  }
  for (const std::string& variable : inherited) {
    const std::string_view key = key_of(variable);
    if (for_another(key) || !seen.insert(key).second) continue;
    merged.push_back(variable);
  }
  merged.insert(merged.end(), own.begin(), own.end());
  return merged;
}

Environment process_environment() {
  Environment variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    variables.emplace_back(*entry);
  }
  return variables;
}

std::string event_input(const Event& event) {
  if (is_member_event(event.type)) {
    std::string lines;
    for (const Member& member : event.members) lines += member_line(member);
    return lines;
  }
  std::string input = event.payload;
  if (!input.empty() && input.back() != '\n') input += '\n';
  return input;
}

}  // namespace starling::handlers
