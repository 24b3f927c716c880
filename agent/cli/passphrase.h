// SPDX-License-Identifier: Apache-2.0
//
// Where a passphrase comes from: a file or descriptor, or the terminal, which does not show it.
// Never from the command line or the environment, where others could read it. It stays in locked
// memory.
#pragma once

#include <optional>
#include <string>

#include "agent/cli/command.h"
#include "agent/trust/key.h"

namespace starling::agent {

/// Of -passphrase-file ("-": standard input; the end of a line ends it), or asked for at the
/// terminal with `prompt`, and again with `again` if that is not empty. None, with the error
/// reported: there is none, it is empty, or the two differ.
std::optional<SecretBytes> read_passphrase(const Invocation& invocation, Context& context,
                                           const std::string& prompt,
                                           const std::string& again = {});

}  // namespace starling::agent
