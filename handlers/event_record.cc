// SPDX-License-Identifier: Apache-2.0
#include "handlers/event_record.h"

#include "proto/job.pb.h"

namespace starling::handlers {

std::string encode_event(const Event& event) {
  job::Event record;
  record.set_type(static_cast<uint32_t>(event.type));
  record.set_id(event.id);
  for (const Member& member : event.members) {
    job::Member& one = *record.add_members();
    one.set_name(member.name);
    one.set_address(member.address);
    for (const auto& [key, value] : member.tags) {
      job::KeyValue& tag = *one.add_tags();
      tag.set_key(key);
      tag.set_value(value);
    }
  }
  record.set_name(event.name);
  record.set_payload(event.payload);
  record.set_ltime(event.ltime);
  record.set_coalesce(event.coalesce);
  record.set_source(event.source);
  record.set_operator_name(event.operator_name);
  record.set_operator_key(event.operator_key);
  return record.SerializeAsString();
}

Result<Event> decode_event(std::string_view bytes) {
  job::Event record;
  if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      record.type() > static_cast<uint32_t>(EventType::kQuery)) {
    return fail(ErrorKind::kInvalid, "a job's event cannot be read");
  }
  Event event;
  event.type = static_cast<EventType>(record.type());
  event.id = record.id();
  for (const job::Member& one : record.members()) {
    Member member{one.name(), one.address(), {}};
    for (const job::KeyValue& tag : one.tags()) member.tags[tag.key()] = tag.value();
    event.members.push_back(std::move(member));
  }
  event.name = record.name();
  event.payload = record.payload();
  event.ltime = record.ltime();
  event.coalesce = record.coalesce();
  event.source = record.source();
  event.operator_name = record.operator_name();
  event.operator_key = record.operator_key();
  return event;
}

}  // namespace starling::handlers
