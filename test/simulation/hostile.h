// SPDX-License-Identifier: Apache-2.0
//
// A hostile member: its process runs on like any other, and beside it the host sends lies about
// others, sealed as a holder of the cluster key can. It has its own node key and nobody else's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "membership/random.h"
#include "test/simulation/world.h"

namespace starling::simulation {

/// What it says; each one about a member that runs, to every other member.
enum class Lie : uint8_t {
  kUnsigned,     ///< a newer version with another name, without a signature
  kOtherKey,     ///< the same, signed with its own key
  kLeft,         ///< that the member left, with a signature of its own
  kSuspect,      ///< that it is suspected, by four others who are named, its port being refused
  kFailed,       ///< that it has failed, the same
  kLastVersion,  ///< that it has failed, at the highest incarnation there is
  kFarFuture,    ///< its own record, with a Lamport time that nobody will reach
  kOrder,        ///< an order to forget the member (force-leave with prune)
  kEvent,        ///< a user event of the member, signed with its own key
  kFarEvent,     ///< the same, unsigned, with a sequence far ahead
  kQuery,        ///< a query of the member, signed with its own key, and that it is over
  kProgress,     ///< that it has events of the member that never were
};

/// One round: each of these lies about a member at random. What a member's sender is said to be is
/// at random too. Nothing when the liar does not run.
void tell_lies(World& world, NodeIndex liar, const std::vector<Lie>& lies,
               membership::Random& random);

/// All but orders, which an operator may give too, and Lamport times, which a process that crashes
/// has not kept in that moment.
[[nodiscard]] const std::vector<Lie>& lies_of_a_member();

}  // namespace starling::simulation
