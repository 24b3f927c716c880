// SPDX-License-Identifier: Apache-2.0
//
// The side that reports.
#include <map>

#include "agent/reachability.h"

namespace starling::agent {

namespace {

constexpr int kMaxUnprobedNamed = 64;

uint64_t milliseconds(membership::Duration duration) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

void write(const membership::Route& route, bool failed, proto::RouteReport& wire) {
  wire.set_peer(std::string(route.peer.wire()));
  wire.set_failed(failed);
  wire.set_last(static_cast<uint32_t>(route.last));
  wire.set_lost(route.lost);
  wire.set_lost_ms(milliseconds(route.lost_for));
  if (route.helper != membership::NodeId()) wire.set_helper(std::string(route.helper.wire()));
  wire.set_heard(route.heard.has_value());
  wire.set_refused(route.refused);
  wire.set_stream(static_cast<uint32_t>(route.stream));
  wire.set_streams_failed(route.streams_failed);
  wire.set_streams_failed_ms(milliseconds(route.streams_failed_for));
}

bool troubled(const membership::Route& route) {
  return route.lost >= kTroubledAfter || route.streams_failed >= kTroubledAfter;
}

}  // namespace

proto::ReachabilityReport report_reachability(const membership::Node& node,
                                              const std::vector<Stranger>& strangers,
                                              std::chrono::steady_clock::time_point now,
                                              int64_t unix_ms) {
  proto::ReachabilityReport report;
  report.set_unix_ms(unix_ms);
  std::map<membership::NodeId, membership::Route> routes;
  for (const membership::Route& route : node.routes()) routes.emplace(route.peer, route);
  node.visit_members([&](const membership::MemberState& member) {
    const bool failed = member.status == membership::Status::kFailed;
    const bool up = member.status == membership::Status::kAlive ||
                    member.status == membership::Status::kSuspect;
    if (!failed && !up) return;
    const auto found = routes.find(member.id);
    const bool bad = failed || (found != routes.end() && troubled(found->second));
    if (bad && report.routes_size() >= kMaxReportedRoutes) {
      report.set_omitted(report.omitted() + 1);
    } else if (bad) {
      membership::Route none;
      none.peer = member.id;
      write(found == routes.end() ? none : found->second, failed, *report.add_routes());
    } else if (!node.probed(member.id)) {
      report.set_unprobed(report.unprobed() + 1);
      if (report.unprobed_peers_size() < kMaxUnprobedNamed) {
        report.add_unprobed_peers(std::string(member.id.wire()));
      }
    } else {
      report.set_direct(report.direct() + 1);
    }
  });
  for (const Stranger& stranger : strangers) {
    proto::StrangerReport& wire = *report.add_strangers();
    wire.set_address(stranger.from.wire_ip());
    wire.set_port(stranger.from.port());
    wire.set_reason(static_cast<uint32_t>(stranger.reason));
    wire.set_count(stranger.count);
    wire.set_age_ms(milliseconds(now - stranger.last));
  }
  return report;
}

int64_t clock_ahead_ms(int64_t reported, int64_t asked, int64_t heard) {
  if (reported > heard) return reported - heard;
  if (reported < asked) return reported - asked;
  return 0;
}

}  // namespace starling::agent
