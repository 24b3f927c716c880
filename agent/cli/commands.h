// SPDX-License-Identifier: Apache-2.0
//
// The subcommands, one source file each. `help` is the parser's own (cli.cc).
#pragma once

#include <vector>

#include "agent/cli/command.h"

namespace starling::agent {

const Command& agent_command();
const Command& completion_command();
const Command& config_command();
const Command& event_command();
const Command& events_command();
const Command& force_leave_command();
const Command& info_command();
const Command& job_command();
const Command& join_command();
const Command& keygen_command();
const Command& keys_command();
const Command& leave_command();
const Command& members_command();
const Command& monitor_command();
const Command& node_command();
const Command& operator_command();
const Command& query_command();
const Command& reachability_command();
const Command& rtt_command();
const Command& tags_command();
const Command& version_command();

/// All of them, by name.
std::vector<const Command*> all_commands();

}  // namespace starling::agent
