// SPDX-License-Identifier: Apache-2.0
//
// Files and folders of configuration, and flags, applied in order to a draft. Internal to
// agent/config.
#pragma once

#include <vector>

#include "agent/config/keys.h"

namespace starling::agent::config {

/// All of `-config-file` and `-config-dir` in order, then all other flags in order.
Result<Draft> read_sources(const std::vector<FlagValue>& flags);

}  // namespace starling::agent::config
