// SPDX-License-Identifier: Apache-2.0
#include "agent/config/mdns.h"

#include <array>

#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

constexpr size_t kLongestName = 57;  // a label of DNS has at most 63 bytes, "_serf_" among them
constexpr auto kNames =
    std::to_array<std::string_view>({"interface", "disable_ipv4", "disable_ipv6"});

Result<void> set_text(std::string& target, const Value& value, std::string_view name) {
  auto text = read_string(value, name);
  if (!text) return tl::unexpected(text.error());
  target = std::move(*text);
  return {};
}

Result<void> set_flag(bool& target, const Value& value, std::string_view name) {
  const auto flag = read_bool(value, name);
  if (!flag) return tl::unexpected(flag.error());
  target = *flag;
  return {};
}

Result<void> set_field(Draft& draft, std::string_view name, const Value& value) {
  Config& config = draft.config;
  draft.places["mdns"] = value.place;
  if (name == "interface") return set_text(config.mdns_interface, value, name);
  if (name == "disable_ipv4") return set_flag(config.mdns_disable_ipv4, value, name);
  return set_flag(config.mdns_disable_ipv6, value, name);
}

}  // namespace

Result<void> set_discover(Draft& draft, const Value& value) {
  auto text = read_string(value, "discover");
  if (!text) return tl::unexpected(text.error());
  if (text->size() > kLongestName) {
    return key_error(value, "discover",
                     "has " + std::to_string(text->size()) + " bytes; at most " +
                         std::to_string(kLongestName) + " are possible");
  }
  if (has_control_characters(*text)) {
    return key_error(value, "discover", quoted(*text) + " holds control characters");
  }
  draft.places["discover"] = value.place;
  draft.config.discover = std::move(*text);
  return {};
}

std::string show_discover(const Config& config) {
  return json_string(config.discover);
}

Result<void> set_mdns(Draft& draft, const Value& value) {
  if (value.kind == Value::Kind::kNull) return {};
  if (value.kind == Value::Kind::kFlag) {
    if (value.place == "-mdns-iface") return set_field(draft, "interface", value);
    return set_field(draft, value.place.ends_with('4') ? "disable_ipv4" : "disable_ipv6", value);
  }
  if (value.kind != Value::Kind::kMap) {
    return key_error(value, "mdns", "wants a map like {interface: eth0, disable_ipv6: true}");
  }
  for (const ValueEntry& entry : value.entries) {
    bool known = false;
    for (const std::string_view name : kNames) known = known || name == entry.key;
    if (!known) return unknown_key(entry, kNames, " under mdns");
    if (auto set = set_field(draft, entry.key, entry.value); !set) return set;
  }
  return {};
}

std::string show_mdns(const Config& config) {
  const auto flag = [](bool value) { return std::string(value ? "true" : "false"); };
  return "{interface: " + json_string(config.mdns_interface) +
         ", disable_ipv4: " + flag(config.mdns_disable_ipv4) +
         ", disable_ipv6: " + flag(config.mdns_disable_ipv6) + "}";
}

Result<void> settle_mdns(Draft& draft, const Environment&) {
  Config& config = draft.config;
  if (config.mdns_interface.empty()) config.mdns_interface = config.interface;
  if (config.discover.empty() || !config.mdns_disable_ipv4 || !config.mdns_disable_ipv6) return {};
  return fail(ErrorKind::kInvalid, draft.at("mdns") +
                                       ": mDNS over neither IPv4 nor IPv6 leaves no way to "
                                       "discover anybody; leave one of them, or discover, out");
}

}  // namespace starling::agent::config
