// SPDX-License-Identifier: Apache-2.0
//
// An event as bytes, for the ledger of jobs: what is needed to run a job of it again. Pure.
#pragma once

#include <string>
#include <string_view>

#include "handlers/event.h"
#include "proto/support/result.h"

namespace starling::handlers {

/// Without the deadline, which means nothing to a later process.
[[nodiscard]] std::string encode_event(const Event& event);
/// kInvalid.
[[nodiscard]] Result<Event> decode_event(std::string_view bytes);

}  // namespace starling::handlers
