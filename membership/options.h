// SPDX-License-Identifier: Apache-2.0
//
// The protocol's tunables. Sources: SWIM (Das, Gupta, Motivala, DSN 2002), Lifeguard (Dadgar,
// Phillips, Currey, arXiv 1707.00788), and our own simulations (docs/protocol.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "membership/time.h"
#include "proto/support/result.h"

namespace starling::membership {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): readable defaults

/// Rules that keep a fast detector right (algorithm and figures: docs/protocol.md, docs/results).
/// Each can be switched off to see what it brings; an agent always has all of them.
struct Guards {
  bool confirmation = true;         ///< nobody is declared failed on one member's word
  bool demotion = true;             ///< "failed" heard from others is a suspicion that they confirm
  bool stall = true;                ///< time in which we did not run does not count against others
  bool deaf = true;                 ///< nor does time in which we heard nobody
  bool nacks = true;                ///< helpers that could not reach it either confirm
  bool refused = true;              ///< a refused port is evidence
  bool look = true;                 ///< a refused port is believed by who has seen it refused
  bool buddy = true;                ///< a suspect is told first, and once more before it fails
  bool adaptive_round_trip = true;  ///< probe time-outs follow the measured round trip
};

/// Start from one of the profiles, change single values, then validate().
struct Options {
  // --- probing ---
  /// One member is probed every interval. A probe is given the interval or three round-trip bounds,
  /// whichever is longer, so that on slow networks probes overlap. > 0.
  Duration probe_interval = 500ms;
  /// A direct ping is given srtt + 4 rttvar, within these bounds (as RFC 6298), before helpers are
  /// asked. 0 < min <= initial <= max <= probe_interval.
  Duration round_trip_min = 50ms;
  Duration round_trip_initial = 120ms;
  Duration round_trip_max = 200ms;
  /// Helpers asked for an indirect probe. 0..16.
  unsigned indirect_probes = 4;
  /// Further direct pings beside the helpers', spread over 1.2 round trips. 0..8.
  unsigned repeated_pings = 2;
  /// Probe over a stream as well when the direct ping is late, and see if streams open (routes.h).
  bool stream_probes = true;
  /// Local health score is kept in [0, max) and stretches probes (Lifeguard: 8). >= 1.
  unsigned local_health_max = 8;
  /// Largest factor by which local health stretches the round-trip bound. >= 1.
  unsigned local_health_round_trip_max = 4;

  /// Neither keep nor tell where members are in the network (swim/coordinates.h).
  bool disable_coordinates = false;

  // --- suspicion ---
  /// A suspect that enough others confirm fails after `min`, an unconfirmed one not before `max`
  /// and only when nobody is left to ask. 0 < min <= max. Independent of the cluster's size; it is
  /// the longest pause of a host that is forgiven.
  Duration suspicion_min = 3s;
  Duration suspicion_max = 30s;
  /// Distinct confirmations that shorten the time to `min` (Lifeguard's K). >= 1.
  unsigned suspicion_confirmations = 3;
  /// Suspicion time when two hosts saw the member's host refuse our port. > 0.
  Duration suspicion_refused = 300ms;
  /// No packet from anyone for this long: nobody is declared failed. > 0.
  Duration deaf_after = 1500ms;
  /// Nothing heard from anybody for this long: unconfirmed suspicions may fail after all. Long,
  /// because it is more likely that this host has lost its network than that all others died. Not
  /// so with fewer than seven others: there it is no longer than `suspicion_max`. > 0.
  Duration isolated_after = 10min;

  Guards guards;

  // --- gossip ---
  /// Children of one member in the broadcast tree. 2..64.
  unsigned tree_fanout = 8;
  /// Clusters up to this size are told directly, in one hop. >= 1.
  unsigned tree_direct_max = 32;
  /// Records that come up within this time of each other, as in a mass join, are broadcast
  /// together. >= 0.
  Duration batch_delay = 50ms;
  /// A hop's acknowledgement is waited for between these times, doubling. 0 < min <= max.
  Duration hop_timeout_min = 4ms;
  Duration hop_timeout_max = 500ms;
  /// Random members that are told the ids of new records after a delay. 0..8.
  unsigned announce_fanout = 2;
  Duration announce_delay = 40ms;
  /// Piggybacked updates go out retransmit_mult * ceil(log10(n + 1)) times (SWIM's lambda log n).
  unsigned retransmit_mult = 4;
  /// A difference of fingerprints that lasts this long is synchronised. > 0.
  Duration sync_after = 1s;
  /// The tree divides the members at the borders of zones first, so that news crosses from site to
  /// site once.
  bool tree_by_zone = true;
  /// Bytes that this node sends a second, in packets and payloads of large events, after an eighth
  /// of it at once. What is more waits, urgent classes first (gossip/traffic.h). 0: no limit.
  size_t egress_rate = 16U << 20;
  /// Each class of traffic has a share of it that others cannot take.
  bool traffic_floors = true;

  // --- members that are gone ---
  /// Failed (left) members are kept this long, then reaped.
  Duration reconnect_timeout = 24h;
  Duration tombstone_timeout = 24h;
  /// The mean time between attempts to reach one failed member. > 0.
  Duration reconnect_interval = 30s;
  /// A leave is repeated until others have acknowledged it, at most this long.
  Duration leave_timeout = 500ms;
  /// Streams: time to connect, and between two messages.
  Duration stream_timeout = 10s;

  // --- events and queries ---
  /// Events are kept for members that missed them until one of these limits is reached.
  Duration event_retention = 1h;
  size_t event_retention_count = 16'384;
  size_t event_retention_bytes = 32U << 20;
  /// Name and payload of an own user event together, in bytes. At most kMaxEventSize; others'
  /// events are taken up to that size.
  size_t user_event_size_limit = 1U << 20;
  size_t query_size_limit = 1024;
  size_t query_response_size_limit = 1U << 20;
  /// What users of one agent may send: so many a second after so many at once. A rate of 0: no
  /// limit.
  unsigned event_rate = 200;
  unsigned event_burst = 2000;
  /// Bytes of user events (name and payload) a second, after eight seconds' worth at once.
  size_t event_byte_rate = 4U << 20;
  unsigned query_rate = 50;
  unsigned query_burst = 500;
  /// Default deadline of a query: query_timeout_base * ceil(log10(n + 1)), as Serf computes it.
  Duration query_timeout_base = 3200ms;

  static Options lan();
  static Options wan();
  static Options local();
  /// lan() for hosts that pause: a silent member is given twice the time.
  static Options forgiving();
  /// "lan", "wan", "local" or "forgiving".
  static Result<Options> profile(std::string_view name);

  /// Names the first option that is out of range, its value and its bounds.
  [[nodiscard]] Result<void> validate() const;

  /// Query deadline for a cluster of `members`.
  [[nodiscard]] Duration query_timeout(size_t members) const;
};

}  // namespace starling::membership
