// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "agent/agent.h"
#include "agent/cli/cli.h"
#include "handlers/supervise.h"

int main(int argc, char** argv) {
  // Before all else: it needs nothing of the rest.
  if (argc == 2 && std::strcmp(argv[1], "supervise") == 0) {
    return starling::handlers::run_supervisor();
  }
  return starling::agent::run_cli(argc, argv, &starling::agent::run_agent,
                                  &starling::agent::check_agent);
}
