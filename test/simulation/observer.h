// SPDX-License-Identifier: Apache-2.0
//
// What can be watched in a World: the checker, the trace printer and single tests are observers.
// Called while the world runs, at World::now(); an observer may read the world and schedule
// commands (World::at), but gives none from inside a call.
#pragma once

#include <string_view>

#include "membership/action.h"
#include "membership/node.h"
#include "test/simulation/types.h"

namespace starling::simulation {

/// How a process ended.
enum class StopKind : uint8_t {
  kCrash,     ///< killed; its host goes on
  kHostDown,  ///< killed together with its host: silence
  kLeft,      ///< it left and stopped
};

/// Everything that disturbs a run, as told to observers.
enum class Fault : uint8_t {
  // about one process
  kPause,
  kResume,
  kBlock,  ///< it blocks at sends and after receives
  kUnblock,
  kSpeed,  ///< the time that it takes for one input has changed
  kClock,  ///< its clock runs at another rate now
  kClockJump,
  kDiskFull,
  kDiskFree,
  // about the network
  kPartition,
  kHeal,
  kLinks,  ///< what links do has changed: of one host, or of any (kNoNode)
};

/// "paused", "links changed", ...
[[nodiscard]] const char* fault_name(Fault kind);

/// What costs time to be told of, since it happens with every packet.
enum Interest : unsigned {
  kSentDatagrams = 1,      ///< action() with SendDatagram
  kReceivedDatagrams = 2,  ///< datagram_received()
  kEverything = ~0U,
};

class Observer {
 public:
  virtual ~Observer() = default;

  /// Of `Interest`; asked once, when the observer is added.
  [[nodiscard]] virtual unsigned interests() const { return kEverything; }

  virtual void process_started(NodeIndex /*node*/, bool /*with_state*/) {}
  /// Before the process is destroyed.
  virtual void process_stopping(NodeIndex /*node*/, StopKind /*kind*/) {}
  /// After the fault took effect. `node` is kNoNode for kPartition and kHeal.
  virtual void fault(Fault /*kind*/, NodeIndex /*node*/) {}

  // --- commands that were given ---
  virtual void event_accepted(NodeIndex /*node*/, const membership::MessageId& /*id*/,
                              std::string_view /*name*/, std::string_view /*payload*/) {}
  virtual void query_started(NodeIndex /*node*/, const membership::QueryHandle& /*query*/) {}
  virtual void query_cancelled(NodeIndex /*node*/, const membership::MessageId& /*query*/) {}
  virtual void leave_started(NodeIndex /*node*/) {}
  virtual void force_left(NodeIndex /*by*/, std::string_view /*name*/) {}

  /// Every action, before it is carried out.
  virtual void action(NodeIndex /*node*/, const membership::Action& /*action*/) {}
  /// Every datagram that reaches a process.
  virtual void datagram_received(NodeIndex /*node*/, const Address& /*from*/,
                                 std::string_view /*bytes*/) {}
  /// Each running process in turn, every WorldOptions::sweep_interval.
  virtual void sweep(NodeIndex /*node*/) {}
};

}  // namespace starling::simulation
