// SPDX-License-Identifier: Apache-2.0
#include "agent/config/keys.h"

#include <algorithm>
#include <array>
#include <limits>

#include "agent/config/endpoint.h"
#include "agent/config/flag_keys.h"
#include "agent/config/handler_keys.h"
#include "agent/config/mdns.h"
#include "agent/config/rpc.h"
#include "agent/config/text.h"
#include "agent/config/trust_keys.h"

namespace starling::agent::config {

namespace {

using std::chrono::seconds;

constexpr unsigned kMostUnsigned = 1'000'000;  // of anything that is counted

constexpr std::string_view kSnapshot = "ignored: Starling keeps its state in data_dir";

std::string show_bind(const Config& config) {
  return json_string(config.bind.to_string());
}

std::string show_advertise(const Config& config) {
  if (!config.advertise) return "\"\"";
  return json_string(config.advertise->to_string());
}

std::string show_encrypt_key(const Config& config) {
  return config.keyring_file.empty() && !config.key_names.empty() ? "(set)" : "\"\"";
}

Result<void> set_rpc_auth(Draft& draft, const Value& value) {
  auto token = read_string(value, "rpc_auth");
  if (!token) return tl::unexpected(token.error());
  draft.config.rpc_auth = std::move(*token);
  return {};
}

std::string show_rpc_auth(const Config& config) {
  return config.rpc_auth.empty() ? "\"\"" : "(set)";
}

Result<void> set_log_level(Draft& draft, const Value& value) {
  auto text = read_string(value, "log_level");
  if (!text) return tl::unexpected(text.error());
  const auto level = parse_log_level(*text);
  if (!level) {
    return key_error(value, "log_level", quoted(*text) + " is not TRACE, DEBUG, INFO, WARN or ERR");
  }
  draft.config.log_level = *level;
  return {};
}

std::string show_log_level(const Config& config) {
  return json_string(log_level_name(config.log_level));
}

Result<void> set_syslog_facility(Draft& draft, const Value& value) {
  auto text = read_string(value, "syslog_facility");
  if (!text) return tl::unexpected(text.error());
  std::transform(text->begin(), text->end(), text->begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  if (!syslog_facility_code(*text)) {
    return key_error(value, "syslog_facility",
                     quoted(*text) + " is not a facility: use LOCAL0 to LOCAL7, DAEMON, USER, ...");
  }
  draft.config.syslog_facility = std::move(*text);
  return {};
}

std::string show_syslog_facility(const Config& config) {
  return json_string(config.syslog_facility);
}

constexpr uint16_t kStatsdPort = 8125;

/// Kept with its port.
template <std::string Config::* member>
Result<void> set_statsd(Draft& draft, const Value& value) {
  auto text = read_string(value, "statsd_addr");
  if (!text) return tl::unexpected(text.error());
  if (text->empty()) {
    (draft.config.*member).clear();
    return {};
  }
  const auto endpoint = parse_endpoint(*text, kStatsdPort);
  if (!endpoint || endpoint->host.empty() || endpoint->port == 0) {
    return key_error(value, "statsd_addr",
                     quoted(*text) +
                         " is no address of a statsd server: give "
                         "host or host:port, like 127.0.0.1:8125");
  }
  const bool v6 = endpoint->host.find(':') != std::string::npos;
  draft.config.*member =
      (v6 ? "[" + endpoint->host + "]" : endpoint->host) + ":" + std::to_string(endpoint->port);
  return {};
}

template <std::string Config::* member>
std::string show_statsd(const Config& config) {
  return json_string(config.*member);
}

Result<void> set_profile(Draft& draft, const Value& value) {
  auto text = read_string(value, "profile");
  if (!text) return tl::unexpected(text.error());
  if (!Options::profile(*text)) {
    return key_error(value, "profile", quoted(*text) + " is not lan, wan, local or forgiving");
  }
  draft.config.profile = std::move(*text);
  return {};
}

std::string show_profile(const Config& config) {
  return json_string(config.profile);
}

Result<void> set_protocol_options(Draft& draft, const Value& value) {
  if (value.kind == Value::Kind::kNull) return {};
  if (value.kind != Value::Kind::kMap) {
    return key_error(value, "protocol_options", "wants a map like {probe_interval: 1s}");
  }
  for (const ValueEntry& entry : value.entries) {
    std::vector<std::string_view> names;
    for (const Key& key : protocol_keys()) names.push_back(key.name);
    if (std::find(names.begin(), names.end(), entry.key) == names.end()) {
      const bool top = find_key(entry.key) != nullptr;
      return unknown_key(entry, names, top ? " under protocol_options; move it to the top" : "");
    }
    draft.protocol_options[entry.key] = entry.value;
    draft.places[entry.key] = entry.value.place;
  }
  return {};
}

std::string show_protocol_options(const Config& config) {
  std::string text;
  for (const Key& key : protocol_keys()) {
    text += (text.empty() ? "" : ", ") + std::string(key.name) + ": " + show_key(key, config);
  }
  return "{" + text + "}";
}

std::string show_nothing(const Config&) {
  return "\"\"";
}

const std::array kKeys = {
    Key{"node_name", &Config::node_name},
    Key{"validate_node_names", &Config::validate_node_names},
    Key{"tags", CustomKey{set_tags, show_tags}, true},
    Key{"tags_file", &Config::tags_file},
    Key{"role", CustomKey{set_role, show_nothing}, true},
    Key{"bind", TextKey{&Draft::bind, show_bind}},
    Key{"advertise", TextKey{&Draft::advertise, show_advertise}},
    Key{"interface", &Config::interface},
    Key{"encrypt_key", TextKey{&Draft::encrypt_key, show_encrypt_key}},
    Key{"keyring_file", &Config::keyring_file},
    Key{"insecure", &Config::insecure},
    Key{"trusted_operators", CustomKey{set_trusted_operators, show_trusted_operators}, true},
    Key{"admission", CustomKey{set_admission, show_admission}},
    Key{"policy_file", &Config::policy_file, true},
    Key{"audit_file", &Config::audit_file},
    Key{"data_dir", &Config::data_dir},
    Key{"control", &Config::control},
    Key{"control_group", &Config::control_group},
    Key{"allow_core_dumps", &Config::allow_core_dumps},
    Key{"rpc_addr", TextKey{&Draft::rpc_addr, show_rpc_addr}},
    Key{"rpc_auth", CustomKey{set_rpc_auth, show_rpc_auth}},
    Key{"start_join", &Config::start_join},
    Key{"replay_on_join", &Config::replay_on_join},
    Key{"retry_join", &Config::retry_join},
    Key{"retry_interval", DurationKey{&Config::retry_interval, seconds(1)}},
    Key{"retry_max_attempts", NumberKey{&Config::retry_max_attempts, 0, kMostUnsigned}},
    Key{"rejoin_after_leave", &Config::rejoin_after_leave},
    Key{"discover", CustomKey{set_discover, show_discover}},
    Key{"mdns", CustomKey{set_mdns, show_mdns}},
    Key{"leave_on_terminate", &Config::leave_on_terminate, true},
    Key{"skip_leave_on_interrupt", &Config::skip_leave_on_interrupt, true},
    Key{"event_handlers", CustomKey{set_event_handlers, show_event_handlers}, true},
    Key{"handler_timeout", DurationKey{&Config::handler_timeout, kLeastTimeout, kMostTimeout}},
    Key{"handler_concurrency", NumberKey{&Config::handler_concurrency, 1, kMostRuns}},
    Key{"max_running_handlers", NumberKey{&Config::max_running_handlers, 1, kMostRuns}},
    Key{"handler_dir", &Config::handler_dir},
    Key{"end_jobs_on_stop", &Config::end_jobs_on_stop},
    Key{"jobs_kept", NumberKey{&Config::jobs_kept, 1, 1'000'000}},
    Key{"jobs_kept_for", DurationKey{&Config::jobs_kept_for, seconds(1)}},
    Key{"job_logs_mib", NumberKey{&Config::job_logs_mib, 1, 1'048'576}},
    Key{"coalesce_period", DurationKey{&Config::coalesce_period, seconds(0)}},
    Key{"quiescent_period", DurationKey{&Config::quiescent_period, seconds(0)}},
    Key{"user_coalesce_period", DurationKey{&Config::user_coalesce_period, seconds(0)}},
    Key{"user_quiescent_period", DurationKey{&Config::user_quiescent_period, seconds(0)}},
    Key{"log_level", CustomKey{set_log_level, show_log_level}, true},
    Key{"log_file", &Config::log_file},
    Key{"enable_syslog", &Config::enable_syslog},
    Key{"syslog_facility", CustomKey{set_syslog_facility, show_syslog_facility}},
    Key{"statsd_addr",
        CustomKey{set_statsd<&Config::statsd_addr>, show_statsd<&Config::statsd_addr>}},
    Key{"statsite_addr",
        CustomKey{set_statsd<&Config::statsite_addr>, show_statsd<&Config::statsite_addr>}},
    Key{"profile", CustomKey{set_profile, show_profile}},
    Key{"disable_coordinates", OptionKey{&Options::disable_coordinates}},
    Key{"reconnect_interval", OptionKey{&Options::reconnect_interval}},
    Key{"reconnect_timeout", OptionKey{&Options::reconnect_timeout}},
    Key{"tombstone_timeout", OptionKey{&Options::tombstone_timeout}},
    Key{"event_retention", OptionKey{&Options::event_retention}},
    Key{"event_retention_count", OptionKey{&Options::event_retention_count}},
    Key{"event_retention_bytes", OptionKey{&Options::event_retention_bytes}},
    Key{"user_event_size_limit", OptionKey{&Options::user_event_size_limit}},
    Key{"query_size_limit", OptionKey{&Options::query_size_limit}},
    Key{"query_response_size_limit", OptionKey{&Options::query_response_size_limit}},
    Key{"event_rate", OptionKey{&Options::event_rate}, true},
    Key{"event_burst", OptionKey{&Options::event_burst}, true},
    Key{"event_byte_rate", OptionKey{&Options::event_byte_rate}, true},
    Key{"query_rate", OptionKey{&Options::query_rate}, true},
    Key{"query_burst", OptionKey{&Options::query_burst}, true},
    Key{"broadcast_timeout", DurationKey{&Config::broadcast_timeout, seconds(1)}},
    Key{"protocol_options", CustomKey{set_protocol_options, show_protocol_options}},
    Key{"snapshot_path", IgnoredKey{kSnapshot}},
    Key{"enable_compression", IgnoredKey{"ignored: packets are small and are not compressed"}},
    Key{"disable_name_resolution",
        IgnoredKey{"ignored: members are told apart by their ids, and no vote ends an agent"}},
    Key{"protocol", IgnoredKey{"ignored: Starling speaks its own protocol"}},
};

const std::array kProtocolKeys = {
    Key{"probe_interval", OptionKey{&Options::probe_interval}},
    Key{"round_trip_min", OptionKey{&Options::round_trip_min}},
    Key{"round_trip_initial", OptionKey{&Options::round_trip_initial}},
    Key{"round_trip_max", OptionKey{&Options::round_trip_max}},
    Key{"indirect_probes", OptionKey{&Options::indirect_probes}},
    Key{"repeated_pings", OptionKey{&Options::repeated_pings}},
    Key{"stream_probes", OptionKey{&Options::stream_probes}},
    Key{"local_health_max", OptionKey{&Options::local_health_max}},
    Key{"local_health_round_trip_max", OptionKey{&Options::local_health_round_trip_max}},
    Key{"suspicion_min", OptionKey{&Options::suspicion_min}},
    Key{"suspicion_max", OptionKey{&Options::suspicion_max}},
    Key{"suspicion_confirmations", OptionKey{&Options::suspicion_confirmations}},
    Key{"suspicion_refused", OptionKey{&Options::suspicion_refused}},
    Key{"deaf_after", OptionKey{&Options::deaf_after}},
    Key{"isolated_after", OptionKey{&Options::isolated_after}},
    Key{"tree_fanout", OptionKey{&Options::tree_fanout}},
    Key{"tree_direct_max", OptionKey{&Options::tree_direct_max}},
    Key{"hop_timeout_min", OptionKey{&Options::hop_timeout_min}},
    Key{"hop_timeout_max", OptionKey{&Options::hop_timeout_max}},
    Key{"announce_fanout", OptionKey{&Options::announce_fanout}},
    Key{"announce_delay", OptionKey{&Options::announce_delay}},
    Key{"retransmit_mult", OptionKey{&Options::retransmit_mult}},
    Key{"sync_after", OptionKey{&Options::sync_after}},
    Key{"egress_rate", OptionKey{&Options::egress_rate}},
    Key{"leave_timeout", OptionKey{&Options::leave_timeout}},
    Key{"stream_timeout", OptionKey{&Options::stream_timeout}},
    Key{"query_timeout_base", OptionKey{&Options::query_timeout_base}},
};

constexpr uint64_t kMostBytes = uint64_t{1} << 32;  // of anything that is measured

template <typename T>
Result<void> store(T& target, Result<T> value) {
  if (!value) return tl::unexpected(value.error());
  target = std::move(*value);
  return {};
}

/// Applies a key to one Options; the alternatives differ in the type of the member only.
struct OptionSetter {
  Options& options;
  const Value& value;
  std::string_view name;

  Result<void> operator()(bool Options::* member) const {
    return store(options.*member, read_bool(value, name));
  }
  Result<void> operator()(Duration Options::* member) const {
    return store(options.*member, read_duration(value, name));
  }
  Result<void> operator()(unsigned Options::* member) const {
    const auto number = read_number(value, name, 0, kMostUnsigned);
    if (!number) return tl::unexpected(number.error());
    options.*member = static_cast<unsigned>(*number);
    return {};
  }
  Result<void> operator()(size_t Options::* member) const {
    const auto number = read_number(value, name, 0, kMostBytes);
    if (!number) return tl::unexpected(number.error());
    options.*member = *number;
    return {};
  }
};

struct Setter {
  Draft& draft;
  const Value& value;
  std::string_view name;

  Result<void> operator()(bool Config::* member) const {
    return store(draft.config.*member, read_bool(value, name));
  }
  Result<void> operator()(std::string Config::* member) const {
    return store(draft.config.*member, read_string(value, name));
  }
  Result<void> operator()(std::vector<std::string> Config::* member) const {
    auto list = read_addresses(value, name);
    if (!list) return tl::unexpected(list.error());
    auto& target = draft.config.*member;
    target.insert(target.end(), list->begin(), list->end());
    return {};
  }
  Result<void> operator()(const DurationKey& key) const {
    auto duration = read_duration(value, name, Duration::zero(), key.most);
    if (!duration) return tl::unexpected(duration.error());
    if (*duration < key.floor) {
      draft.config.warnings.push_back(
          {value.place, std::string(name) + ": raised from " + format_duration(*duration) +
                            " to its least, " + format_duration(key.floor)});
    }
    draft.config.*key.member = std::max(*duration, key.floor);
    return {};
  }
  Result<void> operator()(const NumberKey& key) const {
    const auto number = read_number(value, name, key.least, key.most);
    if (!number) return tl::unexpected(number.error());
    draft.config.*key.member = static_cast<unsigned>(*number);
    return {};
  }
  Result<void> operator()(const TextKey& key) const {
    return store(draft.*key.member, read_string(value, name));
  }
  Result<void> operator()(const CustomKey& key) const { return key.set(draft, value); }
  Result<void> operator()(const OptionKey&) const {
    draft.protocol_options[std::string(name)] = value;
    return {};
  }
  Result<void> operator()(const IgnoredKey& key) const {
    const bool flag = value.kind == Value::Kind::kFlag;
    const std::string text =
        flag ? std::string(key.text) : std::string(name) + ": " + std::string(key.text);
    draft.config.warnings.push_back({value.place, text});
    return {};
  }
};

struct Shower {
  const Config& config;

  std::string operator()(bool Config::* member) const { return config.*member ? "true" : "false"; }
  std::string operator()(std::string Config::* member) const { return json_string(config.*member); }
  std::string operator()(std::vector<std::string> Config::* member) const {
    std::string text;
    for (const std::string& item : config.*member) {
      text += (text.empty() ? "" : ", ") + json_string(item);
    }
    return "[" + text + "]";
  }
  std::string operator()(const DurationKey& key) const {
    return format_duration(config.*key.member);
  }
  std::string operator()(const NumberKey& key) const { return std::to_string(config.*key.member); }
  std::string operator()(const TextKey& key) const { return key.show(config); }
  std::string operator()(const CustomKey& key) const { return key.show(config); }
  std::string operator()(const IgnoredKey&) const { return "\"\""; }
  std::string operator()(const OptionKey& key) const { return std::visit(*this, key.member); }
  std::string operator()(bool Options::* member) const {
    return config.options.*member ? "true" : "false";
  }
  std::string operator()(Duration Options::* member) const {
    return format_duration(config.options.*member);
  }
  template <typename Number>
  std::string operator()(Number Options::* member) const {
    return std::to_string(config.options.*member);
  }
};

const Key* find(std::span<const Key> keys, std::string_view name) {
  const auto at =
      std::find_if(keys.begin(), keys.end(), [&](const Key& key) { return key.name == name; });
  return at == keys.end() ? nullptr : &*at;
}

/// For a top-level key that does not exist: what else it may be.
std::string hint(const std::string& name) {
  if (find(kProtocolKeys, name) != nullptr) return " here; it goes under 'protocol_options'";
  for (const FlagSpec& flag : agent_flags()) {
    if (flag.name != name) continue;
    const std::string_view key = key_of_flag(name);
    if (key.empty()) return " (only a flag, -" + name + ")";
    return "; did you mean '" + std::string(key) + "'?";
  }
  return {};
}

}  // namespace

std::string Draft::at(std::string_view key) const {
  const auto place = places.find(key);
  if (place == places.end()) return std::string(key);
  if (place->second.starts_with('-')) return place->second;
  return place->second + ": " + std::string(key);
}

std::span<const Key> config_keys() {
  return kKeys;
}
std::span<const Key> protocol_keys() {
  return kProtocolKeys;
}
const Key* find_key(std::string_view name) {
  return find(kKeys, name);
}

Result<void> apply_key(Draft& draft, const Key& key, const Value& value) {
  if (auto applied = std::visit(Setter{draft, value, key.name}, key.target); !applied) {
    return applied;
  }
  // Those with a shape of their own note the place of the part that counts.
  if (!std::holds_alternative<CustomKey>(key.target)) {
    draft.places[std::string(key.name)] = value.place;
  }
  return {};
}

Result<void> apply_file(Draft& draft, const Value& root) {
  if (root.kind == Value::Kind::kNull) return {};
  if (root.kind != Value::Kind::kMap) {
    return fail(ErrorKind::kInvalid,
                root.place + ": wants keys with values, like 'bind: 127.0.0.1'");
  }
  for (const ValueEntry& entry : root.entries) {
    const Key* key = find_key(entry.key);
    if (key == nullptr) {
      std::vector<std::string_view> names;
      names.reserve(kKeys.size());
      for (const Key& each : kKeys) names.push_back(each.name);
      return unknown_key(entry, names, hint(entry.key));
    }
    Value value = entry.value;
    // A value that is not there has no place of its own worth showing.
    if (value.kind == Value::Kind::kNull) value.place = entry.key_place;
    if (auto applied = apply_key(draft, *key, value); !applied) return applied;
  }
  return {};
}

Result<void> apply_protocol_options(Draft& draft) {
  for (const auto& [name, value] : draft.protocol_options) {
    const Key* key = find(kProtocolKeys, name);
    if (key == nullptr) key = find(kKeys, name);
    const auto& option = std::get<OptionKey>(key->target);
    const OptionSetter setter{draft.config.options, value, key->name};
    if (auto applied = std::visit(setter, option.member); !applied) return applied;
  }
  return {};
}

std::string show_key(const Key& key, const Config& config) {
  return std::visit(Shower{config}, key.target);
}

}  // namespace starling::agent::config
