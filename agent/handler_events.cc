// SPDX-License-Identifier: Apache-2.0
#include "agent/handler_events.h"

#include <chrono>
#include <utility>

namespace starling::agent {

using handlers::Event;
using handlers::EventType;

namespace {

/// The core's time is that of the steady clock (see Cluster).
handlers::TimePoint to_steady(membership::TimePoint time) {
  if (time == membership::kNever) return handlers::kNever;
  return handlers::TimePoint(
      std::chrono::duration_cast<handlers::Duration>(time.time_since_epoch()));
}

handlers::EventTiming to_timing(membership::EventTiming timing) {
  switch (timing) {
    case membership::EventTiming::kLive:
      return handlers::EventTiming::kLive;
    case membership::EventTiming::kMissed:
      return handlers::EventTiming::kMissed;
    case membership::EventTiming::kBeforeJoin:
      return handlers::EventTiming::kBeforeJoin;
  }
  return handlers::EventTiming::kLive;
}

}  // namespace

std::string pending_event_id(const membership::MessageId& id) {
  return "user-" + id.to_string();
}

std::string query_event_id(const membership::MessageId& id) {
  return "query-" + id.to_string();
}

std::string handler_event_id(const membership::UserEventArrived& event) {
  return pending_event_id(event.id);
}

EventType to_event_type(membership::MemberChange change) {
  switch (change) {
    case membership::MemberChange::kJoin:
      return EventType::kMemberJoin;
    case membership::MemberChange::kLeave:
      return EventType::kMemberLeave;
    case membership::MemberChange::kFailed:
      return EventType::kMemberFailed;
    case membership::MemberChange::kUpdate:
      return EventType::kMemberUpdate;
    case membership::MemberChange::kReap:
      return EventType::kMemberReap;
  }
  return EventType::kMemberUpdate;
}

Event to_handler_event(const membership::MemberEvent& event, uint32_t epoch, uint64_t number) {
  Event out;
  out.type = to_event_type(event.change);
  out.id = "member-" + std::to_string(epoch) + "-" + std::to_string(number);
  out.members.push_back({event.member.name, event.member.address.ip_string(), event.member.tags});
  return out;
}

Event to_handler_event(const membership::UserEventArrived& event, const Signer& signer) {
  Event out;
  out.type = EventType::kUser;
  out.id = handler_event_id(event);
  out.name = event.name;
  out.payload = event.payload;
  out.ltime = event.ltime;
  out.coalesce = event.coalesce;
  out.timing = to_timing(event.timing);
  out.operator_name = signer.name;
  out.operator_key = signer.key_id;
  return out;
}

Event to_handler_event(const PendingEvent& event) {
  Event out;
  out.type = EventType::kUser;
  out.id = pending_event_id(event.id);
  out.name = event.name;
  out.payload = event.payload;
  out.ltime = event.ltime;
  out.coalesce = event.coalesce;
  out.timing = to_timing(event.timing);
  out.operator_name = event.operator_name;
  out.operator_key = event.operator_key;
  return out;
}

Event to_handler_event(const membership::QueryArrived& query, const Signer& signer) {
  Event out;
  out.type = EventType::kQuery;
  out.id = query_event_id(query.id);
  out.name = query.name;
  out.payload = query.payload;
  out.ltime = query.ltime;
  out.source = query.source;
  out.deadline = to_steady(query.deadline);
  out.operator_name = signer.name;
  out.operator_key = signer.key_id;
  return out;
}

handlers::Host to_host(const membership::Member& self) {
  return {self.name, self.tags};
}

membership::Answer to_answer(handlers::QueryOutcome outcome) {
  membership::Answer answer;
  switch (outcome.kind) {
    case handlers::QueryOutcomeKind::kResponse:
      answer.kind = membership::ReplyKind::kResponse;
      break;
    case handlers::QueryOutcomeKind::kNoAnswer:
      answer.kind = membership::ReplyKind::kNoAnswer;
      break;
    case handlers::QueryOutcomeKind::kNoHandler:
      answer.kind = membership::ReplyKind::kNoHandler;
      break;
    case handlers::QueryOutcomeKind::kFailed:
      answer.kind = membership::ReplyKind::kFailed;
      break;
    case handlers::QueryOutcomeKind::kTooLarge:
      answer.kind = membership::ReplyKind::kTooLarge;
      break;
    case handlers::QueryOutcomeKind::kBusy:
      answer.kind = membership::ReplyKind::kBusy;
      break;
    case handlers::QueryOutcomeKind::kRefused:
      answer.kind = membership::ReplyKind::kRefused;
      break;
  }
  answer.payload = std::move(outcome.payload);
  answer.error = std::move(outcome.error);
  answer.responder = std::move(outcome.responder);
  answer.position = outcome.position;
  answer.exit_status = outcome.exit_status;
  answer.last = outcome.last;
  return answer;
}

}  // namespace starling::agent
