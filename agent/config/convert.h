// SPDX-License-Identifier: Apache-2.0
//
// From a configuration file of Serf to one of Starling. Reads one file; no other effect.
#pragma once

#include <string>

#include "proto/support/result.h"

namespace starling::agent {

/// The file at `path` as YAML: each key with what it means above it, and what has no effect here as
/// a comment with the reason. The error is that of the agent for the same file.
Result<std::string> convert_config(const std::string& path);

}  // namespace starling::agent
