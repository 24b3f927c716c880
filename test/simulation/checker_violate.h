// SPDX-License-Identifier: Apache-2.0
//
// Checker::violate, for the checker's own source files.
#pragma once

#include <algorithm>
#include <sstream>

#include "proto/support/assert.h"
#include "test/simulation/checker.h"

namespace starling::simulation {

template <typename... Parts>
void Checker::violate(const char* invariant, NodeIndex node, const Parts&... parts) {
  const auto names = invariant_names();
  STARLING_ASSERT(std::find(names.begin(), names.end(), invariant) != names.end());
  if (violations_.size() >= options_.violations_max) return;
  std::ostringstream message;
  (message << ... << parts);
  violations_.push_back({invariant, world_.now(), node, message.str()});
}

}  // namespace starling::simulation
