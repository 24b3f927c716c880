// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "agent/config/endpoint.h"
#include "agent/config/keys.h"
#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

std::string found(const Value& value) {
  switch (value.kind) {
    case Value::Kind::kNull:
      return "nothing";
    case Value::Kind::kPlain:
    case Value::Kind::kFlag:
      return quoted(value.text);
    case Value::Kind::kQuoted:
      return "the string \"" + quoted(value.text).substr(1, quoted(value.text).size() - 2) + "\"";
    case Value::Kind::kList:
      return "a list";
    case Value::Kind::kMap:
      return "a map";
  }
  return "something else";
}

tl::unexpected<Error> wrong_type(const Value& value, std::string_view key, const char* wanted) {
  return key_error(value, key, "wants " + std::string(wanted) + ", not " + found(value));
}

/// Where the address starts in "name/host:port", which names the member as well.
size_t name_end(std::string_view text) {
  const size_t slash = text.find('/');
  return slash == std::string_view::npos ? 0 : slash + 1;
}

}  // namespace

tl::unexpected<Error> key_error(const Value& value, std::string_view key, const std::string& text) {
  const std::string name = value.kind == Value::Kind::kFlag ? "" : std::string(key) + ": ";
  return fail(ErrorKind::kInvalid, value.place + ": " + name + text);
}

Result<std::string> read_string(const Value& value, std::string_view key) {
  if (value.is_scalar()) {
    if (value.text.find('\0') != std::string::npos)
      return key_error(value, key, "holds a NUL byte");
    return value.text;
  }
  if (value.kind == Value::Kind::kNull) {
    return key_error(value, key, "has no value; write \"\" for an empty one");
  }
  return wrong_type(value, key, "a string");
}

Result<bool> read_bool(const Value& value, std::string_view key) {
  const std::string& text = value.text;
  if (value.kind == Value::Kind::kPlain || value.kind == Value::Kind::kFlag) {
    if (text == "true" || text == "True" || text == "TRUE") return true;
    if (text == "false" || text == "False" || text == "FALSE") return false;
  }
  if (value.kind == Value::Kind::kFlag) {  // as Go's flags
    if (text == "1" || text == "t" || text == "T") return true;
    if (text == "0" || text == "f" || text == "F") return false;
  }
  return wrong_type(value, key, "true or false");
}

Result<uint64_t> read_number(const Value& value, std::string_view key, uint64_t least,
                             uint64_t most) {
  const bool numeric = value.kind == Value::Kind::kPlain || value.kind == Value::Kind::kFlag;
  const auto number = numeric ? parse_number(value.text) : std::nullopt;
  if (number && *number >= least && *number <= most) return *number;
  const std::string wanted =
      "a number from " + std::to_string(least) + " to " + std::to_string(most);
  return wrong_type(value, key, wanted.c_str());
}

Result<Duration> read_duration(const Value& value, std::string_view key, Duration least,
                               Duration most) {
  if (!value.is_scalar()) return wrong_type(value, key, "a duration like 10s, 1m30s or 500ms");
  auto duration = parse_duration(value.text);
  if (!duration) return key_error(value, key, duration.error().message);
  if (*duration < least || *duration > most) {
    return key_error(value, key,
                     "wants " + format_duration(least) + " to " + format_duration(most) + ", not " +
                         found(value));
  }
  return duration;
}

Result<std::vector<std::string>> read_addresses(const Value& value, std::string_view key) {
  if (value.kind == Value::Kind::kNull) return std::vector<std::string>{};
  const bool flag = value.kind == Value::Kind::kFlag;
  if (!flag && value.kind != Value::Kind::kList) {
    return wrong_type(value, key, "a list like [10.0.0.1, 10.0.0.2]");
  }
  std::vector<std::string> list;
  for (const Value& item : flag ? std::span(&value, 1) : std::span(value.items)) {
    auto text = read_string(item, key);
    if (!text) return tl::unexpected(text.error());
    const auto endpoint =
        parse_endpoint(std::string_view(*text).substr(name_end(*text)), kDefaultBindPort);
    if (!endpoint) return key_error(item, key, endpoint.error().message);
    if (endpoint->host.empty()) return key_error(item, key, quoted(*text) + " names no host");
    list.push_back(std::move(*text));
  }
  return list;
}

tl::unexpected<Error> unknown_key(const ValueEntry& entry, std::span<const std::string_view> names,
                                  const std::string& extra) {
  std::string text = entry.key_place + ": unknown key " + quoted(entry.key) + extra;
  if (extra.empty()) {
    if (const auto near = nearest(entry.key, names); !near.empty()) {
      text += "; did you mean '" + std::string(near) + "'?";
    }
  }
  return fail(ErrorKind::kInvalid, text);
}

}  // namespace starling::agent::config
