// SPDX-License-Identifier: Apache-2.0
//
// starling-sim; docs/simulation.md is its manual.
#include "test/simulation/tool/commands.h"

int main(int argc, char** argv) {
  return starling::simulation::run_command_line(argc, argv);
}
