// SPDX-License-Identifier: Apache-2.0
//
// YAML text to a Value tree: the one place that knows yaml-cpp, and where its exceptions end. One
// document; no anchors, aliases or tags of one's own; bounded in size, depth and number of nodes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "agent/config/value.h"
#include "proto/support/result.h"

namespace starling::agent::config {

inline constexpr size_t kMaxConfigBytes = 1U << 20;
inline constexpr size_t kMaxConfigDepth = 16;
inline constexpr size_t kMaxConfigNodes = 20'000;

/// `name` is the file's, for places. Empty text gives a null. Errors: "name:line:column: ...".
Result<Value> parse_yaml(std::string_view text, const std::string& name);

/// At most kMaxConfigBytes of a file; kNotFound when it is not there.
Result<std::string> read_config_file(const std::string& path);

}  // namespace starling::agent::config
