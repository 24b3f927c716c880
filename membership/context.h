// SPDX-License-Identifier: Apache-2.0
//
// What all parts of one node share: its options, who it is, the present time, randomness, counters
// and the list of actions. The node sets `now` before it calls a part.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "membership/action.h"
#include "membership/node.h"
#include "membership/options.h"
#include "membership/random.h"

namespace starling::membership {

struct Context {
  Options options;
  Identity identity;
  Random random;
  TimePoint now;
  Statistics statistics;
  Actions actions;
  LamportClock member_clock;
  LamportClock event_clock;
  LamportClock query_clock;
  Admission admission = {};  ///< empty: everybody
  /// Where what is being worked on came from; Address() for nowhere.
  Address from = {};
  bool from_stream = false;
  std::function<bool(const Address&)> has_member = {};  ///< at this address
  /// Against whom it can be held if what is being worked on is a forgery: a member's address, the
  /// address of a stream's other end without its port, or nobody's for datagrams of strangers, who
  /// may have forged their addresses too.
  [[nodiscard]] Address source() const {
    if (from_stream) return Address(from.ip(), 0);
    return has_member && has_member(from) ? from : Address();
  }

  [[nodiscard]] bool admitted(const NodeId& id, std::string_view name = {}) const {
    return !admission || admission(id, name);
  }
  /// Bytes of datagrams that have been sent (Node::reuse): their memory is used again.
  std::vector<std::string> spare_bytes = {};
  static constexpr size_t kMaxSpareBytes = 64;

  /// Empty, with memory of an earlier datagram where there is some.
  [[nodiscard]] std::string bytes_of_datagram() {
    if (spare_bytes.empty()) return {};
    std::string bytes = std::move(spare_bytes.back());
    spare_bytes.pop_back();
    bytes.clear();
    return bytes;
  }
  void emit(Action action) { actions.push_back(std::move(action)); }
  void trace(TraceLevel level, std::string text) {
    actions.emplace_back(Trace{level, std::move(text)});
  }
};

}  // namespace starling::membership
