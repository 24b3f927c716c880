// SPDX-License-Identifier: Apache-2.0
#include "agent/config/config.h"

#include <algorithm>

#include "agent/config/keys.h"
#include "agent/config/mdns.h"
#include "agent/config/network.h"
#include "agent/config/paths.h"
#include "agent/config/rpc.h"
#include "agent/config/secrets.h"
#include "agent/config/sources.h"
#include "agent/config/tags_file.h"
#include "agent/config/text.h"
#include "membership/limits.h"

namespace starling::agent::config {

namespace {

constexpr std::string_view kPlainName =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";

Result<void> settle_node_name(Draft& draft, const Environment& environment) {
  std::string& name = draft.config.node_name;
  const bool given = !name.empty();
  if (!given) name = environment.hostname;
  const std::string at = given ? draft.at("node_name") : "node_name (the host name)";
  std::string wrong;
  if (name.empty()) {
    wrong = "this host has no name; give one with node_name (-node)";
  } else if (name.size() > membership::kMaxName) {
    wrong = "has " + std::to_string(name.size()) + " bytes; at most " +
            std::to_string(membership::kMaxName) + " are possible";
  } else if (has_control_characters(name) || !is_utf8(name)) {
    wrong = quoted(name) + " holds control characters or is not UTF-8";
  } else if (draft.config.validate_node_names && name.find_first_not_of(kPlainName) < name.size()) {
    wrong = quoted(name) +
            " holds more than letters, digits, '.' and '-', which validate_node_names forbids";
  }
  if (wrong.empty()) return {};
  return fail(ErrorKind::kInvalid, at + ": " + wrong);
}

Result<void> settle_tags(Draft& draft) {
  Config& config = draft.config;
  if (!config.tags_file.empty()) {
    if (!config.tags.empty()) {
      return fail(ErrorKind::kInvalid, draft.at("tags_file") +
                                           ": not together with tags, which are given at " +
                                           draft.places["tags"] + "; keep one of them");
    }
    auto tags = load_tags_file(config.tags_file);
    if (!tags && tags.error().kind != ErrorKind::kNotFound) {
      return fail(tags.error().kind, draft.at("tags_file") + ": " + tags.error().message);
    }
    if (tags) config.tags = std::move(*tags);
  }
  const size_t size = encoded_tags_size(config.tags);
  if (size <= membership::kMaxTags) return {};
  return fail(ErrorKind::kTooLarge, draft.at("tags") + ": the tags take " + std::to_string(size) +
                                        " bytes; at most " + std::to_string(membership::kMaxTags) +
                                        " are possible");
}

Result<void> settle_keys(Draft& draft) {
  Config& config = draft.config;
  if (!draft.encrypt_key.empty() && !config.keyring_file.empty()) {
    return fail(ErrorKind::kInvalid, draft.at("keyring_file") +
                                         ": not together with encrypt_key, which is given at " +
                                         draft.places["encrypt_key"] + "; keep one of them");
  }
  if (!draft.encrypt_key.empty()) {
    auto key = check_key(draft.encrypt_key);
    if (!key) return fail(key.error().kind, draft.at("encrypt_key") + ": " + key.error().message);
    config.keys = {std::move(*key)};
  } else if (!config.keyring_file.empty()) {
    auto keys = load_keyring_file(config.keyring_file);
    if (!keys) {
      return fail(keys.error().kind, draft.at("keyring_file") + ": " + keys.error().message);
    }
    config.keys = std::move(*keys);
  }
  config.key_names = key_names_of(config.keys);
  return {};
}

/// A rule over several options is blamed on the one of them that was given last.
Result<void> settle_protocol(Draft& draft) {
  Config& config = draft.config;
  auto options = membership::Options::profile(config.profile);
  if (!options) return tl::unexpected(options.error());
  config.options = *options;
  if (auto applied = apply_protocol_options(draft); !applied) return applied;
  const auto valid = config.options.validate();
  if (valid) return {};
  std::string at = "protocol_options";
  for (const auto& [name, value] : draft.protocol_options) {
    if (valid.error().message.find(name) != std::string::npos) at = draft.at(name);
  }
  return fail(valid.error().kind, at + ": " + valid.error().message);
}

Result<void> settle_paths(Draft& draft, const Environment& environment) {
  Config& config = draft.config;
  if (config.data_dir.empty()) config.data_dir = default_data_dir(environment);
  if (config.data_dir.empty()) {
    return fail(ErrorKind::kInvalid, "no place for state: set HOME, or give data_dir (-data-dir)");
  }
  if (config.control.empty()) config.control = default_control_path(environment);
  if (auto checked = check_socket_path(config.control); !checked) {
    return fail(checked.error().kind, draft.at("control") + ": " + checked.error().message);
  }
  return {};
}

}  // namespace

}  // namespace starling::agent::config

namespace starling::agent {

std::string Warning::to_string() const {
  return place.empty() ? text : place + ": " + text;
}

Result<Config> load_config(const std::vector<FlagValue>& flags, const Environment& environment) {
  auto draft = config::read_sources(flags);
  if (!draft) return tl::unexpected(draft.error());
  for (const auto& settle : {config::settle_keys, config::settle_tags, config::settle_protocol}) {
    if (auto settled = settle(*draft); !settled) return tl::unexpected(settled.error());
  }
  for (const auto& settle : {config::settle_node_name, config::settle_paths, config::settle_network,
                             config::settle_rpc, config::settle_mdns}) {
    if (auto settled = settle(*draft, environment); !settled) {
      return tl::unexpected(settled.error());
    }
  }
  return std::move(draft->config);
}

std::vector<std::string> needs_restart(const Config& running, const Config& loaded) {
  std::vector<std::string> names;
  for (const config::Key& key : config::config_keys()) {
    if (key.reloads) continue;
    const bool differs = config::show_key(key, running) != config::show_key(key, loaded) ||
                         (key.name == "encrypt_key" && running.key_names != loaded.key_names) ||
                         (key.name == "rpc_auth" && running.rpc_auth != loaded.rpc_auth);
    if (differs) names.emplace_back(key.name);
  }
  return names;
}

std::vector<std::pair<std::string, std::string>> config_values(const Config& from) {
  std::vector<std::pair<std::string, std::string>> values;
  for (const config::Key& key : config::config_keys()) {
    if (std::holds_alternative<config::IgnoredKey>(key.target) || key.name == "role") continue;
    values.emplace_back(key.name, config::show_key(key, from));
  }
  return values;
}

}  // namespace starling::agent
