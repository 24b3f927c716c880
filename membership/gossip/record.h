// SPDX-License-Identifier: Apache-2.0
//
// What the kinds of records have in common: an owner judges each one that arrives.
#pragma once

#include <cstdint>

namespace starling::membership {

/// What an arriving record means to this node, and so what becomes of it.
enum class Verdict : uint8_t {
  kFresh,    ///< news: taken over, to be passed on
  kKnown,    ///< held already: passed on only to those that its sender asks us to cover
  kStale,    ///< superseded, or nothing new for anybody: ends here
  kInvalid,  ///< malformed or of an unknown kind: counted, ends here
  kForged,   ///< not known to be signed by the member whose word it is said to be: counted, ends
             ///< here
};

}  // namespace starling::membership
