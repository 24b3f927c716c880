// SPDX-License-Identifier: Apache-2.0
//
// Who this agent is, for as long as its data directory lives: an Ed25519 key pair made at the first
// start, the node id that follows from it, and a boot epoch that is never used twice. Two files of
// their own, so that they outlive a damaged database. Blocking; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "membership/ids.h"
#include "membership/signatures.h"
#include "proto/support/result.h"

namespace starling::agent {

struct NodeKey {
  std::array<uint8_t, 32> public_key{};
  membership::NodeId id;  ///< first 16 bytes of BLAKE2b-256 of the public key
  std::shared_ptr<const membership::NodeKeys> keys;  ///< the pair, to sign with
  bool created = false;                              ///< this is its first start
  bool exposed = false;                              ///< others than the owner may read the file
};

/// Reads `directory`/node.key (mode 0600), or makes it; a new one is to be followed by
/// sync_directory() before anybody hears of it. kInvalid when it is damaged: it is never
/// replaced, since that would make another member of this host. kUnavailable.
Result<NodeKey> load_node_key(const std::string& directory);

/// The epoch of this start: `unix_now` (seconds), or one more than the last one, whichever is
/// greater; kept in `directory`/epoch, likewise to be followed by sync_directory(). kInvalid when
/// the file is damaged or the last epoch has been used; kUnavailable.
Result<uint32_t> next_epoch(const std::string& directory, int64_t unix_now);

}  // namespace starling::agent
