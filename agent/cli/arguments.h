// SPDX-License-Identifier: Apache-2.0
//
// From Serf's command lines (Go's flag package) to the only form that the parser has to know.
// Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/config/flags.h"
#include "proto/support/result.h"

namespace starling::agent {

/// Rewrites the arguments behind a subcommand's name. `-x v`, `--x v`, `-x=v` and `--x=v` become
/// "--x", "v"; a boolean `-x` or `-x=T` becomes "--x", "true"; flags may follow other arguments;
/// all other arguments come last, behind "--", as does what follows a "--". `-h`, `-help` and
/// `--help` become the single result "--help". As in Go, a flag that takes a value takes the next
/// argument, whatever it looks like, and a boolean never does. A lone "-" and negative numbers are
/// no flags. kInvalid names the flag, what is wrong and the nearest known flag.
[[nodiscard]] Result<std::vector<std::string>> normalize_arguments(
    std::span<const std::string> arguments, std::span<const FlagSpec> flags);

/// `-v`, `-version` or `--version` stands among the arguments, before any "--": Serf then prints
/// its version, whatever else is there.
bool asks_for_version(std::span<const std::string> arguments);

/// `-h`, `-help`, `--help`.
bool is_help_flag(std::string_view argument);

/// Go's strconv.ParseBool: 1, t, T, true, True, TRUE and the same of false; kInvalid otherwise.
[[nodiscard]] Result<bool> parse_boolean(std::string_view text);

/// "KEY=VALUE" cut at the first '='. kInvalid, in Serf's words, without '=' or with an empty key.
[[nodiscard]] Result<std::pair<std::string, std::string>> parse_tag(std::string_view text);

}  // namespace starling::agent
