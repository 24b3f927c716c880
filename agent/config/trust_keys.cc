// SPDX-License-Identifier: Apache-2.0
#include "agent/config/trust_keys.h"

#include <algorithm>
#include <span>

#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

constexpr std::string_view kKey = "trusted_operators";

Result<void> add_operator(Draft& draft, const Value& value) {
  const auto line = read_string(value, kKey);
  if (!line) return tl::unexpected(line.error());
  const auto named = NamedKey::parse(*line);
  if (!named) return key_error(value, kKey, named.error().message);
  std::vector<NamedKey>& known = draft.config.trusted_operators;
  if (std::ranges::find(known, *named) != known.end()) return {};
  for (const NamedKey& other : known) {
    if (other.name == named->name) {
      return key_error(value, kKey, quoted(named->name) + " is the name of two keys; keep one");
    }
    if (other.key == named->key) {
      return key_error(value, kKey,
                       "the key of " + quoted(other.name) + " again, as " + quoted(named->name));
    }
  }
  if (known.size() >= kMostOperators) {
    return key_error(value, kKey, "more than " + std::to_string(kMostOperators) + " operators");
  }
  known.push_back(*named);
  return {};
}

}  // namespace

Result<void> set_trusted_operators(Draft& draft, const Value& value) {
  if (value.kind == Value::Kind::kNull) return {};
  if (value.kind == Value::Kind::kMap) {
    return key_error(value, kKey, "wants a list; start each key with '- '");
  }
  const std::span<const Value> items =
      value.kind == Value::Kind::kList ? std::span(value.items) : std::span(&value, 1);
  for (const Value& item : items) {
    if (auto added = add_operator(draft, item); !added) return added;
  }
  return {};
}

std::string show_trusted_operators(const Config& config) {
  std::string text;
  for (const NamedKey& named : config.trusted_operators) {
    text += (text.empty() ? "" : ", ") + json_string(named.line());
  }
  return "[" + text + "]";
}

Result<void> set_admission(Draft& draft, const Value& value) {
  const auto word = read_string(value, "admission");
  if (!word) return tl::unexpected(word.error());
  if (*word != "open" && *word != "operators") {
    return key_error(value, "admission", quoted(*word) + " is not open or operators");
  }
  draft.config.admission_required = *word == "operators";
  return {};
}

std::string show_admission(const Config& config) {
  return config.admission_required ? "operators" : "open";
}

}  // namespace starling::agent::config
