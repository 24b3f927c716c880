// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/models/memberlist_wire.h"

#include <cstring>
#include <type_traits>

namespace starling::simulation {

namespace {

static_assert(std::is_trivially_copyable_v<MemberlistMessage>);
static_assert(std::is_trivially_copyable_v<MemberlistNodeState>);

// Parts of a msgpack map with field names: the name, its length byte, and the value.
constexpr size_t kTypeAndMap = 2;
constexpr size_t kSequence = 6 + 3;      ///< "SeqNo", a number of 16 bits
constexpr size_t kIncarnation = 12 + 1;  ///< a small number
constexpr size_t kNode = 5 + 1;          ///< "Node" or "From" or "Name", before the text
constexpr size_t kAddr = 5 + 5;          ///< "Addr", IPv4
constexpr size_t kPort = 5 + 3;
constexpr size_t kMeta = 5 + 3;           ///< Serf's encoded tags, when there are none
constexpr size_t kVersions = 4 + 7;       ///< "Vsn", six of them
constexpr size_t kSource = 16 + 14 + 12;  ///< SourceAddr, SourcePort, SourceNode before the text
constexpr size_t kPayloadName = 8;
constexpr size_t kCoordinate = 2 + 130;  ///< eight dimensions, error, adjustment, height
constexpr size_t kNone = 1;
constexpr size_t kPushPullHeader = 31;
/// Both type bytes, and serf/messages.go, messageUserEvent: "LTime", "Name", "Payload", "CC".
constexpr size_t kUserEvent = 2 + 1 + 6 + 3 + 5 + 1 + 8 + 3 + 3 + 1;
constexpr size_t kLamportTime = 1 + 2;  ///< one entry of Serf's StatusLTimes, without the name

/// Length of "node-<index>".
size_t name_size(NodeIndex node) {
  size_t size = 6;
  for (; node >= 10; node /= 10) ++size;
  return size;
}

}  // namespace

size_t message_size(const MemberlistMessage& message) {
  switch (message.kind) {
    case MemberlistKind::kPing:
      return kTypeAndMap + kSequence + kNode + name_size(message.node) + kSource +
             name_size(message.from);
    case MemberlistKind::kIndirectPing:
      return kTypeAndMap + kSequence + 12 + kPort + kNode + name_size(message.node) + 6 + kSource +
             name_size(message.from);
    case MemberlistKind::kAck:
      // One that is passed on has no payload (net.go, handleIndirectPing).
      return kTypeAndMap + kSequence + kPayloadName + (message.flag ? kNone : kCoordinate);
    case MemberlistKind::kNack:
      return kTypeAndMap + kSequence;
    case MemberlistKind::kSuspect:
    case MemberlistKind::kDead:
      return kTypeAndMap + kIncarnation + 2 * kNode + name_size(message.node) +
             name_size(message.from);
    case MemberlistKind::kAlive:
      return kTypeAndMap + kIncarnation + kNode + name_size(message.node) + kAddr + kPort + kMeta +
             kVersions;
    case MemberlistKind::kPushPull:
      return 1 + kPushPullHeader;
    case MemberlistKind::kUserEvent:
      return kUserEvent + message.sequence;
  }
  return 0;
}

size_t packet_size(const std::vector<MemberlistMessage>& messages) {
  size_t size = messages.size() > 1 ? kCompoundHeader + messages.size() * kCompoundOverhead : 0;
  for (const MemberlistMessage& message : messages) size += message_size(message);
  return size;
}

size_t push_pull_size(const std::vector<MemberlistNodeState>& nodes) {
  size_t size = 1 + kPushPullHeader;
  for (const MemberlistNodeState& node : nodes) {
    const size_t name = name_size(node.node);
    size += 1 + kNode + name + kAddr + kPort + kMeta + kIncarnation + 7 + kVersions;
    size += kLamportTime + name;
  }
  return size;
}

std::string encode_packet(const std::vector<MemberlistMessage>& messages) {
  return {reinterpret_cast<const char*>(messages.data()),
          messages.size() * sizeof(MemberlistMessage)};
}

std::vector<MemberlistMessage> decode_packet(std::string_view bytes) {
  std::vector<MemberlistMessage> messages(bytes.size() / sizeof(MemberlistMessage));
  if (!messages.empty()) {
    std::memcpy(messages.data(), bytes.data(), messages.size() * sizeof(MemberlistMessage));
  }
  return messages;
}

std::string encode_push_pull(const MemberlistMessage& header,
                             const std::vector<MemberlistNodeState>& states) {
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.append(reinterpret_cast<const char*>(states.data()),
               states.size() * sizeof(MemberlistNodeState));
  return bytes;
}

PushPull decode_push_pull(std::string_view bytes) {
  PushPull result;
  std::memcpy(&result.header, bytes.data(), sizeof result.header);
  bytes.remove_prefix(sizeof result.header);
  result.states.resize(bytes.size() / sizeof(MemberlistNodeState));
  if (!result.states.empty()) {
    std::memcpy(result.states.data(), bytes.data(),
                result.states.size() * sizeof(MemberlistNodeState));
  }
  return result;
}

}  // namespace starling::simulation
