// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/trace_printer.h"

#include "proto/gossip.pb.h"

namespace starling::simulation {

namespace {

std::string short_id(std::string_view wire) {
  const auto id = membership::NodeId::from_wire(wire);
  return id ? id->to_string().substr(0, 6) : "?";
}

std::string describe_record(const proto::Record& record) {
  if (record.kind() != proto::RECORD_MEMBER) {
    return proto::RecordKind_Name(record.kind()) + " " + short_id(record.key().substr(0, 16));
  }
  proto::MemberRecord member;
  if (!member.ParseFromString(record.payload())) return "unreadable member";
  return short_id(member.id()) + " " + proto::MemberStatus_Name(member.status()) + " " +
         std::to_string(member.incarnation() >> 32) + "/" +
         std::to_string(member.incarnation() & 0xffffffff) + " accusers " +
         std::to_string(member.accusers_size());
}

const char* stop_name(StopKind kind) {
  switch (kind) {
    case StopKind::kCrash:
      return "crashes";
    case StopKind::kHostDown:
      return "goes down with its host";
    case StopKind::kLeft:
      return "stops after its leave";
  }
  return "?";
}

}  // namespace

std::string describe_packet(std::string_view bytes) {
  proto::Packet packet;
  if (!packet.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return "unreadable";
  std::string text = "from " + short_id(packet.sender());
  const auto add = [&](const std::string& part) { text += ", " + part; };
  if (packet.has_ping()) add("ping " + std::to_string(packet.ping().sequence()));
  if (packet.has_ping_request()) {
    add("ping-request " + std::to_string(packet.ping_request().sequence()) + " for " +
        short_id(packet.ping_request().target()));
  }
  if (packet.has_ack()) add("ack " + std::to_string(packet.ack().sequence()));
  if (packet.has_nack()) {
    add("nack " + std::to_string(packet.nack().sequence()) +
        (packet.nack().refused() ? " refused" : ""));
  }
  for (const auto& push : packet.pushes()) {
    std::string records;
    for (const auto& record : push.records()) records += " [" + describe_record(record) + "]";
    add("push #" + std::to_string(push.hop()) + records);
  }
  for (const auto& record : packet.records()) add("record [" + describe_record(record) + "]");
  if (packet.push_acks_size() > 0) add(std::to_string(packet.push_acks_size()) + " push acks");
  if (packet.announcements_size() > 0) {
    add(std::to_string(packet.announcements_size()) + " announcements");
  }
  if (packet.pulls_size() > 0) add(std::to_string(packet.pulls_size()) + " pulls");
  if (packet.direct_size() > 0) add(std::to_string(packet.direct_size()) + " direct");
  if (packet.direct_acks_size() > 0)
    add(std::to_string(packet.direct_acks_size()) + " direct acks");
  return text;
}

std::string describe_stream_message(std::string_view bytes) {
  proto::StreamMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return "unreadable";
  switch (message.body_case()) {
    case proto::StreamMessage::kPing:
      return "ping";
    case proto::StreamMessage::kAck:
      return "ack";
    case proto::StreamMessage::kSyncRequest:
      return "sync request";
    case proto::StreamMessage::kSyncReply:
      return "sync reply, " + std::to_string(message.sync_reply().digests_size()) + " digests " +
             message.sync_reply().refusal();
    case proto::StreamMessage::kSyncBatch:
      return "sync batch of " + std::to_string(message.sync_batch().records_size());
    case proto::StreamMessage::kDirect:
      return "direct";
    case proto::StreamMessage::kDirectAck:
      return "direct ack";
    case proto::StreamMessage::kPayloadRequest:
      return "request of a payload from " + std::to_string(message.payload_request().offset());
    case proto::StreamMessage::kPayloadReply:
      return "payload, " + std::to_string(message.payload_reply().data().size()) + " bytes";
    case proto::StreamMessage::BODY_NOT_SET:
      break;
  }
  return "empty";
}

void TracePrinter::line(NodeIndex node, const std::string& text) {
  const std::string who = node == kNoNode ? "*" : "node-" + std::to_string(node);
  std::fprintf(out_, "%s %s %s\n", time_string(world_.now()).c_str(), who.c_str(), text.c_str());
}

void TracePrinter::process_started(NodeIndex node, bool with_state) {
  if (!wanted(node)) return;
  const Host& host = world_.host(node);
  line(node, "starts as " + host.id.to_string().substr(0, 6) + " epoch " +
                 std::to_string(host.epoch) + (with_state ? " with state" : ""));
}

void TracePrinter::process_stopping(NodeIndex node, StopKind kind) {
  if (wanted(node)) line(node, stop_name(kind));
}

void TracePrinter::fault(Fault kind, NodeIndex node) {
  if (node == kNoNode || wanted(node)) line(node, fault_name(kind));
}

void TracePrinter::action(NodeIndex node, const membership::Action& action) {
  if (!wanted(node)) return;
  const bool packets = node_ != kNoNode;
  if (const auto* trace = std::get_if<membership::Trace>(&action)) {
    line(node, "  " + trace->text);
  } else if (const auto* member = std::get_if<membership::MemberEvent>(&action)) {
    line(node, std::string(membership::member_change_name(member->change)) + " " +
                   member->member.name + " " + member->member.id.to_string().substr(0, 6) + " " +
                   std::to_string(member->member.incarnation.epoch()) + "/" +
                   std::to_string(member->member.incarnation.value & 0xffffffff));
  } else if (const auto* event = std::get_if<membership::UserEventArrived>(&action)) {
    line(node, "event " + event->name +
                   (event->timing == membership::EventTiming::kLive ? "" : " (late)"));
  } else if (const auto* tried = std::get_if<membership::JoinTried>(&action)) {
    line(node,
         "join " + tried->address.to_string() + (tried->ok ? " ok" : " failed: " + tried->error));
  } else if (const auto* answered = std::get_if<membership::QueryAnswered>(&action)) {
    line(node,
         "answer of " + answered->from + ": " + std::to_string(static_cast<int>(answered->kind)));
  } else if (const auto* ended = std::get_if<membership::QueryEnded>(&action)) {
    line(node, std::string("query ended") + (ended->timed_out ? ", timed out" : ""));
  } else if (!packets) {
    return;
  } else if (const auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
    line(node, "-> " + datagram->to.to_string() + " " + describe_packet(datagram->bytes));
  } else if (const auto* open = std::get_if<membership::OpenStream>(&action)) {
    line(node, "opens stream " + std::to_string(open->stream) + " to " + open->to.to_string());
  } else if (const auto* send = std::get_if<membership::SendStream>(&action)) {
    line(node,
         "-> stream " + std::to_string(send->stream) + ": " + describe_stream_message(send->bytes));
  } else if (const auto* close = std::get_if<membership::CloseStream>(&action)) {
    line(node, "closes stream " + std::to_string(close->stream));
  }
}

void TracePrinter::datagram_received(NodeIndex node, const Address& from, std::string_view bytes) {
  if (node_ != node) return;
  line(node, "<- " + from.to_string() + " " + describe_packet(bytes));
}

}  // namespace starling::simulation
