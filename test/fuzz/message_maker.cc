// SPDX-License-Identifier: Apache-2.0
#include "test/fuzz/message_maker.h"

#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <array>

#include "membership/wire.h"
#include "test/stand_in_keys.h"

namespace starling::fuzz {

void silence_protobuf() {
  google::protobuf::SetLogHandler(nullptr);
}

uint64_t MessageMaker::number() {
  constexpr std::array<uint64_t, 10> kEdges = {0,
                                               1,
                                               127,
                                               128,
                                               UINT32_MAX - 1,
                                               UINT32_MAX,
                                               uint64_t{1} << 32,
                                               INT64_MAX,
                                               UINT64_MAX - 1,
                                               UINT64_MAX};
  switch (random_.below(4)) {
    case 0:
      return kEdges[random_.below(kEdges.size())];
    case 1:
      return random_();
    default:
      return random_.below(1000);
  }
}

size_t MessageMaker::count() {
  if (seldom()) return random_.below(64);
  return random_.below(4);
}

std::string MessageMaker::bytes(size_t size) {
  std::string result(size, '\0');
  for (char& byte : result) byte = static_cast<char>(random_());
  return result;
}

std::string MessageMaker::text() {
  constexpr std::array<const char*, 10> kTexts = {
      "", "a", "web-1", "deploy", "%s%n%s", "../x", "a b", "(a+)+$", "\x01\x1b[2J", "\xff\xfe"};
  if (seldom()) return std::string(random_.below(400), 'n');
  if (seldom()) return bytes(random_.below(40));
  return kTexts[random_.below(kTexts.size())];
}

std::string MessageMaker::id() {
  if (seldom()) return bytes(random_.below(40));
  return bytes(16);
}

std::string MessageMaker::subject() {
  if (claims_ == Claims::kPlausible) return id();
  constexpr std::array<size_t, 6> kWrongSizes = {0, 1, 15, 17, 32, 100};
  return bytes(kWrongSizes[random_.below(kWrongSizes.size())]);
}

std::string MessageMaker::address() {
  if (seldom()) return bytes(random_.below(4));
  if (seldom()) return bytes(17 + random_.below(20));
  std::string ip = bytes(4);
  ip[0] = 127;
  if (!seldom()) return ip;
  std::string mapped(16, '\0');
  mapped[10] = mapped[11] = '\xff';
  std::copy(ip.begin(), ip.end(), mapped.begin() + 12);
  return mapped;
}

uint32_t MessageMaker::port() {
  if (seldom()) return number32();
  return static_cast<uint32_t>(1 + random_.below(65535));
}

void MessageMaker::fill(proto::MessageId& message, bool about) {
  message.set_origin(about ? subject() : id());
  message.set_epoch(number32());
  message.set_sequence(number());
}

void MessageMaker::fill(proto::MemberRecord& record) {
  record.set_id(subject());
  record.set_incarnation(number());
  record.set_status(static_cast<proto::MemberStatus>(random_.below(7)));
  record.set_name(text());
  record.set_address(address());
  record.set_port(port());
  for (size_t i = count(); i > 0; --i) {
    proto::Tag& tag = *record.add_tags();
    tag.set_key(text());
    tag.set_value(text());
  }
  record.set_ltime(number());
  for (size_t i = count(); i > 0; --i) record.add_accusers(id());
  record.set_protocol_min(number32());
  record.set_protocol_max(number32());
  record.set_pruned(often());
  record.set_refused(often());
  record.set_age_s(number32());
  if (!seldom()) {
    test::sign_as_owner(record);
  } else {
    record.set_public_key(bytes(seldom() ? random_.below(64) : 32));
    record.set_signature(bytes(seldom() ? random_.below(100) : 64));
    record.set_owner_left(often());
  }
}

void MessageMaker::fill(proto::UserEvent& event) {
  event.set_ltime(number());
  event.set_name(text());
  if (often()) event.set_payload(bytes(random_.below(seldom() ? 2000 : 30)));
  if (!often()) {
    event.set_size(seldom() ? number() : random_.below(300'000));
    event.set_digest(bytes(seldom() ? random_.below(64) : 32));
  }
  event.set_coalesce(often());
}

void MessageMaker::fill(proto::Query& query) {
  query.set_ltime(number());
  query.set_name(text());
  query.set_payload(bytes(random_.below(30)));
  for (size_t i = count(); i > 0; --i) query.add_filter_nodes(text());
  for (size_t i = count(); i > 0; --i) {
    proto::TagFilter& filter = *query.add_filter_tags();
    filter.set_key(text());
    filter.set_expression(text());
  }
  query.set_request_ack(often());
  query.set_relay_factor(number32());
  query.set_timeout_ms(number());
  query.set_audience(static_cast<proto::Audience>(random_.below(4)));
}

template <typename Message>
void MessageMaker::sign(const proto::MessageId& id, Message& message) {
  const auto read = membership::read_id(id);
  if (read && !seldom()) {
    test::sign_as_origin(*read, message);
  } else {
    message.set_public_key(bytes(seldom() ? random_.below(64) : 32));
    message.set_signature(bytes(seldom() ? random_.below(100) : 64));
  }
}

void MessageMaker::fill(proto::Record& record) {
  const size_t kind = random_.below(seldom() ? 9 : 5);
  record.set_kind(static_cast<proto::RecordKind>(kind));
  if (kind == proto::RECORD_MEMBER) {
    proto::MemberRecord member;
    fill(member);
    record.set_key(seldom() ? id() : member.id());
    record.set_payload(member.SerializeAsString());
    return;
  }
  proto::MessageId key;
  fill(key, true);
  record.set_key(key.SerializeAsString());
  if (kind == proto::RECORD_USER_EVENT) {
    proto::UserEvent event;
    fill(event);
    sign(key, event);
    record.set_payload(event.SerializeAsString());
  } else if (kind == proto::RECORD_QUERY) {
    proto::Query query;
    fill(query);
    sign(key, query);
    record.set_payload(query.SerializeAsString());
  } else if (kind == proto::RECORD_QUERY_OVER && !seldom()) {
    proto::QueryOver over;
    sign(key, over);
    record.set_payload(over.SerializeAsString());
  } else {
    record.set_payload(bytes(random_.below(100)));
  }
  if (seldom()) damage(*record.mutable_payload());
  if (!often()) record.set_age_ms(number());
}

void MessageMaker::fill(proto::RecordId& record) {
  record.set_kind(static_cast<proto::RecordKind>(random_.below(5)));
  if (often()) {
    record.set_key(id());
    return;
  }
  proto::MessageId key;
  fill(key, false);
  record.set_key(key.SerializeAsString());
}

void MessageMaker::fill(proto::DirectMessage& direct) {
  fill(*direct.mutable_id(), false);
  direct.set_to(id());
  direct.set_hops_left(number32());
  if (seldom()) return sign(direct.id(), direct);
  proto::QueryReply& reply = *direct.mutable_query_reply();
  fill(*reply.mutable_query(), false);
  reply.set_status(static_cast<proto::ReplyStatus>(random_.below(8)));
  reply.set_payload(bytes(random_.below(100)));
  reply.set_error(text());
  reply.set_last(often());
  reply.set_responder(text());
  reply.set_position(number32());
  reply.set_answers(number32());
  if (often()) reply.set_exit_status(static_cast<int32_t>(number32()));
  sign(direct.id(), direct);
}

void MessageMaker::fill(proto::Ping& ping) {
  ping.set_sequence(number32());
  ping.set_target(id());
}

void MessageMaker::fill(proto::Ack& ack) {
  ack.set_sequence(number32());
  ack.set_target(id());
  ack.set_left(often());
}

void MessageMaker::fill(proto::PingRequest& request) {
  request.set_sequence(number32());
  request.set_target(id());
  request.set_target_address(address());
  request.set_target_port(port());
  request.set_timeout_ms(number32());
}

void MessageMaker::fill(proto::EventProgress& progress) {
  progress.set_origin(subject());
  progress.set_epoch(number32());
  progress.set_contiguous(number());
  for (size_t i = count(); i > 0; --i) progress.add_beyond(number());
}

void MessageMaker::fill_probes(proto::Packet& packet) {
  if (often()) fill(*packet.mutable_ping());
  if (seldom()) fill(*packet.mutable_ping_request());
  if (often()) fill(*packet.mutable_ack());
  if (often()) {
    proto::Nack& nack = *packet.mutable_nack();
    nack.set_sequence(number32());
    nack.set_target(id());
    nack.set_refused(often());
  }
}

std::string MessageMaker::packet() {
  proto::Packet packet;
  packet.set_sender(id());
  packet.set_member_fingerprint(number());
  packet.set_event_fingerprint(number());
  switch (random_.below(6)) {
    case 0:
      fill_probes(packet);
      break;
    case 1:
      for (size_t i = count(); i > 0; --i) {
        proto::Push& push = *packet.add_pushes();
        fill(*push.add_records());
        push.set_range_begin(number());
        push.set_range_end(number());
        push.set_hop(number32());
      }
      for (size_t i = count(); i > 0; --i) packet.add_push_acks(number32());
      break;
    case 2:
      for (size_t i = count(); i > 0; --i) fill(*packet.add_announcements());
      for (size_t i = count(); i > 0; --i) fill(*packet.add_pulls());
      for (size_t i = count(); i > 0; --i) fill(*packet.add_progress());
      break;
    case 3:
      for (size_t i = count(); i > 0; --i) fill(*packet.add_records());
      break;
    case 4:
      for (size_t i = count(); i > 0; --i) fill(*packet.add_direct());
      for (size_t i = count(); i > 0; --i) fill(*packet.add_direct_acks(), false);
      break;
    default:
      fill_probes(packet);
      fill(*packet.add_announcements());
      fill(*packet.add_records());
      fill(*packet.add_direct());
  }
  return packet.SerializeAsString();
}

void MessageMaker::fill(proto::SyncRequest& request) {
  if (!seldom()) fill(*request.mutable_self());
  request.set_join(often());
  for (size_t i = often() ? 256 : number() % 2000; i > 0; --i) request.add_buckets(number());
  for (size_t i = often() ? 64 : number() % 200; i > 0; --i) request.add_event_buckets(number());
  request.set_introduce(often());
  request.set_member_ltime(number());
  request.set_event_ltime(number());
  request.set_query_ltime(number());
}

void MessageMaker::fill(proto::SyncReply& reply) {
  if (!seldom()) fill(*reply.mutable_self());
  for (size_t i = count(); i > 0; --i) reply.add_differing(number32());
  for (size_t i = seldom() ? 5000 : count(); i > 0; --i) {
    proto::MemberDigest& digest = *reply.add_digests();
    digest.set_id(subject());
    digest.set_incarnation(number());
    digest.set_status(static_cast<proto::MemberStatus>(random_.below(7)));
  }
  for (size_t i = count(); i > 0; --i) fill(*reply.add_events());
  for (size_t i = count(); i > 0; --i) reply.add_differing_events(number32());
  reply.set_member_ltime(number());
  reply.set_event_ltime(number());
  reply.set_query_ltime(number());
  if (seldom()) reply.set_refusal(text());
}

void MessageMaker::fill(proto::SyncBatch& batch) {
  for (size_t i = seldom() ? 500 : count(); i > 0; --i) fill(*batch.add_records());
  for (size_t i = count(); i > 0; --i) batch.add_want_members(id());
  for (size_t i = count(); i > 0; --i) fill(*batch.add_want_events(), false);
  batch.set_last(often());
  for (size_t i = count(); i > 0; --i) fill(*batch.add_missed());
}

void MessageMaker::fill(proto::PayloadRequest& request) {
  fill(*request.mutable_event(), true);
  request.set_offset(often() ? 0 : number());
  request.set_insist(often());
}

void MessageMaker::fill(proto::PayloadReply& reply) {
  fill(*reply.mutable_event(), true);
  reply.set_offset(often() ? 0 : number());
  if (often()) reply.set_data(bytes(random_.below(5000)));
  for (size_t i = count(); i > 0; --i) reply.add_holders(often() ? subject() : bytes(5));
}

std::string MessageMaker::stream_message() {
  proto::StreamMessage message;
  message.set_sender(id());
  switch (random_.below(10)) {
    case 0:
      fill(*message.mutable_ping());
      break;
    case 1:
      fill(*message.mutable_ack());
      break;
    case 2:
      fill(*message.mutable_sync_request());
      break;
    case 3:
      fill(*message.mutable_sync_reply());
      break;
    case 4:
      fill(*message.mutable_sync_batch());
      break;
    case 5:
      fill(*message.mutable_direct());
      break;
    case 6:
      fill(*message.mutable_direct_ack(), false);
      break;
    case 7:
      fill(*message.mutable_payload_request());
      break;
    case 8:
      fill(*message.mutable_payload_reply());
      break;
    default:
      break;
  }
  return message.SerializeAsString();
}

void MessageMaker::damage(std::string& text) {
  if (text.empty()) {
    text = bytes(random_.below(8));
    return;
  }
  for (size_t times = 1 + random_.below(4); times > 0 && !text.empty(); --times) {
    const size_t at = random_.below(text.size());
    switch (random_.below(5)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ (1 << random_.below(8)));
        break;
      case 1:
        text[at] = static_cast<char>(random_());
        break;
      case 2:
        text.resize(at);
        break;
      case 3:
        text.insert(at, bytes(1 + random_.below(10)));
        break;
      default:
        text.insert(at, text.substr(at, random_.below(100)));
    }
  }
}

}  // namespace starling::fuzz
