// SPDX-License-Identifier: Apache-2.0
//
// Routes: remembers what probes found out about the ways to others, so that an operator can be told
// what is broken and why. It takes no part in judging who is alive.
//
// Only members with something wrong take room: one whose last probe it answered itself, and to
// which no stream failed, has no entry. At most kMaxRoutes; more are counted and not kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "membership/context.h"
#include "membership/route.h"
#include "membership/swim/member_table.h"

namespace starling::membership {

/// How it is to be seen whether streams to a member can be opened.
enum class StreamCheck : uint8_t {
  kNone,       ///< not now
  kConnect,    ///< by connecting and nothing more, which costs a fifth of the bytes
  kHandshake,  ///< by opening one: that bytes pass, too, and that the other side holds our key
};

class Routes {
 public:
  Routes(Context& context, MemberTable& table);

  // --- what probes found (Prober) ---
  /// A datagram of the member itself answered.
  void direct(const NodeId& peer);
  /// A probe ended well, or not at all (`result` kNothing), without one. Its late answers count.
  void without_direct(uint32_t sequence, const NodeId& peer, ProbeResult result);
  /// A helper has reached it.
  void indirect(const NodeId& peer, const NodeId& helper);
  /// An acknowledgement that no running probe waits for.
  void late_ack(uint32_t sequence, const NodeId& sender);
  /// The host at this address refused a datagram.
  void refused(const Address& peer);
  /// Any datagram from a member.
  void heard(const NodeId& peer);

  // --- streams ---
  /// Whether now is the time to see if a stream to it can be opened; if so it counts as begun.
  /// Every tenth probe that asks, by a handshake every tenth time; where something is wrong more
  /// often, and always by a handshake.
  StreamCheck check_stream(const NodeId& peer);
  void stream_opened(const Address& peer);
  /// `patient`: it was given enough time for silence to mean something.
  void stream_failed(const Address& peer, StreamEnd end, bool patient);

  [[nodiscard]] std::vector<Route> list() const;
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  struct Way {
    ProbeResult last = ProbeResult::kUntried;
    unsigned lost = 0;
    TimePoint lost_since;
    TimePoint heard;
    bool was_heard = false;
    bool refused = false;
    NodeId helper;
    StreamResult stream = StreamResult::kUntried;
    unsigned streams_failed = 0;
    TimePoint streams_failed_since;
    TimePoint checked;
    bool was_checked = false;
  };
  struct Late {
    uint32_t sequence;
    NodeId peer;
  };

  Way* way(const NodeId& peer);
  void settle(const NodeId& peer);
  void sweep();

  Context& context_;
  MemberTable& table_;
  std::map<NodeId, Way> entries_;
  std::deque<Late> late_;  // oldest first
  unsigned until_check_ = 0;
  unsigned until_handshake_;
  unsigned until_sweep_ = 0;
};

}  // namespace starling::membership
