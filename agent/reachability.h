// SPDX-License-Identifier: Apache-2.0
//
// Who reaches whom, and what is the likely cause where one does not: each member reports what its
// own probes found (membership/route.h), the one that asks puts the reports together. No new probes
// are made. Pure functions.
//
// What tells the causes apart, for two members x and y:
//
//   datagrams of both unanswered, streams open        UDP is blocked
//   the same, and x hears y                           UDP from x to y is blocked
//   datagrams answered, streams fail                  TCP is blocked
//   neither passes, and x hears y                     one-way: what x sends does not arrive
//   neither passes, nobody hears anything             the route is cut
//   packets of y arrive at x under an unknown key     another key
//   packets of y seem older than y's last start       its clock was set back
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/net/strangers.h"
#include "membership/address.h"
#include "membership/ids.h"
#include "membership/node.h"
#include "proto/control.pb.h"
#include "proto/gossip.pb.h"

namespace starling::agent {

/// Asks a member for its ReachabilityReport. Agents answer it themselves; no handler sees it.
inline constexpr std::string_view kReachabilityQuery = "_starling_reachability";

/// Probes in a row without a datagram in answer that are not taken for bad luck; failed streams.
inline constexpr uint32_t kTroubledAfter = 2;

/// What this member knows. At most kMaxReportedRoutes routes are named. `unix_ms`: its clock.
inline constexpr int kMaxReportedRoutes = 256;
[[nodiscard]] proto::ReachabilityReport report_reachability(
    const membership::Node& node, const std::vector<Stranger>& strangers,
    std::chrono::steady_clock::time_point now, int64_t unix_ms);

/// A member as the asking agent knows it, and its report if it sent one.
struct ReportingMember {
  membership::NodeId id;
  std::string name;
  membership::Address address;
  bool alive = true;      ///< otherwise failed
  bool answered = false;  ///< gave a sign of life
  std::optional<proto::ReachabilityReport> report;
  int64_t clock_ahead_ms = 0;  ///< of the asking agent's clock
};

/// How much a clock shows more than the asking agent's could have shown when it was read; negative:
/// less. `asked` and `heard` are the asking agent's clock before and after.
[[nodiscard]] int64_t clock_ahead_ms(int64_t reported, int64_t asked, int64_t heard);

/// Fills rows and findings. `self`: the name of the asking agent.
void diagnose_reachability(const std::vector<ReportingMember>& members, const std::string& self,
                           control::ReachabilityReply& reply);

}  // namespace starling::agent
