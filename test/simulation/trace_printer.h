// SPDX-License-Identifier: Apache-2.0
//
// Prints what happens at one process, one line each: for reading a failing seed.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "test/simulation/observer.h"
#include "test/simulation/world.h"

namespace starling::simulation {

/// A packet's parts in short: "ping 17, push member(2), fp 1f..".
std::string describe_packet(std::string_view bytes);
std::string describe_stream_message(std::string_view bytes);

class TracePrinter : public Observer {
 public:
  /// kNoNode: every process, but without packets.
  TracePrinter(World& world, NodeIndex node, std::FILE* out)
      : world_(world), node_(node), out_(out) {
    world_.add_observer(this);
  }

  void process_started(NodeIndex node, bool with_state) override;
  void process_stopping(NodeIndex node, StopKind kind) override;
  void fault(Fault kind, NodeIndex node) override;
  void action(NodeIndex node, const membership::Action& action) override;
  void datagram_received(NodeIndex node, const Address& from, std::string_view bytes) override;

 private:
  [[nodiscard]] bool wanted(NodeIndex node) const { return node_ == kNoNode || node_ == node; }
  void line(NodeIndex node, const std::string& text);

  World& world_;
  NodeIndex node_;
  std::FILE* out_;
};

}  // namespace starling::simulation
