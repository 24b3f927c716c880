// SPDX-License-Identifier: Apache-2.0
//
// The table of configuration keys: what each is called, where it goes, and how it is shown. Files
// and flags are both applied through it. Internal to agent/config.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/config/config.h"
#include "agent/config/text.h"
#include "agent/config/value.h"

namespace starling::agent::config {

/// A Config being put together, and what can only be settled when all sources are read.
struct Draft {
  Config config;
  std::string bind;
  std::string advertise;
  std::string encrypt_key;
  std::string rpc_addr;
  /// Single values over the profile's, which may be named later.
  std::map<std::string, Value> protocol_options;
  /// Where each key was last given. Tags: "tags".
  std::map<std::string, std::string, std::less<>> places;

  /// "place: key" for the start of a message; only the key when it was not given.
  [[nodiscard]] std::string at(std::string_view key) const;
};

using membership::Options;

/// Where a key's value goes.
struct DurationKey {
  Duration Config::* member;
  Duration floor;  ///< smaller values are raised to it, with a warning
  Duration most = kMaxDuration;
};
struct NumberKey {
  unsigned Config::* member;
  unsigned least;
  unsigned most;
};
/// Text that is understood when all sources are read.
struct TextKey {
  std::string Draft::* member;
  std::string (*show)(const Config& config);
};
struct CustomKey {
  Result<void> (*set)(Draft& draft, const Value& value);
  std::string (*show)(const Config& config);
};
struct OptionKey {
  std::variant<bool Options::*, unsigned Options::*, size_t Options::*, Duration Options::*> member;
};
/// Of Serf, and accepted with a warning that says `text`.
struct IgnoredKey {
  std::string_view text;
};

struct Key {
  std::string_view name;
  std::variant<bool Config::*, std::string Config::*, std::vector<std::string> Config::*,
               DurationKey, NumberKey, TextKey, CustomKey, OptionKey, IgnoredKey>
      target;
  bool reloads = false;  ///< a reload applies it
};

/// Keys of a file's top level, in the order of the documentation.
std::span<const Key> config_keys();
/// Keys under protocol_options.
std::span<const Key> protocol_keys();

/// Applies one key. The error is complete.
Result<void> apply_key(Draft& draft, const Key& key, const Value& value);
/// Applies a whole file.
Result<void> apply_file(Draft& draft, const Value& root);
/// Applies the protocol options kept in the draft to config.options.
Result<void> apply_protocol_options(Draft& draft);

const Key* find_key(std::string_view name);
std::string show_key(const Key& key, const Config& config);

/// "place: key: text".
tl::unexpected<Error> key_error(const Value& value, std::string_view key, const std::string& text);

/// Scalars as text; the error says what was there instead.
Result<std::string> read_string(const Value& value, std::string_view key);
Result<bool> read_bool(const Value& value, std::string_view key);
Result<uint64_t> read_number(const Value& value, std::string_view key, uint64_t least,
                             uint64_t most);
Result<Duration> read_duration(const Value& value, std::string_view key,
                               Duration least = Duration::zero(), Duration most = kMaxDuration);
/// A list of addresses as parse_endpoint() takes them, with a host and perhaps "name/" before it;
/// null is an empty one. A flag's text is a list of one.
Result<std::vector<std::string>> read_addresses(const Value& value, std::string_view key);

/// The error for an unknown `entry` of a map that knows `names`; `extra` is put before "did you
/// mean".
tl::unexpected<Error> unknown_key(const ValueEntry& entry, std::span<const std::string_view> names,
                                  const std::string& extra);

}  // namespace starling::agent::config
