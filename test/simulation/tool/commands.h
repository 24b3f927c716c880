// SPDX-License-Identifier: Apache-2.0
//
// What starling-sim can be told to do. Each prints to standard output, complaints to standard
// error, and returns the exit status: 0 all is well, 1 something broke or was not met, 2 the order
// made no sense.
#pragma once

#include <optional>
#include <string>

#include "test/simulation/swarm.h"
#include "test/simulation/tool/scenario_file.h"

namespace starling::simulation {

/// How one run is looked at.
struct PlayOptions {
  std::string plot;                ///< SVG file to write; empty: none
  std::string write;               ///< scenario file to write; empty: none
  std::optional<NodeIndex> trace;  ///< whose story to tell
  bool packets = false;            ///< with every packet
  bool events = false;             ///< what happens at all members
  bool twice = false;              ///< run again and compare the trace hashes
};

struct SwarmCommand {
  uint64_t first = 1;
  uint64_t last = 40;
  unsigned jobs = 1;
  bool failures_only = false;
  bool shrink = true;
  double timeout_seconds = 600;  ///< real time, for one seed
  double shrink_seconds = 60;    ///< real time, for one seed
  std::string directory;         ///< where shrunk scenarios go
};

int run_file(const std::string& path, const ScenarioOverrides& overrides,
             const PlayOptions& options);
int replay_seed(uint64_t seed, const SwarmOptions& swarm, const PlayOptions& options);
int swarm_seeds(const SwarmCommand& command, const SwarmOptions& swarm);
int list_steps();

/// All of it, from the command line.
int run_command_line(int argc, char** argv);

/// " --nodes-max 40 --hostile" where they are not as usual: part of what a seed means.
[[nodiscard]] std::string swarm_flags(const SwarmOptions& swarm);

}  // namespace starling::simulation
