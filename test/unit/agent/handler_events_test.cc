// SPDX-License-Identifier: Apache-2.0
#include "agent/handler_events.h"

#include "agent/handler_specs.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

using handlers::EventType;
using membership::MemberChange;

TEST_CASE("a member event keeps what handlers are told") {
  membership::Member member;
  member.name = "web1";
  member.address = *membership::Address::parse("[2001:db8::1]:7946");
  member.tags = {{"role", "web"}};
  const handlers::Event event = to_handler_event({MemberChange::kFailed, member}, 3, 12);
  CHECK(event.type == EventType::kMemberFailed);
  CHECK(event.id == "member-3-12");
  REQUIRE(event.members.size() == 1);
  CHECK(event.members[0] == handlers::Member{"web1", "2001:db8::1", {{"role", "web"}}});
}

TEST_CASE("each change of a member has its event") {
  for (const MemberChange change :
       {MemberChange::kJoin, MemberChange::kLeave, MemberChange::kFailed, MemberChange::kUpdate,
        MemberChange::kReap}) {
    CHECK(handlers::event_type_name(to_event_type(change)) ==
          membership::member_change_name(change));
  }
}

TEST_CASE("a user event is the same event when it is taken up after a restart") {
  const membership::UserEventArrived arrived{
      message_id(1, 5), 40, "deploy", "v2", true, membership::EventTiming::kLive, "record"};
  const handlers::Event event = to_handler_event(arrived);
  CHECK(event.type == EventType::kUser);
  CHECK(event.name == "deploy");
  CHECK(event.payload == "v2");
  CHECK(event.ltime == 40);
  CHECK(event.coalesce);
  const handlers::Event again =
      to_handler_event(PendingEvent{message_id(1, 5), 40, "deploy", "v2", true});
  CHECK(again.id == event.id);
  CHECK(again.payload == event.payload);
  CHECK(again.ltime == event.ltime);
  CHECK(again.coalesce);
}

TEST_CASE("handlers are told that an event was missed, also after a restart") {
  using membership::EventTiming;
  membership::UserEventArrived arrived{message_id(1, 5),     40,      "deploy", "v2", true,
                                       EventTiming::kMissed, "record"};
  CHECK(to_handler_event(arrived).timing == handlers::EventTiming::kMissed);
  arrived.timing = EventTiming::kBeforeJoin;
  CHECK(to_handler_event(arrived).timing == handlers::EventTiming::kBeforeJoin);
  const PendingEvent pending{message_id(1, 5), 40, "deploy", "v2", true, EventTiming::kMissed};
  CHECK(to_handler_event(pending).timing == handlers::EventTiming::kMissed);
}

TEST_CASE("a query and an event of one number are not mistaken for each other") {
  membership::QueryArrived query{};
  query.id = message_id(1, 5);
  query.name = "load";
  query.source = "web2";
  query.deadline = membership::TimePoint(std::chrono::seconds(1234));
  const handlers::Event event = to_handler_event(query);
  CHECK(event.type == EventType::kQuery);
  CHECK(event.source == "web2");
  CHECK(event.id != pending_event_id(query.id));
  CHECK(event.deadline == handlers::TimePoint(std::chrono::seconds(1234)));
  query.deadline = membership::kNever;
  CHECK(to_handler_event(query).deadline == handlers::kNever);
}

TEST_CASE("what handlers made of a query is the answer") {
  using handlers::QueryOutcomeKind;
  using membership::ReplyKind;
  const std::pair<QueryOutcomeKind, ReplyKind> kinds[] = {
      {QueryOutcomeKind::kResponse, ReplyKind::kResponse},
      {QueryOutcomeKind::kNoAnswer, ReplyKind::kNoAnswer},
      {QueryOutcomeKind::kNoHandler, ReplyKind::kNoHandler},
      {QueryOutcomeKind::kFailed, ReplyKind::kFailed},
      {QueryOutcomeKind::kTooLarge, ReplyKind::kTooLarge},
      {QueryOutcomeKind::kBusy, ReplyKind::kBusy}};
  for (const auto& [outcome, kind] : kinds) {
    const membership::Answer answer = to_answer({outcome, "payload", "error"});
    CHECK(answer.kind == kind);
    CHECK(answer.payload == "payload");
    CHECK(answer.error == "error");
  }
}

TEST_CASE("handlers of the configuration get the agent's limits unless they have their own") {
  Config config;
  config.handler_timeout = std::chrono::minutes(2);
  config.handler_concurrency = 3;
  HandlerConfig spec;
  spec.spec = "member-join,user:deploy=cmd --a=b";
  HandlerConfig parts;
  parts.filter = "query:load";
  parts.command = "uptime";
  parts.timeout = std::chrono::seconds(5);
  parts.concurrency = 7;
  parts.queue = 9;
  HandlerConfig all;
  all.spec = "everything.sh";
  const auto made = make_handler_specs({spec, parts, all}, config);
  REQUIRE(made);
  REQUIRE(made->size() == 3);
  CHECK(made->at(0).to_string() == "member-join,user:deploy=cmd --a=b");
  CHECK(made->at(0).limits.timeout == std::chrono::minutes(2));
  CHECK(made->at(0).limits.concurrency == 3);
  CHECK(made->at(1).to_string() == "query:load=uptime");
  CHECK(made->at(1).limits.timeout == std::chrono::seconds(5));
  CHECK(made->at(1).limits.concurrency == 7);
  CHECK(made->at(1).limits.queue == 9);
  CHECK(made->at(2).to_string() == "*=everything.sh");
}

TEST_CASE("a wrong handler is named by its place") {
  HandlerConfig wrong;
  wrong.spec = "member-jion=x";
  wrong.place = "agent.yaml:3:5";
  const auto made = make_handler_specs({wrong}, Config{});
  REQUIRE_FALSE(made);
  CHECK(made.error().message.starts_with("agent.yaml:3:5: "));
  CHECK(made.error().message.find("member-jion") != std::string::npos);
}

}  // namespace
}  // namespace starling::agent
