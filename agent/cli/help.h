// SPDX-License-Identifier: Apache-2.0
//
// The text of --help, made from the subcommands' own tables. Pure functions.
#pragma once

#include <string>

#include "agent/cli/command.h"

namespace starling::agent {

/// "Usage: starling event [options] NAME [PAYLOAD]\n"
std::string usage_line(const Command& command);

/// Usage, description, flags and example of one command.
std::string command_help(const Command& command);

/// What `starling` alone prints: all commands with their summaries.
std::string overview();

}  // namespace starling::agent
