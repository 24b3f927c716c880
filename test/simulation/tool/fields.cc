// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/fields.h"

#include <algorithm>
#include <array>
#include <climits>
#include <type_traits>

#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

constexpr Field<LinkModel> kLinkFields[] = {
    {"latency-min", &LinkModel::latency_min},
    {"latency-spread", &LinkModel::latency_spread},
    {"jitter", &LinkModel::jitter},
    {"jitter-shape", &LinkModel::jitter_shape},
    {"zones", &LinkModel::zones},
    {"zone-latency-min", &LinkModel::zone_latency_min},
    {"zone-latency-max", &LinkModel::zone_latency_max},
    {"loss", &LinkModel::loss},
    {"duplication", &LinkModel::duplication},
    {"reordering", &LinkModel::reordering},
    {"reorder-delay", &LinkModel::reorder_delay},
    {"spikes", &LinkModel::spikes},
    {"spike-delay", &LinkModel::spike_delay},
    {"extra-latency", &LinkModel::extra_latency},
    {"bandwidth", &LinkModel::bandwidth, true},
    {"egress-queue", &LinkModel::egress_queue},
    {"egress-wait", &LinkModel::egress_wait},
};

constexpr Field<WorldOptions> kHostFields[] = {
    {"refusals", &WorldOptions::refusals},
    {"refusal-interval", &WorldOptions::refusal_interval},
    {"socket-buffer", &WorldOptions::socket_buffer},
    {"timer-lateness", &WorldOptions::timer_lateness},
    {"clock-skew-ppm", &WorldOptions::clock_skew_ppm},
    {"handler-time-min", &WorldOptions::handler_time_min},
    {"handler-time-max", &WorldOptions::handler_time_max},
    {"join-retry", &WorldOptions::join_retry},
    {"sweep-interval", &WorldOptions::sweep_interval},
};

using membership::Options;
constexpr Field<Options> kNodeFields[] = {
    {"probe-interval", &Options::probe_interval},
    {"round-trip-min", &Options::round_trip_min},
    {"round-trip-initial", &Options::round_trip_initial},
    {"round-trip-max", &Options::round_trip_max},
    {"indirect-probes", &Options::indirect_probes},
    {"repeated-pings", &Options::repeated_pings},
    {"stream-probes", &Options::stream_probes},
    {"local-health-max", &Options::local_health_max},
    {"local-health-round-trip-max", &Options::local_health_round_trip_max},
    {"suspicion-min", &Options::suspicion_min},
    {"suspicion-max", &Options::suspicion_max},
    {"suspicion-confirmations", &Options::suspicion_confirmations},
    {"suspicion-refused", &Options::suspicion_refused},
    {"deaf-after", &Options::deaf_after},
    {"isolated-after", &Options::isolated_after},
    {"tree-fanout", &Options::tree_fanout},
    {"tree-direct-max", &Options::tree_direct_max},
    {"batch-delay", &Options::batch_delay},
    {"hop-timeout-min", &Options::hop_timeout_min},
    {"hop-timeout-max", &Options::hop_timeout_max},
    {"announce-fanout", &Options::announce_fanout},
    {"announce-delay", &Options::announce_delay},
    {"retransmit-mult", &Options::retransmit_mult},
    {"sync-after", &Options::sync_after},
    {"tree-by-zone", &Options::tree_by_zone},
    {"egress-rate", &Options::egress_rate},
    {"traffic-floors", &Options::traffic_floors},
    {"reconnect-timeout", &Options::reconnect_timeout},
    {"tombstone-timeout", &Options::tombstone_timeout},
    {"reconnect-interval", &Options::reconnect_interval},
    {"leave-timeout", &Options::leave_timeout},
    {"stream-timeout", &Options::stream_timeout},
    {"event-retention", &Options::event_retention},
    {"event-retention-count", &Options::event_retention_count},
    {"event-retention-bytes", &Options::event_retention_bytes},
    {"user-event-size-limit", &Options::user_event_size_limit},
    {"query-size-limit", &Options::query_size_limit},
    {"query-response-size-limit", &Options::query_response_size_limit},
    {"query-timeout-base", &Options::query_timeout_base},
    {"event-rate", &Options::event_rate},
    {"event-burst", &Options::event_burst},
    {"event-byte-rate", &Options::event_byte_rate},
    {"query-rate", &Options::query_rate},
    {"query-burst", &Options::query_burst},
};

using membership::Guards;
constexpr Field<Guards> kGuardFields[] = {
    {"confirmation", &Guards::confirmation},
    {"demotion", &Guards::demotion},
    {"stall", &Guards::stall},
    {"deaf", &Guards::deaf},
    {"nacks", &Guards::nacks},
    {"refused", &Guards::refused},
    {"buddy", &Guards::buddy},
    {"adaptive-round-trip", &Guards::adaptive_round_trip},
};

constexpr Field<CheckerOptions> kCheckFields[] = {
    {"accuracy-window", &CheckerOptions::accuracy_window},
    {"tolerated-pause", &CheckerOptions::tolerated_pause},
    {"tolerated-loss", &CheckerOptions::tolerated_loss},
    {"tolerated-cut-factor", &CheckerOptions::tolerated_cut_factor},
    {"packets-per-second-base", &CheckerOptions::packets_per_second_base},
    {"packets-per-second-factor", &CheckerOptions::packets_per_second_factor},
    {"timers-per-second", &CheckerOptions::timers_per_second},
    {"detection-bound", &CheckerOptions::detection_bound},
    {"join-settling", &CheckerOptions::join_settling},
};

constexpr Field<Scenario> kBoundFields[] = {
    {"boot-bound", &Scenario::boot_bound},
    {"liveness-bound", &Scenario::liveness_bound},
};

/// In the order of JitterShape.
constexpr std::array<std::string_view, 4> kShapes = {"constant", "uniform", "exponential",
                                                     "lognormal"};

template <typename T>
std::string set_value(std::string_view text, bool bytes, T& value) {
  if constexpr (std::is_same_v<T, Duration>) {
    const auto duration = parse_duration(text);
    if (!duration) return "a time with its unit, such as 250ms or 1.5s";
    value = *duration;
  } else if constexpr (std::is_same_v<T, double>) {
    const auto number = bytes ? parse_bytes(text) : parse_share(text);
    if (!number) return bytes ? "bytes, such as 125M" : "a share from 0 % to 100 %, such as 1%";
    value = *number;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (text != "true" && text != "false") return "true or false";
    value = text == "true";
  } else if constexpr (std::is_same_v<T, JitterShape>) {
    const auto found = std::find(kShapes.begin(), kShapes.end(), text);
    if (found == kShapes.end()) return "constant, uniform, exponential or lognormal";
    value = static_cast<JitterShape>(found - kShapes.begin());
  } else if constexpr (std::is_same_v<T, int>) {
    const auto number = parse_count(text);
    if (!number || *number > 500'000) return "parts per million, such as 200";
    value = static_cast<int>(*number);
  } else {
    const auto number = parse_count(text);
    if (!number || *number > UINT_MAX) return "a whole number";
    value = static_cast<T>(*number);
  }
  return "";
}

template <typename T>
std::string write_value(bool bytes, T value) {
  if constexpr (std::is_same_v<T, Duration>) {
    return write_duration(value);
  } else if constexpr (std::is_same_v<T, double>) {
    return bytes ? format("%.0f", value) : write_share(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, JitterShape>) {
    return std::string(kShapes[static_cast<size_t>(value)]);
  } else {
    return std::to_string(value);
  }
}

}  // namespace

std::span<const Field<LinkModel>> link_fields() {
  return kLinkFields;
}
std::span<const Field<WorldOptions>> host_fields() {
  return kHostFields;
}
std::span<const Field<Options>> node_fields() {
  return kNodeFields;
}
std::span<const Field<Guards>> guard_fields() {
  return kGuardFields;
}
std::span<const Field<CheckerOptions>> check_fields() {
  return kCheckFields;
}
std::span<const Field<Scenario>> bound_fields() {
  return kBoundFields;
}

template <typename T>
std::string set_field(const Field<T>& field, std::string_view text, T& target) {
  return std::visit([&](auto member) { return set_value(text, field.bytes, target.*member); },
                    field.member);
}

template <typename T>
std::string write_field(const Field<T>& field, const T& source) {
  return std::visit([&](auto member) { return write_value(field.bytes, source.*member); },
                    field.member);
}

template std::string set_field(const Field<LinkModel>&, std::string_view, LinkModel&);
template std::string write_field(const Field<LinkModel>&, const LinkModel&);
template std::string set_field(const Field<WorldOptions>&, std::string_view, WorldOptions&);
template std::string write_field(const Field<WorldOptions>&, const WorldOptions&);
template std::string set_field(const Field<Options>&, std::string_view, Options&);
template std::string write_field(const Field<Options>&, const Options&);
template std::string set_field(const Field<Guards>&, std::string_view, Guards&);
template std::string write_field(const Field<Guards>&, const Guards&);
template std::string set_field(const Field<CheckerOptions>&, std::string_view, CheckerOptions&);
template std::string write_field(const Field<CheckerOptions>&, const CheckerOptions&);
template std::string set_field(const Field<Scenario>&, std::string_view, Scenario&);
template std::string write_field(const Field<Scenario>&, const Scenario&);

}  // namespace starling::simulation
