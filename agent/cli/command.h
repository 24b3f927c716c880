// SPDX-License-Identifier: Apache-2.0
//
// What a subcommand is: data for the parser and for --help, and one function. Subcommands see no
// parser, only an Invocation. One thread; no globals, so that tests can run a whole command line.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/config/environment.h"
#include "agent/config/flags.h"

namespace starling::agent {

/// Runs `starling agent` with the flags in the order given, until it ends; the exit status.
using AgentRunner = std::function<int(const std::vector<FlagValue>& flags)>;

/// The world of one run of the command line.
struct Context {
  std::ostream& out;
  std::ostream& err;
  bool out_terminal = false;
  bool err_terminal = false;
  Environment environment = {};
  AgentRunner run_agent = nullptr;
  AgentRunner check_agent = nullptr;  ///< prints what run_agent would run with
  bool as_serf = false;  ///< called by the name `serf`: the agent is looked for where Serf's is
  std::istream* in = nullptr;  ///< standard input; none: empty
  std::size_t out_rows = 0;    ///< lines of the terminal; 0: not known
};

struct Command;

/// One parsed command line.
struct Invocation {
  const Command* command = nullptr;
  std::vector<FlagValue> flags;  ///< in the order given; booleans are "true" or "false"
  std::vector<std::string> arguments;

  /// The last value of a flag; `fallback` when it was not given.
  std::string value(std::string_view flag, const std::string& fallback = {}) const;
  std::vector<std::string> values(std::string_view flag) const;
  bool given(std::string_view flag) const;
  bool enabled(std::string_view flag, bool fallback = false) const;
};

struct Command {
  std::string_view name;
  std::string_view arguments;    ///< of the usage line, behind "[options]", e.g. "NAME [PAYLOAD]"
  std::string_view summary;      ///< one line for the overview, without a full stop
  std::string_view description;  ///< sentences for --help; an empty line between paragraphs
  std::string_view example;      ///< lines for --help: a command and what it prints
  std::span<const FlagSpec> flags;
  bool client = true;  ///< talks to an agent: also takes client_flags()
  int (*run)(const Invocation& invocation, Context& context) = nullptr;
  bool orders = false;  ///< what it asks can be signed: also takes signing_flags()
};

/// All flags that a command takes, its own first.
std::vector<FlagSpec> flags_of(const Command& command);

/// The flags that every command takes that talks to an agent.
std::span<const FlagSpec> client_flags();

/// Says on stderr what is wrong with the command line, and how it should be. Returns 1.
int usage_error(const Invocation& invocation, Context& context, std::string_view message);

}  // namespace starling::agent
