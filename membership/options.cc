// SPDX-License-Identifier: Apache-2.0
#include "membership/options.h"

#include <cmath>

#include "membership/limits.h"

namespace starling::membership {

Options Options::lan() {
  return {};
}

Options Options::wan() {
  Options o;
  o.probe_interval = 1s;
  o.round_trip_min = 300ms;
  o.round_trip_initial = 500ms;
  o.round_trip_max = 1s;
  o.local_health_max = 4;
  o.suspicion_min = 5s;
  o.suspicion_max = 60s;
  o.suspicion_refused = 1s;
  o.deaf_after = 3s;
  o.hop_timeout_min = 30ms;
  o.hop_timeout_max = 3s;
  o.batch_delay = 100ms;
  o.announce_delay = 300ms;
  o.sync_after = 5s;
  o.leave_timeout = 3s;
  o.stream_timeout = 30s;
  o.query_timeout_base = 8s;
  return o;
}

Options Options::local() {
  Options o;
  o.probe_interval = 200ms;
  o.round_trip_min = 10ms;
  o.round_trip_initial = 30ms;
  o.round_trip_max = 50ms;
  o.indirect_probes = 3;
  o.local_health_max = 4;
  o.suspicion_min = 1s;
  o.suspicion_refused = 200ms;
  o.deaf_after = 600ms;
  o.announce_delay = 10ms;
  o.sync_after = 500ms;
  o.stream_timeout = 1s;
  o.query_timeout_base = 1600ms;
  return o;
}

Options Options::forgiving() {
  Options o;
  o.suspicion_min = 6s;
  o.suspicion_max = 60s;
  return o;
}

Result<Options> Options::profile(std::string_view name) {
  if (name == "lan") return lan();
  if (name == "wan") return wan();
  if (name == "local") return local();
  if (name == "forgiving") return forgiving();
  return fail(ErrorKind::kInvalid,
              "unknown profile '" + std::string(name) + "': use lan, wan, local or forgiving");
}

Result<void> Options::validate() const {
  const auto require = [](bool holds, const char* rule) -> Result<void> {
    if (holds) return {};
    return fail(ErrorKind::kInvalid, std::string("option out of range: ") + rule);
  };
  struct Rule {
    bool holds;
    const char* text;
  };
  const Rule rules[] = {
      {probe_interval > 0ms, "probe_interval must be above 0"},
      {round_trip_min > 0ms && round_trip_min <= round_trip_initial &&
           round_trip_initial <= round_trip_max && round_trip_max <= probe_interval,
       "0 < round_trip_min <= round_trip_initial <= round_trip_max <= probe_interval"},
      {indirect_probes <= 16, "indirect_probes must be 0..16"},
      {repeated_pings <= 8, "repeated_pings must be 0..8"},
      {local_health_max >= 1, "local_health_max must be at least 1"},
      {local_health_round_trip_max >= 1, "local_health_round_trip_max must be at least 1"},
      {suspicion_min > 0ms && suspicion_min <= suspicion_max, "0 < suspicion_min <= suspicion_max"},
      {suspicion_confirmations >= 1, "suspicion_confirmations must be at least 1"},
      {suspicion_refused > 0ms, "suspicion_refused must be above 0"},
      {deaf_after > 0ms, "deaf_after must be above 0"},
      {isolated_after > 0ms, "isolated_after must be above 0"},
      {tree_fanout >= 2 && tree_fanout <= 64, "tree_fanout must be 2..64"},
      {tree_direct_max >= 1, "tree_direct_max must be at least 1"},
      {batch_delay >= 0ms, "batch_delay must not be negative"},
      {hop_timeout_min > 0ms && hop_timeout_min <= hop_timeout_max,
       "0 < hop_timeout_min <= hop_timeout_max"},
      {announce_fanout <= 8, "announce_fanout must be 0..8"},
      {announce_delay >= 0ms, "announce_delay must not be negative"},
      {retransmit_mult >= 1, "retransmit_mult must be at least 1"},
      {sync_after > 0ms, "sync_after must be above 0"},
      {egress_rate == 0 || egress_rate >= (16U << 10),
       "egress_rate must be 0 (no limit) or at least 16384 bytes"},
      {reconnect_timeout > 0ms, "reconnect_timeout must be above 0"},
      {tombstone_timeout > 0ms, "tombstone_timeout must be above 0"},
      {reconnect_interval > 0ms, "reconnect_interval must be above 0"},
      {leave_timeout > 0ms, "leave_timeout must be above 0"},
      {stream_timeout > 0ms, "stream_timeout must be above 0"},
      {event_retention >= 0ms, "event_retention must not be negative"},
      {user_event_size_limit >= 1 && user_event_size_limit <= kMaxEventSize,
       "user_event_size_limit must be 1..1048576 bytes"},
      {query_size_limit >= 1 && query_size_limit <= kMaxInlinePayload + kProofSize,
       "query_size_limit must be 1..1024 bytes"},
      {query_response_size_limit >= 1 && query_response_size_limit <= (1U << 20),
       "query_response_size_limit must be 1..1048576 bytes"},
      {event_rate == 0 || event_burst >= 1, "event_burst must be at least 1"},
      {event_byte_rate <= (1U << 30), "event_byte_rate must be at most 1073741824 bytes"},
      {query_rate == 0 || query_burst >= 1, "query_burst must be at least 1"},
      {query_timeout_base > 0ms, "query_timeout_base must be above 0"},
  };
  for (const Rule& rule : rules) {
    if (auto held = require(rule.holds, rule.text); !held) return held;
  }
  return {};
}

Duration Options::query_timeout(size_t members) const {
  const auto digits = static_cast<int64_t>(std::ceil(std::log10(static_cast<double>(members) + 1)));
  return query_timeout_base * std::max<int64_t>(digits, 1);
}

}  // namespace starling::membership
