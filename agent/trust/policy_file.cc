// SPDX-License-Identifier: Apache-2.0
//
// A policy from its YAML file.
#include <algorithm>
#include <array>
#include <span>

#include "agent/config/keys.h"
#include "agent/config/yaml_reader.h"
#include "agent/trust/policy.h"

namespace starling::agent {

namespace {

using config::key_error;
using config::quoted;
using config::Value;
using config::ValueEntry;

constexpr auto kKeys = std::to_array<std::string_view>({"rules", "handler_users"});
constexpr auto kRuleKeys = std::to_array<std::string_view>(
    {"operators", "events", "queries", "orders", "tags", "handlers"});
constexpr auto kOrders = std::to_array({OrderKind::kForceLeave, OrderKind::kKeys, OrderKind::kTags,
                                        OrderKind::kJobs, OrderKind::kNodes});
constexpr size_t kMostRules = 1000;
constexpr size_t kMostWords = 1000;  // of one list

/// One word, or a list of them; none of them empty.
Result<std::vector<std::string>> read_words(const Value& value, std::string_view key) {
  const std::span<const Value> items =
      value.kind == Value::Kind::kList ? std::span(value.items) : std::span(&value, 1);
  if (items.size() > kMostWords) {
    return key_error(value, key, "more than " + std::to_string(kMostWords) + " in one list");
  }
  std::vector<std::string> words;
  for (const Value& item : items) {
    auto word = config::read_string(item, key);
    if (!word) return tl::unexpected(word.error());
    if (word->empty()) return key_error(item, key, "an empty name");
    words.push_back(*std::move(word));
  }
  return words;
}

/// "any", "unsigned", a name, a key id, or the line of a public key, which becomes its id.
Result<std::vector<std::string>> read_operators(const Value& value) {
  auto words = read_words(value, "operators");
  if (!words) return words;
  for (std::string& word : *words) {
    if (word.find(' ') != std::string::npos) {
      const auto key = NamedKey::parse(word);
      if (!key) return key_error(value, "operators", key.error().message);
      word = key->key.id();
    } else if (word != "unsigned" && word != "any" && !check_operator_name(word)) {
      return key_error(value, "operators",
                       quoted(word) + " is no operator: write a name, a key id, any or unsigned");
    }
  }
  return words;
}

Result<std::vector<OrderKind>> read_orders(const Value& value) {
  const auto words = read_words(value, "orders");
  if (!words) return tl::unexpected(words.error());
  std::vector<OrderKind> orders;
  for (const std::string& word : *words) {
    const auto* found = std::ranges::find(kOrders, word, order_kind_name);
    if (found == kOrders.end()) {
      return key_error(value, "orders",
                       quoted(word) + " is not force-leave, keys, tags, jobs or nodes");
    }
    orders.push_back(*found);
  }
  return orders;
}

Result<AgentTags> read_tags(const Value& value) {
  if (value.kind != Value::Kind::kMap) {
    return key_error(value, "tags", "wants a map like {role: web}");
  }
  AgentTags tags;
  for (const ValueEntry& entry : value.entries) {
    auto text = config::read_string(entry.value, "tags: " + entry.key);
    if (!text) return tl::unexpected(text.error());
    tags[entry.key] = *std::move(text);
  }
  return tags;
}

template <typename T>
Result<void> store(T& target, Result<T> value) {
  if (!value) return tl::unexpected(value.error());
  target = *std::move(value);
  return {};
}

Result<void> set_field(PolicyRule& rule, const std::string& key, const Value& value) {
  if (key == "operators") return store(rule.operators, read_operators(value));
  if (key == "events") return store(rule.events, read_words(value, key));
  if (key == "queries") return store(rule.queries, read_words(value, key));
  if (key == "orders") return store(rule.orders, read_orders(value));
  if (key == "tags") return store(rule.tags, read_tags(value));
  return store(rule.handlers, read_words(value, key));
}

Result<PolicyRule> read_rule(const Value& value) {
  PolicyRule rule;
  rule.place = value.place;
  if (value.kind != Value::Kind::kMap) {
    return key_error(value, "rules", "each rule is a map like {operators: alice, events: deploy}");
  }
  for (const ValueEntry& entry : value.entries) {
    if (std::ranges::find(kRuleKeys, entry.key) == kRuleKeys.end()) {
      return config::unknown_key(entry, kRuleKeys, "");
    }
    if (auto set = set_field(rule, entry.key, entry.value); !set) {
      return tl::unexpected(set.error());
    }
  }
  if (rule.operators.empty()) {
    return key_error(value, "rules",
                     "a rule without operators: name some, or write any or unsigned");
  }
  const bool runs = !rule.events.empty() || !rule.queries.empty();
  if (!runs && rule.orders.empty()) {
    return key_error(value, "rules", "a rule that allows nothing: give events, queries or orders");
  }
  if (!rule.handlers.empty() && !runs) {
    return key_error(value, "rules", "handlers go with events or queries");
  }
  return rule;
}

Result<void> read_rules(const Value& value, Policy& policy) {
  if (value.kind == Value::Kind::kNull) return {};
  if (value.kind != Value::Kind::kList) {
    return key_error(value, "rules", "wants a list; start each rule with '- '");
  }
  if (value.items.size() > kMostRules) {
    return key_error(value, "rules", "more than " + std::to_string(kMostRules) + " rules");
  }
  for (const Value& item : value.items) {
    auto rule = read_rule(item);
    if (!rule) return tl::unexpected(rule.error());
    policy.rules.push_back(*std::move(rule));
  }
  return {};
}

}  // namespace

Result<Policy> Policy::parse(std::string_view text, const std::string& file) {
  auto root = config::parse_yaml(text, file);
  if (!root) return tl::unexpected(root.error());
  Policy policy;
  if (root->kind != Value::Kind::kMap) {
    return fail(ErrorKind::kInvalid, (root->place.empty() ? file : root->place) +
                                         ": wants 'rules:' with a list of rules; 'rules: []' "
                                         "allows nothing");
  }
  for (const ValueEntry& entry : root->entries) {
    Result<void> read;
    if (entry.key == "rules") {
      read = read_rules(entry.value, policy);
    } else if (entry.key == "handler_users") {
      read = store(policy.handler_users, read_words(entry.value, entry.key));
    } else {
      return config::unknown_key(entry, kKeys, "");
    }
    if (!read) return tl::unexpected(read.error());
  }
  return policy;
}

Result<Policy> Policy::read(const std::string& path) {
  auto text = config::read_config_file(path);
  if (!text) return tl::unexpected(text.error());
  return parse(*text, path);
}

}  // namespace starling::agent
