// SPDX-License-Identifier: Apache-2.0
//
// starling-sim table NAME: runs an experiment.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "test/simulation/experiments/experiments.h"

namespace starling::simulation {

class TableCommand {
 public:
  /// Adds the command to the program. This object must outlive the parsing.
  explicit TableCommand(CLI::App& program);
  [[nodiscard]] bool parsed() const { return command_->parsed(); }
  /// The exit status.
  int run() const;

 private:
  CLI::App* command_;
  std::string name_;
  ExperimentOptions options_;
};

}  // namespace starling::simulation
