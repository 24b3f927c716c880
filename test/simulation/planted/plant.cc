// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/planted/plant.h"

namespace starling {

namespace {
membership::PlantedBug now = membership::PlantedBug::kNone;
}  // namespace

namespace membership {
bool planted(PlantedBug bug) {
  return bug == now;
}
}  // namespace membership

namespace simulation {

using membership::PlantedBug;

Plant::Plant(PlantedBug bug) {
  now = bug;
}

Plant::~Plant() {
  now = PlantedBug::kNone;
}

std::vector<PlantedBug> planted_bugs() {
  std::vector<PlantedBug> bugs;
  for (int value = 1; value < static_cast<int>(PlantedBug::kEnd); ++value) {
    bugs.push_back(static_cast<PlantedBug>(value));
  }
  return bugs;
}

const char* planted_bug_name(PlantedBug bug) {
  switch (bug) {
    case PlantedBug::kNone:
      return "none";
    case PlantedBug::kSuspectWithoutTime:
      return "suspect-without-time";
    case PlantedBug::kRefuteWithoutRaising:
      return "refute-without-raising";
    case PlantedBug::kIgnoreAccusations:
      return "ignore-accusations";
    case PlantedBug::kBelieveOneWord:
      return "believe-one-word";
    case PlantedBug::kBelieveFailedAtOnce:
      return "believe-failed-at-once";
    case PlantedBug::kObeyForceLeave:
      return "obey-force-leave";
    case PlantedBug::kAcceptOlderAlive:
      return "accept-older-alive";
    case PlantedBug::kAliveBeatsFailed:
      return "alive-beats-failed";
    case PlantedBug::kFailedBeatsLeft:
      return "failed-beats-left";
    case PlantedBug::kRaiseForOthers:
      return "raise-for-others";
    case PlantedBug::kCopyHalfOfId:
      return "copy-half-of-id";
    case PlantedBug::kAnnounceEveryAlive:
      return "announce-every-alive";
    case PlantedBug::kFailedMeansLeft:
      return "failed-means-left";
    case PlantedBug::kForgetReapTimer:
      return "forget-reap-timer";
    case PlantedBug::kForgetSuspicionTimer:
      return "forget-suspicion-timer";
    case PlantedBug::kFingerprintNotToggled:
      return "fingerprint-not-toggled";
    case PlantedBug::kNameClaimedTwice:
      return "name-claimed-twice";
    case PlantedBug::kNeverProbeAgain:
      return "never-probe-again";
    case PlantedBug::kPingOnAck:
      return "ping-on-ack";
    case PlantedBug::kBelieveAnySignature:
      return "believe-any-signature";
    case PlantedBug::kBelieveFutureWord:
      return "believe-future-word";
    case PlantedBug::kBelieveAnyOrigin:
      return "believe-any-origin";
    case PlantedBug::kBelieveForceLeave:
      return "believe-force-leave";
    case PlantedBug::kPiggybackWithoutBudget:
      return "piggyback-without-budget";
    case PlantedBug::kTreeForgetsRange:
      return "tree-forgets-range";
    case PlantedBug::kLeaveTimerArmed:
      return "leave-timer-armed";
    case PlantedBug::kSkipGaps:
      return "skip-gaps";
    case PlantedBug::kForgetDedupe:
      return "forget-dedupe";
    case PlantedBug::kForgetToSaveProgress:
      return "forget-to-save-progress";
    case PlantedBug::kKeepForEver:
      return "keep-for-ever";
    case PlantedBug::kReportIdBeforeCounting:
      return "report-id-before-counting";
    case PlantedBug::kReportIdWithoutEpoch:
      return "report-id-without-epoch";
    case PlantedBug::kSwapStrings:
      return "swap-strings";
    case PlantedBug::kAdoptHeardClock:
      return "adopt-heard-clock";
    case PlantedBug::kDeafClock:
      return "deaf-clock";
    case PlantedBug::kTickAfterSending:
      return "tick-after-sending";
    case PlantedBug::kTakeProgressForEvents:
      return "take-progress-for-events";
    case PlantedBug::kForgetQuery:
      return "forget-query";
    case PlantedBug::kForgetAcked:
      return "forget-acked";
    case PlantedBug::kForgetQueryDeadline:
      return "forget-query-deadline";
    case PlantedBug::kDoubleQueryDeadline:
      return "double-query-deadline";
    case PlantedBug::kAckEndsQuery:
      return "ack-ends-query";
    case PlantedBug::kNoAnswerLimit:
      return "no-answer-limit";
    case PlantedBug::kEnd:
      break;
  }
  return "?";
}

}  // namespace simulation

}  // namespace starling
