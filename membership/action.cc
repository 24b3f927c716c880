// SPDX-License-Identifier: Apache-2.0
#include "membership/action.h"

#include "membership/member.h"

namespace starling::membership {

std::string_view silence_name(Silence silence) {
  switch (silence) {
    case Silence::kUnheard:
      return "unheard";
    case Silence::kUnfinished:
      return "unfinished";
    case Silence::kFailed:
      return "failed";
    case Silence::kLeft:
      return "left";
    case Silence::kUnknown:
      return "unknown";
    case Silence::kNotAwaited:
      return "not-awaited";
  }
  return "unheard";
}

std::string_view public_status(Status status) {
  return status == Status::kSuspect ? "alive" : status_name(status);
}

std::string_view status_name(Status status) {
  switch (status) {
    case Status::kAlive:
      return "alive";
    case Status::kSuspect:
      return "suspect";
    case Status::kLeaving:
      return "leaving";
    case Status::kFailed:
      return "failed";
    case Status::kLeft:
      return "left";
  }
  return "none";
}

std::string_view member_change_name(MemberChange change) {
  switch (change) {
    case MemberChange::kJoin:
      return "member-join";
    case MemberChange::kLeave:
      return "member-leave";
    case MemberChange::kFailed:
      return "member-failed";
    case MemberChange::kUpdate:
      return "member-update";
    case MemberChange::kReap:
      return "member-reap";
  }
  return "none";
}

std::string_view event_timing_name(EventTiming timing) {
  switch (timing) {
    case EventTiming::kLive:
      return "live";
    case EventTiming::kMissed:
      return "missed";
    case EventTiming::kBeforeJoin:
      return "before-join";
  }
  return "none";
}

}  // namespace starling::membership
