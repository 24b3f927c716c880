// SPDX-License-Identifier: Apache-2.0
//
// The file-system side of the control socket: binding it so that a dead agent's file is replaced
// and a living agent's is not, and removing it again. Called at start and stop, from one thread;
// blocks for at most about a second.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include <string>

#include "proto/support/result.h"

namespace starling::agent {

/// `path` as a socket address. kInvalid: it is empty, has a NUL, or is too long (107 bytes fit).
[[nodiscard]] Result<sockaddr_un> unix_address(const std::string& path);

/// A listening socket and the identity of its file. The holder closes `fd`.
struct BoundSocket {
  int fd = -1;
  dev_t device = 0;
  ino_t inode = 0;
};

/// Binds and listens on `path`, mode 0660, never wider in between. Errors as UnixServer::listen().
[[nodiscard]] Result<BoundSocket> bind_control_socket(const std::string& path);

/// Lets the members of `group` use the socket at `path`; nothing when `group` is empty. kNotFound:
/// there is no such group; kUnavailable: this process may not (its user is not of the group).
[[nodiscard]] Result<void> give_to_group(const std::string& path, const std::string& group);

/// Removes the file, unless another one has taken its place since.
void remove_control_socket(const std::string& path, const BoundSocket& bound);

}  // namespace starling::agent
