// SPDX-License-Identifier: Apache-2.0
//
// Process: what the world drives on a host. The production membership::Node is one; a model of
// another protocol, to be compared with it under the same network and faults, is another. Inputs,
// time and actions are those of membership::Node (membership/node.h); `now` never goes back.
//
// Single-threaded. Everything random comes from the seed that the process was made with.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "membership/node.h"
#include "test/simulation/types.h"

namespace starling::simulation {

class Process {
 public:
  virtual ~Process() = default;

  virtual void receive_datagram(TimePoint now, const Address& from, std::string_view bytes) = 0;
  virtual void datagram_refused(TimePoint now, const Address& peer) = 0;
  virtual void stream_opened(TimePoint now, membership::StreamId stream) = 0;
  virtual void stream_accepted(TimePoint now, membership::StreamId stream, const Address& from) = 0;
  virtual void receive_stream(TimePoint now, membership::StreamId stream,
                              std::string_view bytes) = 0;
  virtual void stream_closed(TimePoint now, membership::StreamId stream,
                             membership::StreamEnd end) = 0;

  virtual void advance(TimePoint now) = 0;
  [[nodiscard]] virtual TimePoint next_deadline() const = 0;
  /// Of another protocol: SendDatagram, the stream actions, MemberEvent, UserEventArrived,
  /// JoinTried, LeaveDone and Trace are enough. `bytes` are the protocol's own.
  [[nodiscard]] virtual membership::Actions take_actions() = 0;

  /// The world blocks it at sends and receives (World::block), or ceases to: it holds back what the
  /// process sends by itself. For those whose own course stops at a send that does not return.
  virtual void set_blocked(TimePoint /*now*/, bool /*blocked*/) {}

  virtual void join(TimePoint now, const std::vector<Address>& addresses, bool replay) = 0;
  virtual void leave(TimePoint now) = 0;

  /// A user event of a model of another protocol: each process to which it comes says so once, by a
  /// UserEventArrived whose id has this sequence and no origin. False when the model has no events.
  virtual bool send_event(TimePoint /*now*/, uint64_t /*sequence*/, size_t /*bytes*/) {
    return false;
  }

  /// Members that it holds for alive (suspects count), itself included.
  [[nodiscard]] virtual size_t alive_count() const = 0;
  /// The production node inside; null for a model of another protocol, which then takes part in
  /// nothing but membership and user events.
  [[nodiscard]] virtual membership::Node* node() { return nullptr; }
};

/// Makes the process of a host at its start. `node` is the host's index.
using MakeProcess = std::function<std::unique_ptr<Process>(
    NodeIndex node, const membership::Options& options, const membership::Identity& identity,
    membership::Random random, TimePoint now, membership::Restored restored)>;

}  // namespace starling::simulation
