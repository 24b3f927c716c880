// SPDX-License-Identifier: Apache-2.0
//
// Runs that continue from one state: a cluster that took many minutes to boot is copied by fork(),
// which costs only the memory that a run changes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace starling::simulation {

/// Calls `run(0)` .. `run(count - 1)`, each in a copy of this process, at most `jobs` at once, and
/// gives what they returned, in that order. No other thread may run in this process. Says on
/// stderr how far it has come. Throws std::runtime_error when a copy cannot be made or dies.
std::vector<std::vector<double>> run_forked(const std::string& what, size_t count, unsigned jobs,
                                            const std::function<std::vector<double>(size_t)>& run);

}  // namespace starling::simulation
