// SPDX-License-Identifier: Apache-2.0
#include "agent/config/convert.h"

#include <algorithm>
#include <array>

#include "agent/config/flag_keys.h"
#include "agent/config/keys.h"
#include "agent/config/secrets.h"
#include "agent/config/text.h"
#include "agent/config/yaml_reader.h"

namespace starling::agent {

namespace config {

namespace {

struct Meaning {
  std::string_view key;
  std::string_view text;
};

/// Of keys that have no flag. Those with one mean what the flag says.
constexpr auto kMeanings = std::to_array<Meaning>({
    {"rpc_auth", "token that Serf's clients have to show"},
    {"leave_on_terminate", "SIGTERM leaves the cluster before it ends the agent"},
    {"skip_leave_on_interrupt", "SIGINT ends the agent without leaving"},
    {"syslog_facility", "facility of enable_syslog"},
    {"reconnect_interval", "how often a failed member is tried again"},
    {"reconnect_timeout", "how long a failed member is remembered"},
    {"tombstone_timeout", "how long a member that left is remembered"},
    {"user_event_size_limit", "bytes of a user event's name and payload"},
    {"query_size_limit", "bytes of a query"},
    {"query_response_size_limit", "bytes of an answer to a query"},
});

std::string meaning_of(std::string_view key) {
  const auto* own = std::ranges::find(kMeanings, key, &Meaning::key);
  if (own != kMeanings.end()) return std::string(own->text);
  const std::string_view name = flag_of_key(key);
  for (const FlagSpec& flag : agent_flags()) {
    if (flag.name == name) return std::string(flag.help);
  }
  return {};
}

std::string scalar(const Value& value) {
  if (value.kind == Value::Kind::kNull) return "null";
  return value.kind == Value::Kind::kPlain ? value.text : json_string(value.text);
}

/// On one line, as JSON, which YAML includes.
std::string flow(const Value& value) {
  if (value.kind != Value::Kind::kList && value.kind != Value::Kind::kMap) return scalar(value);
  std::string text;
  for (const Value& item : value.items) text += (text.empty() ? "" : ", ") + flow(item);
  for (const ValueEntry& entry : value.entries) {
    text += (text.empty() ? "" : ", ") + json_string(entry.key) + ": " + flow(entry.value);
  }
  return value.kind == Value::Kind::kList ? "[" + text + "]" : "{" + text + "}";
}

/// A line for each element of a list or map.
std::string block(const std::string& key, const Value& value) {
  if (value.items.empty() && value.entries.empty()) return key + ": " + flow(value) + "\n";
  std::string text = key + ":\n";
  for (const Value& item : value.items) text += "  - " + flow(item) + "\n";
  for (const ValueEntry& entry : value.entries) {
    text += "  " + json_string(entry.key) + ": " + flow(entry.value) + "\n";
  }
  return text;
}

std::string commented(const std::string& reason, const std::string& key, const Value& value) {
  return "# Not taken over: " + reason + "\n# " + key + ": " + flow(value) + "\n";
}

std::string convert_entry(const std::string& name, const Value& value) {
  const Key& key = *find_key(name);
  if (const auto* ignored = std::get_if<IgnoredKey>(&key.target)) {
    return commented(std::string(ignored->text), name, value);
  }
  if (name == "encrypt_key" && value.is_scalar() && !value.text.empty()) {
    const auto checked = check_key(value.text);
    if (!checked) return commented(checked.error().message, name, {});
  }
  const std::string meaning = meaning_of(name);
  return (meaning.empty() ? "" : "# " + meaning + "\n") + block(name, value);
}

/// `role` is an older name of a tag.
void take_role(Value& root) {
  const auto role = std::ranges::find(root.entries, "role", &ValueEntry::key);
  if (role == root.entries.end()) return;
  const ValueEntry entry = *role;
  root.entries.erase(role);
  auto tags = std::ranges::find(root.entries, "tags", &ValueEntry::key);
  if (tags == root.entries.end()) {
    Value map;
    map.kind = Value::Kind::kMap;
    root.entries.push_back({"tags", entry.key_place, std::move(map)});
    tags = std::prev(root.entries.end());
  }
  const auto same = std::ranges::find(tags->value.entries, "role", &ValueEntry::key);
  if (same == tags->value.entries.end()) tags->value.entries.push_back(entry);
}

}  // namespace

}  // namespace config

Result<std::string> convert_config(const std::string& path) {
  auto text = config::read_config_file(path);
  if (!text) return tl::unexpected(text.error());
  auto root = config::parse_yaml(*text, path);
  if (!root) return tl::unexpected(root.error());
  config::Draft draft;
  if (auto applied = config::apply_file(draft, *root); !applied) {
    return tl::unexpected(applied.error());
  }
  config::take_role(*root);
  std::string converted = "# Converted from " + path + "\n";
  for (const config::Key& key : config::config_keys()) {
    const auto entry = std::ranges::find(root->entries, key.name, &config::ValueEntry::key);
    if (entry == root->entries.end()) continue;
    converted += "\n" + config::convert_entry(entry->key, entry->value);
  }
  return converted;
}

}  // namespace starling::agent
