// SPDX-License-Identifier: Apache-2.0
//
// Mistakes that a programmer could make in the core, one line each, so that the simulator can show
// that it would notice them (docs/simulation.md, "The checker is checked"). Only a test build of
// the core (STARLING_PLANTED_BUGS, test/simulation/planted/) can make one; in all others planted()
// is the constant false, and nothing is left of it.
//
// Used in source files only: a header of the core is seen by both builds.
#pragma once

#include <cstdint>

namespace starling::membership {

enum class PlantedBug : uint8_t {
  kNone,

  // --- swim: what is said about members ---
  kSuspectWithoutTime,     ///< a suspect has failed as soon as it is suspected
  kRefuteWithoutRaising,   ///< a refutation repeats the incarnation that was accused
  kIgnoreAccusations,      ///< what is said about this node is not refuted
  kBelieveOneWord,         ///< a suspicion that nobody has confirmed is enough
  kBelieveFailedAtOnce,    ///< "failed" heard from others needs no suspicion
  kObeyForceLeave,         ///< a running member that is said to have left believes it
  kAcceptOlderAlive,       ///< the incarnation of an alive record is not looked at
  kAliveBeatsFailed,       ///< off by one: alive at the same incarnation counts as newer
  kFailedBeatsLeft,        ///< a member that left can still fail
  kRaiseForOthers,         ///< failing a member raises its incarnation
  kCopyHalfOfId,           ///< the size of a pointer for the size of an id
  kAnnounceEveryAlive,     ///< each newer alive record is told as a join
  kFailedMeansLeft,        ///< a dead member is told as one that left
  kForgetReapTimer,        ///< the reap timer runs on when a member comes back
  kForgetSuspicionTimer,   ///< a suspicion never ends
  kFingerprintNotToggled,  ///< the old version stays in the fingerprint
  kNameClaimedTwice,       ///< whom a name belongs to is not settled
  kNeverProbeAgain,        ///< the probe timer is not armed again
  kPingOnAck,              ///< an acknowledgement is answered with a ping
  kBelieveAnySignature,    ///< a member's signature is not looked at
  kBelieveFutureWord,      ///< an accusation of a version that its subject never signed is believed
  kBelieveAnyOrigin,       ///< the signature of an event, query or answer is not looked at
  kBelieveForceLeave,      ///< "left" without the member's signature is its own word

  // --- gossip: records, events, queries ---
  kPiggybackWithoutBudget,  ///< records are added whether they fit or not
  kTreeForgetsRange,        ///< the first part of a range gets no child
  kLeaveTimerArmed,         ///< a timer that has fired is left in the past
  kSkipGaps,                ///< what is missing before an event is not waited for
  kForgetDedupe,            ///< an event that is had is delivered again
  kForgetToSaveProgress,    ///< after a restart, events are news again
  kKeepForEver,             ///< events are kept beyond their limits
  kReportIdBeforeCounting,  ///< the sender is told the id of the event before
  kReportIdWithoutEpoch,    ///< the sender is told an id without the boot epoch
  kSwapStrings,             ///< name and payload of an event in the wrong order
  kAdoptHeardClock,         ///< the event clock is set to what was heard, also backwards
  kDeafClock,               ///< the event clock does not follow what is heard
  kTickAfterSending,        ///< the event clock ticks after its use
  kTakeProgressForEvents,   ///< events that a peer has had count as had here
  kForgetQuery,             ///< a query that was heard is taken for a new one
  kForgetAcked,             ///< that a member has acknowledged is not noted
  kForgetQueryDeadline,     ///< an own query has no timer
  kDoubleQueryDeadline,     ///< the timeout is added twice
  kAckEndsQuery,            ///< an acknowledgement counts as the answer
  kNoAnswerLimit,           ///< an answer may have any size

  kEnd
};

#if defined(STARLING_PLANTED_BUGS)
/// Whether this bug is planted now: test/simulation/planted/plant.h sets it.
[[nodiscard]] bool planted(PlantedBug bug);
#else
[[nodiscard]] constexpr bool planted(PlantedBug /*bug*/) {
  return false;
}
#endif

}  // namespace starling::membership
