// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"
#include "agent/cli/cli.h"

int main(int argc, char** argv) {
  return starling::agent::run_cli(argc, argv, &starling::agent::run_agent);
}
