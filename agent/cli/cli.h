// SPDX-License-Identifier: Apache-2.0
//
// The whole command line: from argv to the exit status. Serf's statuses: 0 done, 1 an error, 127 no
// such command.
#pragma once

#include <string>
#include <vector>

#include "agent/cli/command.h"

namespace starling::agent {

/// For main(): standard streams, this process's environment. `run_agent` is called for `agent`,
/// `check_agent` for `config check`.
int run_cli(int argc, char** argv, AgentRunner run_agent, AgentRunner check_agent);

/// The same for any streams. `arguments` are those behind the program's name.
int run_cli(const std::vector<std::string>& arguments, Context& context);

}  // namespace starling::agent
