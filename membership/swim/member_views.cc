// SPDX-License-Identifier: Apache-2.0
//
// Members as others get to see them: records for gossip, copies for users.
#include "membership/swim/members.h"
#include "membership/wire.h"

namespace starling::membership {

proto::MemberRecord Members::own_record() const {
  proto::MemberRecord record;
  write_description(own_, record);
  record.set_status(left_ ? proto::MEMBER_LEFT : proto::MEMBER_ALIVE);
  record.set_ltime(own_ltime_);
  return record;
}

proto::MemberRecord Members::describe(const Entry& entry) const {
  const auto suspicion = suspicions_.find(entry.id());
  if (entry.status == Status::kSuspect && suspicion != suspicions_.end()) {
    // An accusation: known members need no description.
    proto::MemberRecord record;
    record.set_id(std::string(entry.id().wire()));
    record.set_ltime(entry.ltime);
    record.set_status(suspicion->second.declared ? proto::MEMBER_FAILED : proto::MEMBER_SUSPECT);
    record.set_incarnation(suspicion->second.incarnation.value);
    record.set_refused(suspicion->second.refused);
    for (const NodeId& accuser : suspicion->second.accusers) {
      record.add_accusers(std::string(accuser.wire()));
    }
    return record;
  }
  return full_record(entry);
}

proto::MemberRecord Members::full_record(const Entry& entry) const {
  proto::MemberRecord record;
  write_description(entry.description->value, record);
  record.set_ltime(entry.ltime);
  record.set_displaced(entry.displaced);
  record.set_contested(entry.contested);
  if (!entry.up()) {
    record.set_status(entry.status == Status::kLeft ? proto::MEMBER_LEFT : proto::MEMBER_FAILED);
    const Duration age = context_.now - entry.changed;
    record.set_age_s(
        static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(age).count()));
  }
  return record;
}

std::optional<proto::Record> Members::encode(const NodeId& id) const {
  if (id == context_.identity.id) return encode(own_record());
  const Entry* entry = table_.find(id);
  if (entry == nullptr) return std::nullopt;
  return encode(describe(*entry));
}

proto::Record Members::order_to_leave(const Entry& entry) {
  proto::MemberRecord record;
  record.set_id(std::string(entry.id().wire()));
  record.set_incarnation(entry.incarnation.value);
  record.set_status(proto::MEMBER_LEAVING);
  return encode(record);
}

std::vector<proto::Record> Members::introduce(const NodeId& id) const {
  const Entry* entry = table_.find(id);
  if (entry == nullptr) {
    if (id != context_.identity.id) return {};
    return {encode(own_record())};
  }
  std::vector<proto::Record> records{encode(full_record(*entry))};
  if (entry->status == Status::kSuspect) records.push_back(encode(describe(*entry)));
  return records;
}

proto::Record Members::encode(const proto::MemberRecord& record) {
  proto::Record wire;
  wire.set_kind(proto::RECORD_MEMBER);
  wire.set_key(record.id());
  wire.set_payload(record.SerializeAsString());
  return wire;
}

Member Members::view(const Entry& entry) const {
  Member member;
  member.id = entry.id();
  member.name = entry.display_name();
  member.address = entry.address();
  member.tags = unpack_tags(entry.tags());
  member.status = entry.up() && entry.leaving ? Status::kLeaving : entry.status;
  member.incarnation = entry.incarnation;
  member.ltime = entry.ltime;
  member.degraded = entry.degraded;
  member.protocol_min = entry.description->value.protocol_min;
  member.protocol_max = entry.description->value.protocol_max;
  return member;
}

Member Members::self() const {
  const Identity& identity = context_.identity;
  Member member;
  member.id = identity.id;
  member.name =
      own_name_taken_ ? identity.name + "#" + identity.id.to_string().substr(0, 8) : identity.name;
  member.address = identity.address;
  member.tags = identity.tags;
  member.status = left_ ? Status::kLeft : Status::kAlive;
  member.incarnation = incarnation_;
  member.ltime = own_ltime_;
  member.degraded = degraded_.contains(identity.id);
  return member;
}

uint64_t Members::own_fingerprint() const {
  return left_ ? 0 : MemberTable::fingerprint_of(context_.identity.id, incarnation_);
}

}  // namespace starling::membership
