// SPDX-License-Identifier: Apache-2.0
#include "agent/config/flags.h"

#include <algorithm>
#include <array>

#include "agent/config/flag_keys.h"
#include "agent/config/text.h"

namespace starling::agent {

namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"config-file", "FILE", true, "read a YAML or JSON configuration file"},
    {"config-dir", "DIR", true, "read every *.yaml, *.yml and *.json file of a folder, by name"},
    {"node", "NAME", false, "name of this node, unique in the cluster (default: the host name)"},
    {"bind", "ADDR", false, "address to listen on, TCP and UDP (default: 0.0.0.0:7946)"},
    {"advertise", "ADDR", false, "address that other members are told (default: the bind address)"},
    {"iface", "NAME", false, "network interface to listen on"},
    {"encrypt", "KEY", false, "cluster key, base64 of 32 bytes (see 'starling keygen')"},
    {"keyring-file", "FILE", false, "JSON list of base64 cluster keys, the first one seals"},
    {"insecure", "", false, "without a cluster key, allow addresses other than loopback"},
    {"data-dir", "DIR", false, "where the agent keeps its state"},
    {"control", "PATH", false, "unix socket for the other subcommands"},
    {"rpc-addr", "ADDR", false,
     "where Serf's clients are answered; unix:PATH, or none (default: 127.0.0.1:7373)"},
    {"join", "ADDR", true, "member to join at start; fails when none can be reached"},
    {"replay", "", false, "deliver past user events when joining at start"},
    {"retry-join", "ADDR", true, "member to join in the background, again and again"},
    {"retry-interval", "DURATION", false,
     "time between two attempts of -retry-join (default: 30s)"},
    {"retry-max", "N", false, "attempts of -retry-join before giving up (default: 0, for ever)"},
    {"rejoin", "", false, "join again after an earlier leave"},
    {"discover", "NAME", false, "find and join agents of the same NAME by mDNS"},
    {"mdns-iface", "NAME", false, "network interface for -discover (default: -iface, or all)"},
    {"mdns-disable-ipv4", "", false, "-discover without mDNS over IPv4"},
    {"mdns-disable-ipv6", "", false, "-discover without mDNS over IPv6"},
    {"event-handler", "FILTER=COMMAND", true, "command to run on events"},
    {"tag", "KEY=VALUE", true, "tag of this node"},
    {"tags-file", "FILE", false, "JSON file that keeps tags; not together with -tag"},
    {"role", "NAME", false, "older form of -tag role=NAME"},
    {"log-level", "LEVEL", false, "TRACE, DEBUG, INFO, WARN or ERR (default: INFO)"},
    {"log-file", "FILE", false, "write the log to a file as well"},
    {"syslog", "", false, "write the log to syslog as well"},
    {"profile", "NAME", false, "timing: lan, wan, local or forgiving (default: lan)"},
    {"event-retention", "DURATION", false,
     "how long user events are kept for members that are away (default: 1h)"},
    {"event-retention-count", "N", false, "how many of them (default: 16384)"},
    {"event-retention-bytes", "N", false, "how many bytes of them (default: 33554432)"},
    {"broadcast-timeout", "DURATION", false, "how long a leave or tag update waits (default: 5s)"},
    {"event-rate", "N", false, "user events a second that this agent sends (default: 200)"},
    {"event-burst", "N", false, "of these at once (default: 2000)"},
    {"event-byte-rate", "N", false, "bytes of these a second (default: 4194304)"},
    {"query-rate", "N", false, "queries a second that this agent asks (default: 50)"},
    {"query-burst", "N", false, "of these at once (default: 500)"},
    {"protocol", "N", false, "of Serf; ignored"},
    {"snapshot", "FILE", false, "of Serf; ignored, state is in -data-dir"},
    {"disable-compression", "", false, "of Serf; ignored"},
});

struct FlagKey {
  std::string_view flag;
  std::string_view key;
};

/// Where the key is not the flag with '_' for '-'.
constexpr auto kOtherNames = std::to_array<FlagKey>({
    {"node", "node_name"},
    {"iface", "interface"},
    {"encrypt", "encrypt_key"},
    {"join", "start_join"},
    {"replay", "replay_on_join"},
    {"retry-max", "retry_max_attempts"},
    {"rejoin", "rejoin_after_leave"},
    {"event-handler", "event_handlers"},
    {"tag", "tags"},
    {"syslog", "enable_syslog"},
    {"snapshot", "snapshot_path"},
    {"mdns-iface", "mdns"},
    {"mdns-disable-ipv4", "mdns"},
    {"mdns-disable-ipv6", "mdns"},
    {"disable-compression", "enable_compression"},
    {"config-file", ""},
    {"config-dir", ""},
});

constexpr auto kSameNames = std::to_array<FlagKey>({
    {"bind", "bind"},
    {"advertise", "advertise"},
    {"keyring-file", "keyring_file"},
    {"insecure", "insecure"},
    {"data-dir", "data_dir"},
    {"control", "control"},
    {"retry-join", "retry_join"},
    {"retry-interval", "retry_interval"},
    {"tags-file", "tags_file"},
    {"role", "role"},
    {"log-level", "log_level"},
    {"log-file", "log_file"},
    {"profile", "profile"},
    {"event-retention", "event_retention"},
    {"event-retention-count", "event_retention_count"},
    {"event-retention-bytes", "event_retention_bytes"},
    {"broadcast-timeout", "broadcast_timeout"},
    {"event-rate", "event_rate"},
    {"event-burst", "event_burst"},
    {"event-byte-rate", "event_byte_rate"},
    {"query-rate", "query_rate"},
    {"query-burst", "query_burst"},
    {"protocol", "protocol"},
    {"rpc-addr", "rpc_addr"},
    {"discover", "discover"},
});

}  // namespace

std::span<const FlagSpec> agent_flags() {
  return kFlags;
}

std::string_view config::key_of_flag(std::string_view flag) {
  for (const FlagKey& each : kOtherNames) {
    if (each.flag == flag) return each.key;
  }
  for (const FlagKey& each : kSameNames) {
    if (each.flag == flag) return each.key;
  }
  return {};
}

std::string_view config::flag_of_key(std::string_view key) {
  if (key.empty()) return {};
  for (const FlagKey& each : kOtherNames) {
    if (each.key == key) return each.flag;
  }
  for (const FlagKey& each : kSameNames) {
    if (each.key == key) return each.flag;
  }
  return {};
}

std::string_view nearest_flag(std::string_view name) {
  std::string key(name);
  std::replace(key.begin(), key.end(), '-', '_');
  if (const std::string_view flag = config::flag_of_key(key); !flag.empty()) return flag;
  std::vector<std::string_view> names;
  names.reserve(kFlags.size());
  for (const FlagSpec& flag : kFlags) names.push_back(flag.name);
  return config::nearest(name, names);
}

}  // namespace starling::agent
