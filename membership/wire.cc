// SPDX-License-Identifier: Apache-2.0
#include "membership/wire.h"

#include <algorithm>

#include "membership/limits.h"
#include "proto/support/utf8.h"

namespace starling::membership {

std::string pack_tags(const std::map<std::string, std::string>& tags) {
  std::string packed;
  for (const auto& [key, value] : tags) {
    packed.append(key).push_back('\0');
    packed.append(value).push_back('\0');
  }
  return packed;
}

namespace {

/// Takes the text up to the next NUL off the front of `rest`.
std::string_view take_field(std::string_view& rest) {
  const size_t end = std::min(rest.find('\0'), rest.size());
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

}  // namespace

std::map<std::string, std::string> unpack_tags(std::string_view packed) {
  std::map<std::string, std::string> tags;
  while (!packed.empty()) {
    const std::string_view key = take_field(packed);
    tags.emplace(key, take_field(packed));
  }
  return tags;
}

std::string_view find_tag(std::string_view packed, std::string_view key) {
  while (!packed.empty()) {
    const std::string_view found = take_field(packed);
    const std::string_view value = take_field(packed);
    if (found == key) return value;
  }
  return {};
}

std::optional<std::string> read_tags(const proto::MemberRecord& record) {
  std::map<std::string, std::string> tags;
  for (const proto::Tag& tag : record.tags()) {
    if (tag.key().empty() || tag.key().find('\0') != std::string::npos ||
        tag.value().find('\0') != std::string::npos || !is_utf8(tag.key()) ||
        !is_utf8(tag.value())) {
      return std::nullopt;
    }
    tags[tag.key()] = tag.value();
  }
  std::string packed = pack_tags(tags);
  if (packed.size() > kMaxTags) return std::nullopt;
  return packed;
}

void write_tags(std::string_view packed, proto::MemberRecord& record) {
  while (!packed.empty()) {
    proto::Tag& tag = *record.add_tags();
    tag.set_key(std::string(take_field(packed)));
    tag.set_value(std::string(take_field(packed)));
  }
}

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && is_utf8(name) &&
         std::none_of(name.begin(), name.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte < 0x20 || byte == 0x7f;
         });
}

void write_id(const MessageId& id, proto::MessageId& wire) {
  wire.set_origin(std::string(id.origin.wire()));
  wire.set_epoch(id.epoch);
  wire.set_sequence(id.sequence);
}

std::optional<MessageId> read_id(const proto::MessageId& wire) {
  const auto origin = NodeId::from_wire(wire.origin());
  if (!origin || wire.sequence() == 0) return std::nullopt;
  return MessageId{*origin, wire.epoch(), wire.sequence()};
}

std::string message_key(const MessageId& id) {
  proto::MessageId wire;
  write_id(id, wire);
  return wire.SerializeAsString();
}

std::optional<MessageId> read_message_key(std::string_view key) {
  proto::MessageId wire;
  if (!wire.ParseFromArray(key.data(), static_cast<int>(key.size()))) return std::nullopt;
  return read_id(wire);
}

}  // namespace starling::membership
