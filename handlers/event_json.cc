// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>

#include "handlers/payload.h"
#include "proto/support/utf8.h"

namespace starling::handlers {
namespace {

/// Builds one object; text that is not UTF-8 gets replacement characters.
class Json {
 public:
  void open(char bracket) {
    begin();
    text_ += bracket;
    first_ = true;
  }
  void close(char bracket) {
    text_ += bracket;
    first_ = false;
  }
  void key(std::string_view name) {
    begin();
    quote(name);
    text_ += ':';
    after_key_ = true;
  }
  void value(std::string_view text) {
    begin();
    quote(text);
  }
  void value(uint64_t number) {
    begin();
    text_ += std::to_string(number);
  }
  void tags(const Tags& tags) {
    key("tags");
    open('{');
    for (const auto& [name, text] : tags) {
      key(name);
      value(text);
    }
    close('}');
  }
  std::string take() { return std::move(text_); }

 private:
  void begin() {
    if (!first_ && !after_key_) text_ += ',';
    first_ = after_key_ = false;
  }
  void quote(std::string_view bytes) {
    constexpr std::string_view kHex = "0123456789abcdef";
    text_ += '"';
    while (!bytes.empty()) {
      const size_t length = utf8_length(bytes);
      const auto first = static_cast<unsigned char>(bytes[0]);
      if (length == 0) {
        text_ += "\xEF\xBF\xBD";
      } else if (first == '"' || first == '\\') {
        text_ += '\\';
        text_ += bytes[0];
      } else if (first < 0x20) {
        text_ += "\\u00";
        text_ += kHex[first >> 4];
        text_ += kHex[first & 15];
      } else {
        text_ += bytes.substr(0, length);
      }
      bytes.remove_prefix(std::max<size_t>(length, 1));
    }
    text_ += '"';
  }

  std::string text_;
  bool first_ = true;
  bool after_key_ = false;
};

bool is_text(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = utf8_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) {
      const bool padding = i + j > bytes.size();
      out += padding ? '=' : kDigits[group >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

void add_named(Json& json, const Event& event, TimePoint now) {
  json.key("name");
  json.value(event.name);
  json.key("ltime");
  json.value(event.ltime);
  const bool text = is_text(event.payload);
  json.key(text ? "payload" : "payload_base64");
  json.value(text ? event.payload : base64(event.payload));
  if (!event.operator_name.empty()) {
    json.key("operator");
    json.value(event.operator_name);
  }
  if (event.type != EventType::kQuery) return;
  json.key("source");
  json.value(event.source);
  if (event.deadline == kNever) return;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(event.deadline - now);
  json.key("deadline_ms");
  json.value(static_cast<uint64_t>(std::max<int64_t>(0, left.count())));
}

}  // namespace

std::string event_json(const Event& event, const Host& host, uint64_t job, unsigned attempt,
                       TimePoint now) {
  Json json;
  json.open('{');
  json.key("event");
  json.value(event_type_name(event.type));
  json.key("id");
  json.value(event.id);
  json.key("job");
  json.value(job);
  json.key("attempt");
  json.value(attempt);
  json.key("self");
  json.open('{');
  json.key("name");
  json.value(host.name);
  json.tags(host.tags);
  json.close('}');
  if (is_member_event(event.type)) {
    json.key("members");
    json.open('[');
    for (const Member& member : event.members) {
      json.open('{');
      json.key("name");
      json.value(member.name);
      json.key("address");
      json.value(member.address);
      const auto role = member.tags.find("role");
      json.key("role");
      json.value(role == member.tags.end() ? std::string_view{} : std::string_view(role->second));
      json.tags(member.tags);
      json.close('}');
    }
    json.close(']');
  } else {
    add_named(json, event, now);
  }
  json.close('}');
  return json.take() + "\n";
}

}  // namespace starling::handlers
