// SPDX-License-Identifier: Apache-2.0
//
// The daemon: owns the event loop and connects the parts. What it decides itself is only when
// things begin and end: start, signals, reload, leave, stop.
#pragma once

#include <vector>

#include "agent/config/flags.h"

namespace starling::agent {

/// Runs an agent with these flags until it is told to stop. The exit status: 0 after a leave;
/// 1 when it could not start, gave up joining, or was terminated without leaving (as Serf).
int run_agent(const std::vector<FlagValue>& flags);

/// Prints the configuration with which run_agent() would run, as YAML, and warnings on stderr.
/// Status 1, with the first mistake on stderr, when it would not. Starts nothing.
int check_agent(const std::vector<FlagValue>& flags);

}  // namespace starling::agent
