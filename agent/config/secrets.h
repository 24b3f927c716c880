// SPDX-License-Identifier: Apache-2.0
//
// Cluster keys from text and from a keyring file. No message shows a key. Internal to agent/config.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/support/result.h"

namespace starling::agent::config {

/// Base64 of 32 bytes, white space removed. The error is without a place.
Result<std::string> check_key(std::string_view base64);

/// The keys of a JSON list of base64 strings (Serf's format), at least one; the first one seals.
Result<std::vector<std::string>> load_keyring_file(const std::string& path);

}  // namespace starling::agent::config
