// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "agent/control/serf_codec.h"

namespace starling::agent::serf {

using control::Reply;
using msgpack::Writer;

namespace {

// The versions that Serf 0.9 tells of itself: memberlist 1 to 5, speaking 2, and Serf 2 to 5,
// speaking 5. Its clients print them, and some compare them.
constexpr uint64_t kProtocolMin = 1;
constexpr uint64_t kProtocolMax = 5;
constexpr uint64_t kProtocolNow = 2;
constexpr uint64_t kDelegateMin = 2;
constexpr uint64_t kDelegateMax = 5;
constexpr uint64_t kDelegateNow = 5;

/// Go writes an empty slice that nobody made as nil.
void bytes_or_nil(Writer& out, const std::string& bytes) {
  if (bytes.empty()) {
    out.nil();
  } else {
    out.bytes(bytes);
  }
}

// Go's encoder sorts the fields of a struct; so do we, everywhere below.
void write_member(Writer& out, const control::Member& member) {
  out.map(11);
  out.text("Addr").bytes(member.address());
  out.text("DelegateCur").number(kDelegateNow);
  out.text("DelegateMax").number(kDelegateMax);
  out.text("DelegateMin").number(kDelegateMin);
  out.text("Name").text(member.name());
  out.text("Port").number(member.port());
  out.text("ProtocolCur").number(kProtocolNow);
  out.text("ProtocolMax").number(kProtocolMax);
  out.text("ProtocolMin").number(kProtocolMin);
  out.text("Status").text(member.status());
  out.text("Tags").map(static_cast<size_t>(member.tags_size()));
  for (const control::KeyValue& tag : member.tags()) out.text(tag.key()).text(tag.value());
}

template <typename Members>
void write_members(Writer& out, const Members& members) {
  out.text("Members").array(static_cast<size_t>(members.size()));
  for (const control::Member& member : members) write_member(out, member);
}

void write_header(Writer& out, uint64_t seq, std::string_view error) {
  out.map(2).text("Error").text(error).text("Seq").number(seq);
}

void write_stats(Writer& out, const control::InfoReply& info) {
  out.map(static_cast<size_t>(info.sections_size()));
  for (const control::InfoSection& section : info.sections()) {
    out.text(section.name()).map(static_cast<size_t>(section.values_size()));
    for (const control::KeyValue& pair : section.values()) out.text(pair.key()).text(pair.value());
  }
}

void write_keys(Writer& out, const control::KeysReply& keys) {
  out.map(5).text("Keys");
  if (keys.keys_size() == 0) {
    out.nil();
  } else {
    out.map(static_cast<size_t>(keys.keys_size()));
  }
  for (const control::KeyHolders& key : keys.keys()) {
    out.text(key.key()).signed_number(key.members());
  }
  out.text("Messages").map(static_cast<size_t>(keys.messages_size()));
  for (const control::KeyValue& said : keys.messages()) out.text(said.key()).text(said.value());
  out.text("NumErr").signed_number(keys.failed()).text("NumNodes").signed_number(keys.members());
  out.text("NumResp").signed_number(keys.answered());
}

void write_coordinate(Writer& out, const control::CoordinateReply& coordinate) {
  out.map(2).text("Coord").map(4).text("Adjustment").real(coordinate.adjustment());
  out.text("Error").real(coordinate.error()).text("Height").real(coordinate.height()).text("Vec");
  if (coordinate.known()) {
    out.array(static_cast<size_t>(coordinate.vector_size()));
    for (const double each : coordinate.vector()) out.real(each);
  } else {
    out.nil();
  }
  out.text("Ok").boolean(coordinate.known());
}

void write_event(Writer& out, const control::MonitorRecord& record) {
  if (record.event() == "user") {
    out.map(5).text("Coalesce").boolean(record.coalesce()).text("Event").text("user");
  } else if (record.event() == "query") {
    out.map(5).text("Event").text("query").text("ID").number(record.query());
  } else {
    out.map(2).text("Event").text(record.event());
    return write_members(out, record.members());
  }
  out.text("LTime").number(record.ltime()).text("Name").text(record.name()).text("Payload");
  bytes_or_nil(out, record.payload());
}

void write_query_record(Writer& out, std::string_view type, const std::string& from,
                        const std::string& payload) {
  out.map(3).text("From").text(from).text("Payload");
  bytes_or_nil(out, payload);
  out.text("Type").text(type);
}

}  // namespace

std::string encode_header(uint64_t seq, std::string_view error) {
  Writer out;
  write_header(out, seq, error);
  return out.take();
}

std::string encode_response(Command command, uint64_t seq, const Reply& reply) {
  Writer out;
  write_header(out, seq, reply.error());
  switch (command) {
    case Command::kJoin:
      out.map(1).text("Num").signed_number(reply.join().contacted());
      break;
    case Command::kMembers:
    case Command::kMembersFiltered:
      out.map(1);
      write_members(out, reply.members().members());
      break;
    case Command::kStats:
      write_stats(out, reply.info());
      break;
    case Command::kInstallKey:
    case Command::kUseKey:
    case Command::kRemoveKey:
    case Command::kListKeys:
      write_keys(out, reply.keys());
      break;
    case Command::kGetCoordinate:
      write_coordinate(out, reply.coordinate());
      break;
    default:
      break;
  }
  return out.take();
}

std::string encode_stream_reply(uint64_t seq, const Reply& reply) {
  if (!reply.error().empty()) return encode_header(seq, reply.error());
  Writer out;
  write_header(out, seq, "");
  switch (reply.body_case()) {
    case Reply::kMonitorStarted:
    case Reply::kQueryStarted:
      break;
    case Reply::kMonitor:
      if (reply.monitor().event().empty()) {
        out.map(1).text("Log").text(reply.monitor().log());
      } else {
        write_event(out, reply.monitor());
      }
      break;
    case Reply::kQueryAnswer: {
      const control::QueryAnswer& answer = reply.query_answer();
      if (answer.kind() == control::QueryAnswer::ACK) {
        write_query_record(out, "ack", answer.from(), "");
      } else if (answer.kind() == control::QueryAnswer::RESPONSE) {
        write_query_record(out, "response", answer.from(), answer.payload());
      } else {
        return {};
      }
      break;
    }
    case Reply::kQueryDone:
      write_query_record(out, "done", "", "");
      break;
    default:
      return {};
  }
  return out.take();
}

}  // namespace starling::agent::serf
