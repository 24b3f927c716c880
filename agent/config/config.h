// SPDX-License-Identifier: Apache-2.0
//
// The agent's configuration: YAML (or JSON) files and flags, merged in order and checked as a
// whole. Names and merge rules are Serf's: later overrides earlier, lists append, tags merge key by
// key, flags come after files. Plain values; no thread, no lifetime. docs/configuration.md is the
// user's side of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/config/environment.h"
#include "agent/config/flags.h"
#include "agent/trust/key.h"
#include "membership/address.h"
#include "membership/options.h"
#include "proto/support/result.h"

namespace starling::agent {

using membership::Duration;

/// The port of gossip when none is named.
inline constexpr uint16_t kDefaultBindPort = 7946;
/// The port of Serf's RPC when none is named.
inline constexpr uint16_t kDefaultRpcPort = 7373;

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError };

/// "TRACE", "DEBUG", "INFO", "WARN" or "ERR", as Serf writes them.
std::string_view log_level_name(LogLevel level);
/// In any case; also "WARNING" and "ERROR".
std::optional<LogLevel> parse_log_level(std::string_view name);

/// The LOG_* code of "LOCAL0", "DAEMON", ..., in any case.
std::optional<int> syslog_facility_code(std::string_view name);

/// A handler as written. Its text is checked by the handlers' own parser, which names `place`.
struct HandlerConfig {
  /// "FILTER=COMMAND" or "COMMAND". Empty when filter and command were given apart.
  std::string spec;
  std::string filter;  ///< empty: all events
  std::string command;
  /// Unset: handler_timeout and handler_concurrency of the agent, and the dispatcher's queue bound.
  std::optional<Duration> timeout;
  std::optional<unsigned> concurrency;
  std::optional<unsigned> queue;

  // --- policy; `policy` is set when any of these is given ---
  bool policy = false;
  std::string name;
  std::vector<std::string> on;
  std::vector<std::string> run;  ///< a program and its arguments; a shell's command is `command`
  std::optional<Duration> grace;
  std::string when_full;  ///< drop-newest, drop-oldest, collapse; empty: the first
  Duration splay{0};
  /// Quiet and longest wait; 0: every event by itself. Unset: the agent's.
  std::optional<std::pair<Duration, Duration>> coalesce;
  unsigned retries = 0;
  std::optional<Duration> backoff;
  std::optional<Duration> longest_backoff;
  bool idempotent = false;
  std::map<std::string, std::string> env;
  std::string user;
  std::string cwd;
  int nice = 0;
  std::string ionice;
  int umask = -1;
  bool json_stdin = false;
  std::optional<uint64_t> output;
  bool mode_job = false;

  /// User events that happened while this host was away, or before its first join: "all", "latest"
  /// (of each name) or "none". Empty: all of the former, none of the latter.
  std::string missed;
  /// "file:line:column" or "-event-handler".
  std::string place;
};

/// Something accepted but of no effect, or a choice made for the user. Logged at start.
struct Warning {
  std::string place;  ///< "file:line:column", "-flag", or empty when nothing was written anywhere
  std::string text;

  /// "place: text"
  [[nodiscard]] std::string to_string() const;
};

struct Config {
  // --- identity ---
  std::string node_name;  ///< 1..128 bytes, no control characters; default: the host name
  bool validate_node_names = false;  ///< node_name has letters, digits, '.' and '-' only
  std::map<std::string, std::string> tags;
  std::string tags_file;  ///< empty: tags set at run time are kept in data_dir only

  // --- network ---
  membership::Address bind;  ///< port 0: the system picks one
  /// What others are told. Unset: see advertise_address(). Port 0: the bound port.
  std::optional<membership::Address> advertise;
  std::string interface;
  bool insecure = false;  ///< no cluster key, and not only on loopback

  // --- keys ---
  std::string keyring_file;
  /// From encrypt_key or keyring_file: base64 of 32 bytes each, checked, no key twice; the first
  /// one seals. Empty: none.
  std::vector<std::string> keys;
  /// One for each of the keys, also after forget_keys(): a hash, by which they are told apart.
  std::vector<std::string> key_names;
  bool allow_core_dumps = false;  ///< and debuggers of the agent's own user

  // --- operators ---
  /// No two with one name or key; more may be trusted at run time.
  std::vector<NamedKey> trusted_operators;
  /// Only nodes that an operator has admitted are heard.
  bool admission_required = false;
  std::string policy_file;  ///< empty: none, all orders are carried out
  std::string audit_file;   ///< empty: the log only

  // --- state and control ---
  std::string data_dir;
  std::string control;        ///< path of the unix socket
  std::string control_group;  ///< group that may use the unix sockets; empty: the agent's

  // --- Serf's RPC: on an address, on a unix socket, or not offered ---
  std::optional<membership::Address> rpc_addr;
  std::string rpc_socket;     ///< empty: none
  bool rpc_required = false;  ///< it was asked for: when it cannot be had, the agent does not start
  std::string rpc_auth;       ///< token of its clients; empty: none is asked for

  // --- joining ---
  std::vector<std::string> start_join;
  bool replay_on_join = false;
  std::vector<std::string> retry_join;
  Duration retry_interval = std::chrono::seconds(30);  ///< at least 1 s
  unsigned retry_max_attempts = 0;                     ///< 0: for ever
  bool rejoin_after_leave = false;
  std::string discover;        ///< name by which mDNS finds others; empty: none are looked for
  std::string mdns_interface;  ///< empty: `interface`, or all
  bool mdns_disable_ipv4 = false;
  bool mdns_disable_ipv6 = false;

  // --- leaving ---
  bool leave_on_terminate = false;
  bool skip_leave_on_interrupt = false;

  // --- handlers ---
  std::vector<HandlerConfig> event_handlers;
  Duration handler_timeout = std::chrono::minutes(10);  ///< 1 ms to a week
  unsigned handler_concurrency = 1;                     ///< runs of one handler at once
  unsigned max_running_handlers = 32;                   ///< runs of all handlers at once
  std::string handler_dir;                              ///< programs named for events; empty: none
  bool end_jobs_on_stop = false;                        ///< otherwise they outlive the agent
  unsigned jobs_kept = 10'000;                          ///< records of jobs that have ended
  Duration jobs_kept_for = std::chrono::hours(24 * 7);
  unsigned job_logs_mib = 256;  ///< kept of their logs together
  /// Coalescing of member and user events: longest wait, and the quiet time that ends it earlier. A
  /// period of 0 turns it off.
  Duration coalesce_period = std::chrono::seconds(3);
  Duration quiescent_period = std::chrono::seconds(1);
  Duration user_coalesce_period = std::chrono::seconds(3);
  Duration user_quiescent_period = std::chrono::seconds(1);

  // --- log ---
  LogLevel log_level = LogLevel::kInfo;
  std::string log_file;  ///< empty: stderr only
  bool enable_syslog = false;
  std::string syslog_facility = "LOCAL0";

  // --- metrics ---
  std::string statsd_addr;    ///< "host:port" of a server that is told counters, or empty
  std::string statsite_addr;  ///< the same

  // --- protocol ---
  std::string profile = "lan";
  membership::Options options;  ///< the profile with single values changed; validated
  /// How long a leave, force-leave or tag update is waited for. At least 1 s.
  Duration broadcast_timeout = std::chrono::seconds(5);

  // --- where it came from ---
  std::vector<Warning> warnings;
  std::vector<std::string> files;  ///< read, in order
  std::vector<FlagValue> flags;    ///< as given to load_config(), for a reload
};

/// The names (Config::key_names) of keys in base64.
std::vector<std::string> key_names_of(const std::vector<std::string>& keys);
/// Wipes `keys`; their names stay.
void forget_keys(Config& config);

/// Reads every file named by `-config-file` and `-config-dir`, then applies the other flags, fills
/// in defaults and checks the whole. Reads files and, for a host name in bind or advertise,
/// resolves it (blocking). The error is the first one met, in one line, with its place.
Result<Config> load_config(const std::vector<FlagValue>& flags, const Environment& environment);

/// Keys whose values differ although a reload does not apply them (all but log_level,
/// event_handlers, tags, the leave settings, operators, policy and the rates), in the order of the
/// documentation.
std::vector<std::string> needs_restart(const Config& running, const Config& loaded);

/// Every key with its effective value as one line of YAML, in the order of the documentation. Keys
/// of the cluster are shown as "(set)".
std::vector<std::pair<std::string, std::string>> config_values(const Config& config);

/// The address to tell others once `bound_port` is known: `advertise`, else the bind address, else
/// (bound to 0.0.0.0 or ::) the first private address of the host, else any that is not loopback
/// or link-local. An error when there is none, with the remedy.
Result<membership::Address> advertise_address(const Config& config, uint16_t bound_port,
                                              const Environment& environment);

}  // namespace starling::agent
