// SPDX-License-Identifier: Apache-2.0
//
// What the processes of the memberlist model send each other: fixed records that are quick to
// copy, and beside them the size that the same message has in memberlist (msgpack with field names,
// net.go), by which packets are filled and traffic is counted. Sizes are those of Serf's use: acks
// carry a Vivaldi coordinate (serf/ping_delegate.go), states carry Serf's Lamport times
// (serf/delegate.go); nothing is encrypted, and compression is left out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "test/simulation/types.h"

namespace starling::simulation {

/// net.go, messageType.
enum class MemberlistKind : uint8_t {
  kPing,
  kIndirectPing,
  kAck,
  kNack,
  kSuspect,
  kAlive,
  kDead,
  kPushPull,
  kUserEvent,  ///< Serf's, in a userMsg
};

/// One message; which fields count depends on the kind.
struct MemberlistMessage {
  MemberlistKind kind = MemberlistKind::kPing;
  bool flag = false;      ///< indirect ping: a nack is wanted; push-pull: a join
  uint16_t moves = 0;     ///< address of `node` (address_of)
  uint32_t sequence = 0;  ///< ping, indirect ping, ack, nack; user event: bytes, name and payload
  uint32_t incarnation = 0;  ///< suspect, alive, dead
  NodeIndex node = kNoNode;  ///< ping and indirect ping: the target; user event: its number
  NodeIndex from = kNoNode;  ///< suspect, dead: who says so; indirect ping: who asks
};

/// state.go, NodeStateType.
enum class MemberlistState : uint8_t { kAlive, kSuspect, kDead, kLeft };

/// net.go, pushNodeState.
struct MemberlistNodeState {
  NodeIndex node = kNoNode;
  uint32_t incarnation = 0;
  uint16_t moves = 0;
  MemberlistState state = MemberlistState::kAlive;
};

/// Bytes per packet (compoundHeaderOverhead) and per message in it (compoundOverhead).
inline constexpr size_t kCompoundHeader = 2;
inline constexpr size_t kCompoundOverhead = 2;
/// hasCrcMsg: before packets whose receiver is looked up by name (net.go, rawSendMsgPacket).
inline constexpr size_t kCrcOverhead = 5;

/// Bytes of the message as memberlist would encode it.
size_t message_size(const MemberlistMessage& message);
/// Bytes of a packet of these messages, a compound one when there are several.
size_t packet_size(const std::vector<MemberlistMessage>& messages);
/// Bytes of a push-pull message with the states of `nodes` members.
size_t push_pull_size(const std::vector<MemberlistNodeState>& nodes);

std::string encode_packet(const std::vector<MemberlistMessage>& messages);
/// In the order in which they were packed.
std::vector<MemberlistMessage> decode_packet(std::string_view bytes);

/// A push-pull is its header message and the states.
std::string encode_push_pull(const MemberlistMessage& header,
                             const std::vector<MemberlistNodeState>& states);
struct PushPull {
  MemberlistMessage header;
  std::vector<MemberlistNodeState> states;
};
PushPull decode_push_pull(std::string_view bytes);

}  // namespace starling::simulation
