// SPDX-License-Identifier: Apache-2.0
#include "agent/config/handler_keys.h"

#include <array>
#include <limits>

#include "agent/config/handler_policy_keys.h"
#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

constexpr std::string_view kKey = "event_handlers";

Result<void> set_field(HandlerConfig& handler, const std::string& name, const Value& value) {
  if (name == "filter" || name == "command") {
    auto text = read_string(value, name);
    if (!text) return tl::unexpected(text.error());
    (name == "filter" ? handler.filter : handler.command) = std::move(*text);
    return {};
  }
  if (name == "timeout") {
    auto timeout = read_duration(value, name, kLeastTimeout, kMostTimeout);
    if (!timeout) return tl::unexpected(timeout.error());
    handler.timeout = *timeout;
    return {};
  }
  if (name == "missed") {
    auto text = read_string(value, name);
    if (!text) return tl::unexpected(text.error());
    if (*text != "all" && *text != "latest" && *text != "none") {
      return key_error(value, name, quoted(*text) + " is not all, latest or none");
    }
    handler.missed = std::move(*text);
    return {};
  }
  if (name != "concurrency") return set_policy_field(handler, name, value);
  auto number = read_number(value, name, 1, kMostRuns);
  if (!number) return tl::unexpected(number.error());
  handler.concurrency = static_cast<unsigned>(*number);
  return {};
}

Result<HandlerConfig> read_handler_map(const Value& value) {
  HandlerConfig handler;
  handler.place = value.place;
  for (const ValueEntry& entry : value.entries) {
    bool known = false;
    for (const std::string_view name : handler_keys()) known = known || name == entry.key;
    if (!known) return unknown_key(entry, handler_keys(), "");
    if (auto set = set_field(handler, entry.key, entry.value); !set) {
      return tl::unexpected(set.error());
    }
  }
  if (!handler.run.empty() && !handler.command.empty()) {
    return key_error(value, kKey, "a handler with both run and command: keep one");
  }
  if (!handler.on.empty() && !handler.filter.empty()) {
    return key_error(value, kKey, "a handler with both on and filter: keep one");
  }
  if (handler.run.empty() && handler.command.empty()) {
    return key_error(value, kKey, "a handler without a command");
  }
  return handler;
}

Result<HandlerConfig> read_handler(const Value& value) {
  if (value.kind == Value::Kind::kMap) return read_handler_map(value);
  auto spec = read_string(value, kKey);
  if (!spec) return tl::unexpected(spec.error());
  if (spec->empty()) return key_error(value, kKey, "an empty handler; write FILTER=COMMAND");
  HandlerConfig handler;
  handler.spec = std::move(*spec);
  handler.place = value.place;
  return handler;
}

Result<void> set_tag(Draft& draft, const std::string& key, const std::string& text,
                     const Value& value) {
  if (key.empty()) return key_error(value, "tags", "a tag without a name");
  if (!is_utf8(key) || !is_utf8(text)) {
    return key_error(value, "tags", "the tag " + quoted(key) + " is not valid UTF-8");
  }
  if (key.find('\0') != std::string::npos) {
    return key_error(value, "tags", "a tag's name holds a NUL byte");
  }
  draft.config.tags[key] = text;
  draft.places["tags"] = value.place;
  return {};
}

}  // namespace

Result<void> set_event_handlers(Draft& draft, const Value& value) {
  if (value.kind == Value::Kind::kNull) return {};
  if (value.kind == Value::Kind::kMap || value.kind == Value::Kind::kPlain ||
      value.kind == Value::Kind::kQuoted) {
    return key_error(value, kKey, "wants a list; start each handler with '- '");
  }
  const std::span<const Value> items =
      value.kind == Value::Kind::kList ? std::span(value.items) : std::span(&value, 1);
  for (const Value& item : items) {
    auto handler = read_handler(item);
    if (!handler) return tl::unexpected(handler.error());
    draft.config.event_handlers.push_back(std::move(*handler));
  }
  return {};
}

std::string show_event_handlers(const Config& config) {
  std::string text;
  for (const HandlerConfig& handler : config.event_handlers) {
    text += text.empty() ? "" : ", ";
    if (!handler.spec.empty()) {
      text += json_string(handler.spec);
      continue;
    }
    std::string fields;
    if (!handler.filter.empty()) fields += ", filter: " + json_string(handler.filter);
    if (handler.run.empty()) fields += ", command: " + json_string(handler.command);
    if (handler.timeout) fields += ", timeout: " + format_duration(*handler.timeout);
    if (handler.concurrency) fields += ", concurrency: " + std::to_string(*handler.concurrency);
    if (!handler.missed.empty()) fields += ", missed: " + handler.missed;
    fields += show_policy(handler);
    text += "{" + fields.substr(2) + "}";
  }
  return "[" + text + "]";
}

Result<void> set_tags(Draft& draft, const Value& value) {
  if (value.kind == Value::Kind::kNull) return {};
  if (value.kind == Value::Kind::kFlag) {
    const size_t equals = value.text.find('=');
    if (equals == std::string::npos) {
      return key_error(value, "tags", quoted(value.text) + " is not KEY=VALUE");
    }
    return set_tag(draft, value.text.substr(0, equals), value.text.substr(equals + 1), value);
  }
  if (value.kind != Value::Kind::kMap) {
    return key_error(value, "tags", "wants a map like {role: web, dc: east}");
  }
  for (const ValueEntry& entry : value.entries) {
    auto text = read_string(entry.value, "tags: " + entry.key);
    if (!text) return tl::unexpected(text.error());
    if (auto set = set_tag(draft, entry.key, *text, entry.value); !set) return set;
  }
  return {};
}

std::string show_tags(const Config& config) {
  std::string text;
  for (const auto& [key, value] : config.tags) {
    text += (text.empty() ? "" : ", ") + json_string(key) + ": " + json_string(value);
  }
  return "{" + text + "}";
}

Result<void> set_role(Draft& draft, const Value& value) {
  auto role = read_string(value, "role");
  if (!role) return tl::unexpected(role.error());
  if (role->empty()) return {};
  draft.config.warnings.push_back({value.place, "role is an older name of the tag 'role'"});
  return set_tag(draft, "role", *role, value);
}

}  // namespace starling::agent::config
