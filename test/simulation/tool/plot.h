// SPDX-License-Identifier: Apache-2.0
//
// One run as a picture: which faults there were, who was shown as failed by how many, how events
// spread, and what it cost in packets. Pure: a Record in, an SVG document out.
#pragma once

#include <string>

#include "test/simulation/scenario.h"
#include "test/simulation/tool/recorder.h"

namespace starling::simulation {

/// Self-contained, without scripts; at most a few hundred kilobytes.
[[nodiscard]] std::string plot(const Scenario& scenario, const Record& record,
                               const ScenarioResult& result);

}  // namespace starling::simulation
