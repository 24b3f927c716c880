// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/observer.h"

namespace starling::simulation {

const char* fault_name(Fault kind) {
  switch (kind) {
    case Fault::kPause:
      return "paused";
    case Fault::kResume:
      return "resumed";
    case Fault::kBlock:
      return "blocked";
    case Fault::kUnblock:
      return "unblocked";
    case Fault::kSpeed:
      return "speed changed";
    case Fault::kClock:
      return "clock rate changed";
    case Fault::kClockJump:
      return "clock jumped";
    case Fault::kDiskFull:
      return "disk full";
    case Fault::kDiskFree:
      return "disk has room";
    case Fault::kPartition:
      return "partition";
    case Fault::kHeal:
      return "partition healed";
    case Fault::kLinks:
      return "links changed";
  }
  return "?";
}

}  // namespace starling::simulation
