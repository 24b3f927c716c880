// SPDX-License-Identifier: Apache-2.0
//
// What a node's own probes say about its way to one other member. A value, for operators.
#pragma once

#include <cstdint>
#include <optional>

#include "membership/ids.h"
#include "membership/time.h"

namespace starling::membership {

/// How the last probe of a member was answered.
enum class ProbeResult : uint8_t {
  kUntried,
  kDirect,    ///< by a datagram of its own
  kIndirect,  ///< through a helper only
  kStream,    ///< over a stream only
  kNothing,   ///< not at all
};

/// What became of the last attempt to open a stream to a member.
enum class StreamResult : uint8_t {
  kUntried,
  kOpened,
  kRefused,   ///< its host, or something before it, refuses the port
  kSilent,    ///< no answer within seconds
  kProtocol,  ///< connected, but the two do not share a key (or a protocol)
};

/// The way to one member, kept only while something is wrong with it. Ages are those at the call.
struct Route {
  NodeId peer;
  ProbeResult last = ProbeResult::kUntried;
  unsigned lost = 0;     ///< probes in a row that no datagram of its own answered
  Duration lost_for{0};  ///< since the first of these
  NodeId helper;         ///< who reached it for us last; zero: nobody
  bool refused = false;  ///< its host refused our datagrams meanwhile (ICMP)
  /// Since its last datagram arrived here, whatever it was; none: not since the first loss.
  std::optional<Duration> heard;
  StreamResult stream = StreamResult::kUntried;
  unsigned streams_failed = 0;  ///< in a row
  Duration streams_failed_for{0};
};

}  // namespace starling::membership
