// SPDX-License-Identifier: Apache-2.0
//
// Between the core's types and the messages of proto/gossip.proto. Everything read from outside is
// checked here for shape: sizes of ids, addresses, names and tags.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "membership/address.h"
#include "membership/ids.h"
#include "membership/member.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

/// Tags in one string: key NUL value NUL, sorted by key. Compact, and equal when the tags are.
[[nodiscard]] std::string pack_tags(const std::map<std::string, std::string>& tags);
[[nodiscard]] std::map<std::string, std::string> unpack_tags(std::string_view packed);
/// The value of one tag; empty when absent.
[[nodiscard]] std::string_view find_tag(std::string_view packed, std::string_view key);

/// None when a tag is empty, holds a NUL, is not UTF-8, or all together are over kMaxTags.
[[nodiscard]] std::optional<std::string> read_tags(const proto::MemberRecord& record);
void write_tags(std::string_view packed, proto::MemberRecord& record);

/// A name that may be shown and logged: 1..kMaxName bytes of UTF-8, no control characters.
[[nodiscard]] bool valid_name(std::string_view name);

void write_id(const MessageId& id, proto::MessageId& wire);
[[nodiscard]] std::optional<MessageId> read_id(const proto::MessageId& wire);
/// A MessageId as a record key.
[[nodiscard]] std::string message_key(const MessageId& id);
[[nodiscard]] std::optional<MessageId> read_message_key(std::string_view key);

}  // namespace starling::membership
