// SPDX-License-Identifier: Apache-2.0
//
// How the run of a command can end. The numbers are on disk and on the wire: they keep their
// meaning.
#pragma once

#include <cstdint>

namespace starling::handlers {

enum class ProcessEnding : uint8_t {
  kExited = 0,      ///< `status` is the exit status
  kSignalled = 1,   ///< `status` is the signal
  kTimedOut = 2,    ///< ended by its supervisor, after the time limit
  kTerminated = 3,  ///< ended by its supervisor, when told to
  kLost = 4,        ///< the supervisor died, or the host: nobody knows
  kNotStarted = 5,  ///< `error` says why
};

}  // namespace starling::handlers
