// SPDX-License-Identifier: Apache-2.0
//
// Commands for which `/bin/sh -c` does nothing but start a program: they are started without it,
// and nobody can tell the difference but by the time that it saves. (GNU make does the same.) Any
// thread; Linux only.
//
// What a shell would do is that of dash, which Debian's /bin/sh is; where /bin/sh is another, it is
// always asked.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job.pb.h"

namespace starling::handlers {

struct PlainCommand {
  std::vector<std::string> arguments;    ///< [0], with a '/', is the program
  std::vector<std::string> environment;  ///< as the shell would hand it on
};

/// Finds out which shell the host has, once.
void prepare_plain_commands();

/// The words of a command that is a program's path and plain arguments; none: a shell has more to
/// do than to start it.
[[nodiscard]] std::optional<std::vector<std::string>> plain_words(std::string_view command);

/// What an order for `/bin/sh -c` comes to. None: ask the shell. Also when the program cannot be
/// started, which is found out by trying.
[[nodiscard]] std::optional<PlainCommand> plain_command(const job::Order& order);

/// The exit status and the line of output by which a shell tells that its command was killed.
[[nodiscard]] int shell_status(int signal);
[[nodiscard]] std::string shell_remark(int signal, bool dumped);

}  // namespace starling::handlers
