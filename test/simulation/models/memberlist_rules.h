// SPDX-License-Identifier: Apache-2.0
//
// The tunables and formulas of HashiCorp memberlist, as Serf 0.10 uses it, for the model in
// memberlist.h. Each declaration names the Go file and function that it follows. Pure; no state but
// what the two small classes hold.
#pragma once

#include <algorithm>
#include <vector>

#include "test/simulation/types.h"

namespace starling::simulation {

/// config.go, DefaultLANConfig; and the switches that take Lifeguard's parts away.
struct MemberlistOptions {
  Duration probe_interval = 1s;
  Duration probe_timeout = 500ms;
  unsigned indirect_checks = 3;
  bool tcp_pings = true;
  Duration tcp_timeout = 10s;

  int suspicion_mult = 4;              ///< Lifeguard's alpha
  int suspicion_max_timeout_mult = 6;  ///< Lifeguard's beta
  int retransmit_mult = 4;
  unsigned gossip_nodes = 3;
  Duration gossip_interval = 200ms;
  Duration gossip_to_the_dead = 30s;
  Duration push_pull_interval = 30s;
  size_t udp_buffer_size = 1400;  ///< bytes
  /// A failed member's name may be taken over by another address after this; 0: never.
  Duration dead_node_reclaim{};

  // --- Lifeguard (arXiv 1707.00788, section IV) ---
  /// LHA-Probe: the score stays below this; 1 switches it off, and with it the asking for nacks.
  int awareness_max_multiplier = 8;
  /// LHA-Suspicion: confirmations shorten the suspicion. Off: it lasts the minimum.
  bool local_health_suspicion = true;
  /// Buddy: a ping to a suspect carries the suspicion.
  bool buddy = true;

  /// serf/config.go, ReconnectInterval: 0 for memberlist without Serf.
  Duration reconnect_interval = 30s;
  /// serf/config.go: BroadcastTimeout and LeavePropagateDelay.
  Duration broadcast_timeout = 5s;
  Duration leave_propagate_delay = 1s;

  /// As Serf ships it.
  static MemberlistOptions lan() { return {}; }
  /// The rows of Lifeguard's tables: alpha 5, beta 1 without any part of Lifeguard, then with one
  /// of them, then with all (beta 6 where suspicion is among them).
  static MemberlistOptions swim();
  static MemberlistOptions lha_probe();
  static MemberlistOptions lha_suspicion();
  static MemberlistOptions buddy_only();
  static MemberlistOptions lifeguard();
};

/// util.go, suspicionTimeout: how long a suspicion lasts at least, among `n` known members.
Duration suspicion_timeout(int suspicion_mult, size_t n, Duration interval);

/// util.go, retransmitLimit: how often a broadcast is sent, among `n` known members.
int retransmit_limit(int retransmit_mult, size_t n);

/// util.go, pushPullScale: the interval, stretched for more than 32 members.
Duration push_pull_scale(Duration interval, size_t n);

/// suspicion.go, remainingSuspicionTime: after `n` of `k` confirmations. May be negative.
Duration remaining_suspicion_time(int n, int k, Duration elapsed, Duration min, Duration max);

/// awareness.go: the local health score, 0 (healthy) to max - 1.
class Awareness {
 public:
  explicit Awareness(int max) : max_(max) {}
  void apply(int delta) { score_ = std::clamp(score_ + delta, 0, max_ - 1); }
  [[nodiscard]] int score() const { return score_; }
  [[nodiscard]] Duration scale(Duration timeout) const { return timeout * (score_ + 1); }

 private:
  int max_;
  int score_ = 0;
};

/// suspicion.go: the timer of one suspected member, shortened by independent confirmations.
class Suspicion {
 public:
  /// newSuspicion: `from` does not count as a confirmation.
  Suspicion(NodeIndex from, int k, Duration min, Duration max, TimePoint now);
  /// Confirm: true if this is news, and should be gossiped on.
  bool confirm(NodeIndex from, TimePoint now);
  [[nodiscard]] TimePoint deadline() const { return deadline_; }
  [[nodiscard]] int confirmations() const { return n_; }

 private:
  int n_ = 0;
  int k_;
  Duration min_;
  Duration max_;
  TimePoint start_;
  TimePoint deadline_;
  std::vector<NodeIndex> confirmers_;
};

}  // namespace starling::simulation
