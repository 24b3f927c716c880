// SPDX-License-Identifier: Apache-2.0
//
// The flags of `starling agent`, as a table: the CLI builds its subcommand from it, and
// load_config() takes what was given. Names are Serf's, plus a few of our own.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace starling::agent {

/// One flag. All strings live as long as the program.
struct FlagSpec {
  std::string_view name;   ///< without dashes, e.g. "retry-join"
  std::string_view value;  ///< placeholder, e.g. "ADDR"; empty for a boolean (`-x`, `-x=false`)
  bool repeats = false;    ///< may be given several times; otherwise the last one counts
  std::string_view help;   ///< one line, without a full stop
};

/// All flags, in the order in which help shows them.
std::span<const FlagSpec> agent_flags();

/// A flag as given on the command line. Order matters: `-config-file` and `-config-dir` load in the
/// order given, and lists append.
struct FlagValue {
  std::string name;   ///< without dashes
  std::string value;  ///< booleans: "true" or "false"

  bool operator==(const FlagValue&) const = default;
};

/// "retry-join" for "retry-jion"; empty when no flag is near. For a parser's own error message.
std::string_view nearest_flag(std::string_view name);

}  // namespace starling::agent
