// SPDX-License-Identifier: Apache-2.0
//
// Which bug is planted in the test build of the core. One at a time, for all nodes of the process.
// Single-threaded.
#pragma once

#include <vector>

#include "membership/planted_bug.h"

namespace starling::simulation {

/// Makes a bug while it lives.
class Plant {
 public:
  explicit Plant(membership::PlantedBug bug);
  ~Plant();
  Plant(const Plant&) = delete;
  Plant& operator=(const Plant&) = delete;
};

/// All but kNone, in order.
[[nodiscard]] std::vector<membership::PlantedBug> planted_bugs();
/// "suspect-without-time"
[[nodiscard]] const char* planted_bug_name(membership::PlantedBug bug);

}  // namespace starling::simulation
