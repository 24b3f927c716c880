// SPDX-License-Identifier: Apache-2.0
#include "agent/config/handler_policy_keys.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "agent/config/handler_keys.h"
#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

constexpr unsigned kMostRetries = 1000;
constexpr uint64_t kLeastOutput = 1024;
constexpr uint64_t kMostOutput = uint64_t{1} << 30;

using Field = Result<void> (*)(HandlerConfig& handler, const std::string& name, const Value& value);

struct NamedField {
  std::string_view name;
  Field set;
};

template <auto Member>
Result<void> set_text(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto text = read_string(value, name);
  if (!text) return tl::unexpected(text.error());
  handler.*Member = std::move(*text);
  return {};
}

template <auto Member>
Result<void> set_delay(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto delay = read_duration(value, name, Duration::zero(), kMostTimeout);
  if (!delay) return tl::unexpected(delay.error());
  handler.*Member = *delay;
  return {};
}

/// A list of texts, or one.
Result<std::vector<std::string>> read_texts(const Value& value, const std::string& name) {
  std::vector<std::string> texts;
  const std::span<const Value> items =
      value.kind == Value::Kind::kList ? std::span(value.items) : std::span(&value, 1);
  for (const Value& item : items) {
    auto text = read_string(item, name);
    if (!text) return tl::unexpected(text.error());
    texts.push_back(std::move(*text));
  }
  return texts;
}

Result<void> set_on(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto texts = read_texts(value, name);
  if (!texts) return tl::unexpected(texts.error());
  if (texts->empty()) return key_error(value, name, "names no event");
  handler.on = std::move(*texts);
  return {};
}

Result<void> set_run(HandlerConfig& handler, const std::string& name, const Value& value) {
  if (value.kind != Value::Kind::kList) {
    return set_text<&HandlerConfig::command>(handler, name, value);
  }
  auto texts = read_texts(value, name);
  if (!texts) return tl::unexpected(texts.error());
  if (texts->empty()) return key_error(value, name, "names no program");
  handler.run = std::move(*texts);
  return {};
}

Result<void> set_queue_length(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto number = read_number(value, name, 1, kMostWaiting);
  if (!number) return tl::unexpected(number.error());
  handler.queue = static_cast<unsigned>(*number);
  return {};
}

Result<void> set_queue(HandlerConfig& handler, const std::string& name, const Value& value) {
  if (value.kind != Value::Kind::kMap) return set_queue_length(handler, name, value);
  constexpr std::array<std::string_view, 2> kKeys = {"length", "full"};
  constexpr std::array<std::string_view, 3> kWays = {"drop-newest", "drop-oldest", "collapse"};
  for (const ValueEntry& entry : value.entries) {
    if (entry.key == "length") {
      if (auto set = set_queue_length(handler, "queue length", entry.value); !set) return set;
    } else if (entry.key == "full") {
      auto way = read_string(entry.value, "queue full");
      if (!way) return tl::unexpected(way.error());
      if (std::ranges::find(kWays, *way) == kWays.end()) {
        return key_error(entry.value, "queue full",
                         "wants drop-newest, drop-oldest or collapse, not " + quoted(*way));
      }
      handler.when_full = *way;
    } else {
      return unknown_key(entry, kKeys, "");
    }
  }
  return {};
}

Result<void> set_coalesce(HandlerConfig& handler, const std::string& name, const Value& value) {
  std::pair<Duration, Duration> window = {std::chrono::seconds(1), std::chrono::seconds(3)};
  if (value.kind != Value::Kind::kMap) {
    auto on = read_bool(value, name);
    if (!on) return tl::unexpected(on.error());
    if (!*on) window = {};
    handler.coalesce = window;
    return {};
  }
  constexpr std::array<std::string_view, 2> kKeys = {"quiet", "longest"};
  for (const ValueEntry& entry : value.entries) {
    if (std::ranges::find(kKeys, entry.key) == kKeys.end()) return unknown_key(entry, kKeys, "");
    auto period =
        read_duration(entry.value, name + " " + entry.key, Duration::zero(), kMostTimeout);
    if (!period) return tl::unexpected(period.error());
    (entry.key == "quiet" ? window.first : window.second) = *period;
  }
  handler.coalesce = window;
  return {};
}

Result<void> set_retry_count(HandlerConfig& handler, const Value& value) {
  auto number = read_number(value, "retries", 0, kMostRetries);
  if (!number) return tl::unexpected(number.error());
  handler.retries = static_cast<unsigned>(*number);
  return {};
}

Result<void> set_retries(HandlerConfig& handler, const std::string& name, const Value& value) {
  if (value.kind != Value::Kind::kMap) return set_retry_count(handler, value);
  constexpr std::array<std::string_view, 3> kKeys = {"count", "backoff", "longest"};
  for (const ValueEntry& entry : value.entries) {
    Result<void> set;
    if (entry.key == "count") {
      set = set_retry_count(handler, entry.value);
    } else if (entry.key == "backoff") {
      set = set_delay<&HandlerConfig::backoff>(handler, name + " backoff", entry.value);
    } else if (entry.key == "longest") {
      set = set_delay<&HandlerConfig::longest_backoff>(handler, name + " longest", entry.value);
    } else {
      return unknown_key(entry, kKeys, "");
    }
    if (!set) return set;
  }
  return {};
}

Result<void> set_idempotent(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto flag = read_bool(value, name);
  if (!flag) return tl::unexpected(flag.error());
  handler.idempotent = *flag;
  return {};
}

Result<void> set_env(HandlerConfig& handler, const std::string& name, const Value& value) {
  if (value.kind != Value::Kind::kMap)
    return key_error(value, name, "wants a map like {MODE: fast}");
  for (const ValueEntry& entry : value.entries) {
    auto text = read_string(entry.value, name);
    if (!text) return tl::unexpected(text.error());
    if (entry.key.empty() ||
        entry.key.find_first_of(std::string_view("=\0", 2)) != std::string::npos ||
        text->find('\0') != std::string::npos) {
      return key_error(entry.value, name, quoted(entry.key) + " cannot be a variable");
    }
    handler.env[entry.key] = std::move(*text);
  }
  return {};
}

Result<void> set_nice(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto text = read_string(value, name);
  if (!text) return tl::unexpected(text.error());
  int number = 0;
  const char* const end = text->data() + text->size();
  const auto parsed = std::from_chars(text->data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end || number < -20 || number > 19) {
    return key_error(value, name, "wants a number from -20 to 19, not " + quoted(*text));
  }
  handler.nice = number;
  return {};
}

Result<void> set_umask(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto text = read_string(value, name);
  if (!text) return tl::unexpected(text.error());
  int mask = 0;
  const char* const end = text->data() + text->size();
  const auto parsed = std::from_chars(text->data(), end, mask, 8);
  if (parsed.ec != std::errc{} || parsed.ptr != end || mask < 0 || mask > 0777) {
    return key_error(value, name, "wants octal digits like \"022\", not " + quoted(*text));
  }
  handler.umask = mask;
  return {};
}

Result<void> set_stdin(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto text = read_string(value, name);
  if (!text) return tl::unexpected(text.error());
  if (*text != "serf" && *text != "json") {
    return key_error(value, name, "wants serf or json, not " + quoted(*text));
  }
  handler.json_stdin = *text == "json";
  return {};
}

Result<void> set_mode(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto text = read_string(value, name);
  if (!text) return tl::unexpected(text.error());
  if (*text != "answer" && *text != "job") {
    return key_error(value, name, "wants answer or job, not " + quoted(*text));
  }
  handler.mode_job = *text == "job";
  return {};
}

/// Bytes, perhaps with KiB or MiB behind them.
Result<void> set_output(HandlerConfig& handler, const std::string& name, const Value& value) {
  auto text = read_string(value, name);
  if (!text) return tl::unexpected(text.error());
  std::string_view digits = *text;
  unsigned shift = 0;
  if (digits.ends_with("KiB")) shift = 10;
  if (digits.ends_with("MiB")) shift = 20;
  if (shift != 0) digits.remove_suffix(3);
  while (digits.ends_with(' ')) digits.remove_suffix(1);
  const auto number = parse_number(digits);
  const uint64_t bytes = number && *number <= kMostOutput ? *number << shift : kMostOutput + 1;
  if (bytes < kLeastOutput || bytes > kMostOutput) {
    return key_error(value, name, "wants 1KiB to 1024MiB, not " + quoted(*text));
  }
  handler.output = bytes;
  return {};
}

constexpr auto kFields = std::to_array<NamedField>({
    {"name", set_text<&HandlerConfig::name>},
    {"on", set_on},
    {"run", set_run},
    {"grace", set_delay<&HandlerConfig::grace>},
    {"queue", set_queue},
    {"splay", set_delay<&HandlerConfig::splay>},
    {"coalesce", set_coalesce},
    {"retries", set_retries},
    {"idempotent", set_idempotent},
    {"env", set_env},
    {"user", set_text<&HandlerConfig::user>},
    {"cwd", set_text<&HandlerConfig::cwd>},
    {"nice", set_nice},
    {"ionice", set_text<&HandlerConfig::ionice>},
    {"umask", set_umask},
    {"stdin", set_stdin},
    {"output", set_output},
    {"mode", set_mode},
});

constexpr std::array<std::string_view, 5> kSimple = {"filter", "command", "timeout", "concurrency",
                                                     "missed"};

}  // namespace

std::span<const std::string_view> handler_keys() {
  static const auto kNames = [] {
    std::array<std::string_view, kSimple.size() + kFields.size()> names;
    std::ranges::copy(kSimple, names.begin());
    std::ranges::transform(kFields, names.begin() + kSimple.size(), &NamedField::name);
    return names;
  }();
  return kNames;
}

Result<void> set_policy_field(HandlerConfig& handler, const std::string& name, const Value& value) {
  const auto field = std::ranges::find(kFields, std::string_view(name), &NamedField::name);
  const bool only_length = name == "queue" && value.kind != Value::Kind::kMap;
  if (!only_length) handler.policy = true;
  return field->set(handler, name, value);
}

std::string show_policy(const HandlerConfig& handler) {
  std::string text;
  const auto add = [&text](const char* key, const std::string& value) {
    text.append(", ").append(key).append(": ").append(value);
  };
  const auto list = [](const std::vector<std::string>& items) {
    std::string joined;
    for (const std::string& item : items)
      joined += (joined.empty() ? "" : ", ") + json_string(item);
    return "[" + joined + "]";
  };
  if (!handler.name.empty()) add("name", json_string(handler.name));
  if (!handler.on.empty()) add("on", list(handler.on));
  if (!handler.run.empty()) add("run", list(handler.run));
  if (handler.grace) add("grace", format_duration(*handler.grace));
  if (!handler.when_full.empty()) {
    add("queue", "{" + (handler.queue ? "length: " + std::to_string(*handler.queue) + ", " : "") +
                     "full: " + handler.when_full + "}");
  } else if (handler.queue) {
    add("queue", std::to_string(*handler.queue));
  }
  if (handler.splay > Duration::zero()) add("splay", format_duration(handler.splay));
  if (handler.coalesce) {
    add("coalesce", "{quiet: " + format_duration(handler.coalesce->first) +
                        ", longest: " + format_duration(handler.coalesce->second) + "}");
  }
  if (handler.retries > 0 || handler.backoff || handler.longest_backoff) {
    std::string retries = "{count: " + std::to_string(handler.retries);
    if (handler.backoff) retries += ", backoff: " + format_duration(*handler.backoff);
    if (handler.longest_backoff)
      retries += ", longest: " + format_duration(*handler.longest_backoff);
    add("retries", retries + "}");
  }
  if (handler.idempotent) add("idempotent", "true");
  if (!handler.env.empty()) {
    std::string env;
    for (const auto& [key, value] : handler.env) {
      env += (env.empty() ? "" : ", ") + json_string(key) + ": " + json_string(value);
    }
    add("env", "{" + env + "}");
  }
  if (!handler.user.empty()) add("user", json_string(handler.user));
  if (!handler.cwd.empty()) add("cwd", json_string(handler.cwd));
  if (handler.nice != 0) add("nice", std::to_string(handler.nice));
  if (!handler.ionice.empty()) add("ionice", json_string(handler.ionice));
  if (handler.umask >= 0) {
    std::string digits = "0";
    for (int shift = 6; shift >= 0; shift -= 3) {
      digits += static_cast<char>('0' + (handler.umask >> shift & 7));
    }
    add("umask", json_string(digits));
  }
  if (handler.json_stdin) add("stdin", "json");
  if (handler.output) add("output", std::to_string(*handler.output));
  if (handler.mode_job) add("mode", "job");
  return text;
}

}  // namespace starling::agent::config
