// SPDX-License-Identifier: Apache-2.0
//
// The durable steps of a job, named, so that a test can end the process at any of them
// (test/faults/). A program that does not link the test's hook has a null pointer here, and a
// fault_point() does nothing.
#pragma once

#include <cstdint>

namespace starling {

enum class FaultPoint : uint8_t {
  // --- agent ---
  kBeforeCommit,    ///< a transaction of the ledger is complete but not committed
  kAfterCommit,     ///< committed, and nobody knows
  kFileMade,        ///< the file of a run exists; its transaction is not committed
  kBeforeSpawn,     ///< the start is recorded, there is no supervisor
  kAfterSpawn,      ///< there is one, without its order
  kOrderSent,       ///< it has its order
  kReportRead,      ///< the end is known, not recorded
  kBeforeRecorded,  ///< recorded; the supervisor has not been told
  // --- supervisor ---
  kOrderRead,      ///< nothing is written
  kBegunWritten,   ///< the run counts as begun, nothing runs
  kCommandRuns,    ///< it runs
  kOutputWritten,  ///< a piece of output is in the log, not in its length
  kCommandEnded,   ///< it has ended, the end is not written
  kEndWritten,     ///< it is, the agent does not know
  kReportSent,     ///< it knows
  // --- the server of supervisors ---
  kHandedOver,  ///< a job is with the server, there is no supervisor
  kForked,      ///< there is one; the agent has not been told

  kEnd
};

}  // namespace starling

extern "C" __attribute__((weak)) void starling_fault_hook(unsigned point);

namespace starling {

inline void fault_point(FaultPoint point) {
  if (starling_fault_hook != nullptr) starling_fault_hook(static_cast<unsigned>(point));
}

}  // namespace starling
