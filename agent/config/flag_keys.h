// SPDX-License-Identifier: Apache-2.0
//
// Which configuration key a flag sets. Internal to agent/config.
#pragma once

#include <string_view>

namespace starling::agent::config {

/// "start_join" for "join"; empty for an unknown flag, and for -config-file and -config-dir, which
/// name sources.
std::string_view key_of_flag(std::string_view flag);

/// "join" for "start_join"; empty when no flag sets the key.
std::string_view flag_of_key(std::string_view key);

}  // namespace starling::agent::config
