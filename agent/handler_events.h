// SPDX-License-Identifier: Apache-2.0
//
// Between the core and the handlers, which do not know each other: what happened in the cluster as
// an event for handlers, and what handlers made of a query as an answer for the core. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "agent/store/state.h"
#include "agent/trust/verdict.h"
#include "handlers/answer.h"
#include "handlers/event.h"
#include "membership/action.h"
#include "membership/member.h"
#include "membership/node.h"

namespace starling::agent {

/// Ids of user events begin with "user-", of queries with "query-", of member events with
/// "member-": the three never meet.
[[nodiscard]] std::string handler_event_id(const membership::UserEventArrived& event);
[[nodiscard]] std::string query_event_id(const membership::MessageId& id);
[[nodiscard]] std::string pending_event_id(const membership::MessageId& id);

/// `epoch` of this start and `number` make the event's id unique on this host.
[[nodiscard]] handlers::Event to_handler_event(const membership::MemberEvent& event, uint32_t epoch,
                                               uint64_t number);
[[nodiscard]] handlers::Event to_handler_event(const membership::UserEventArrived& event,
                                               const Signer& signer = {});
/// An event of an earlier process of this agent.
[[nodiscard]] handlers::Event to_handler_event(const PendingEvent& event);
[[nodiscard]] handlers::Event to_handler_event(const membership::QueryArrived& query,
                                               const Signer& signer = {});

[[nodiscard]] handlers::EventType to_event_type(membership::MemberChange change);
[[nodiscard]] handlers::Host to_host(const membership::Member& self);
[[nodiscard]] membership::Answer to_answer(handlers::QueryOutcome outcome);

}  // namespace starling::agent
