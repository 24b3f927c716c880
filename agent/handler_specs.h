// SPDX-License-Identifier: Apache-2.0
//
// From the configuration's handlers to those of the dispatcher. Pure.
#pragma once

#include <vector>

#include "agent/config/config.h"
#include "handlers/spec.h"
#include "proto/support/result.h"

namespace starling::agent {

/// `defaults` gives handler_timeout and handler_concurrency; they take effect at a restart only,
/// while `handlers` may come from a reload. kInvalid names the place of the handler.
Result<std::vector<handlers::HandlerSpec>> make_handler_specs(
    const std::vector<HandlerConfig>& handlers, const Config& defaults);

}  // namespace starling::agent
