// SPDX-License-Identifier: Apache-2.0
#include "handlers/event.h"

namespace starling::handlers {

std::string_view event_type_name(EventType type) {
  switch (type) {
    case EventType::kMemberJoin:
      return "member-join";
    case EventType::kMemberLeave:
      return "member-leave";
    case EventType::kMemberFailed:
      return "member-failed";
    case EventType::kMemberUpdate:
      return "member-update";
    case EventType::kMemberReap:
      return "member-reap";
    case EventType::kUser:
      return "user";
    case EventType::kQuery:
      return "query";
  }
  return "unknown";
}

std::string describe(const Event& event) {
  std::string text(event_type_name(event.type));
  if (!is_member_event(event.type)) text += ":" + event.name;
  return text;
}

size_t size_in_memory(const Event& event) {
  // What a string or a tree node costs beside its bytes; the sum need not be exact.
  constexpr size_t kOverhead = 64;
  size_t size = sizeof(Event) + event.id.size() + event.name.size() + event.payload.size() +
                event.source.size();
  for (const Member& member : event.members) {
    size += sizeof(Member) + member.name.size() + member.address.size();
    for (const auto& [key, value] : member.tags) size += kOverhead + key.size() + value.size();
  }
  return size;
}

}  // namespace starling::handlers
