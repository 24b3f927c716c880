// SPDX-License-Identifier: Apache-2.0
#include "handlers/coalesce.h"

#include "test/catch.h"

using namespace std::chrono_literals;
using starling::handlers::Coalesced;
using starling::handlers::CoalesceWindow;
using starling::handlers::Event;
using starling::handlers::EventType;
using starling::handlers::kNever;
using starling::handlers::Member;
using starling::handlers::MemberCoalescer;
using starling::handlers::Tags;
using starling::handlers::TimePoint;
using starling::handlers::UserCoalescer;

namespace {

const TimePoint kStart{1000s};
constexpr CoalesceWindow kAlone{1s, 3s, 300ms};
constexpr CoalesceWindow kWindow{250ms, 3s};
constexpr CoalesceWindow kUserWindow{1s, 3s};

Event member_event(EventType type, const std::string& name, Tags tags = {}) {
  static int serial = 0;
  Event event;
  event.type = type;
  event.id = std::to_string(++serial);
  event.members = {Member{name, "10.0.0.1", std::move(tags)}};
  return event;
}

Event user_event(const std::string& name, uint64_t ltime, std::string id = {}) {
  Event event;
  event.name = name;
  event.ltime = ltime;
  event.id = id.empty() ? name + std::to_string(ltime) : std::move(id);
  event.coalesce = true;
  return event;
}

std::vector<std::string> names(const Event& event) {
  std::vector<std::string> list;
  list.reserve(event.members.size());
  for (const Member& member : event.members) list.push_back(member.name);
  return list;
}

std::vector<std::string> ids(const Coalesced& coalesced) {
  std::vector<std::string> list;
  list.reserve(coalesced.events.size());
  for (const Event& event : coalesced.events) list.push_back(event.id);
  return list;
}

/// Feeds changes of one member in one window, whose end it returns.
Coalesced window_of(MemberCoalescer& coalescer, const std::vector<EventType>& types,
                    const Tags& tags = {}) {
  for (const EventType type : types) {
    CHECK(coalescer.offer(kStart, member_event(type, "a", tags)).events.empty());
  }
  return coalescer.flush();
}

}  // namespace

TEST_CASE("member events that come together are one event per type") {
  MemberCoalescer coalescer(kWindow);
  CHECK(coalescer.next_deadline() == kNever);
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberJoin, "a")).events.empty());
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberFailed, "b")).events.empty());
  const Event last = member_event(EventType::kMemberJoin, "c");
  CHECK(coalescer.offer(kStart + 100ms, last).events.empty());
  CHECK(coalescer.next_deadline() == kStart + 350ms);
  CHECK(coalescer.advance(kStart + 349ms).events.empty());
  const Coalesced out = coalescer.advance(kStart + 350ms);
  REQUIRE(out.events.size() == 2);
  CHECK(out.events[0].type == EventType::kMemberJoin);
  CHECK(names(out.events[0]) == std::vector<std::string>{"a", "c"});
  CHECK(out.events[0].id == last.id);
  CHECK(out.events[1].type == EventType::kMemberFailed);
  CHECK(coalescer.next_deadline() == kNever);
}

TEST_CASE("a window of member events ends after the longest time") {
  MemberCoalescer coalescer(kWindow);
  TimePoint now = kStart;
  for (; now < kStart + 3s; now += 200ms) {
    const auto name = std::to_string((now - kStart).count());
    CHECK(coalescer.offer(now, member_event(EventType::kMemberJoin, name)).events.empty());
  }
  CHECK(coalescer.next_deadline() == kStart + 3s);
  const Coalesced out = coalescer.advance(kStart + 3s);
  REQUIRE(out.events.size() == 1);
  CHECK(out.events[0].members.size() == 15);
}

TEST_CASE("a late timer does not widen the window") {
  MemberCoalescer coalescer(kWindow);
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberJoin, "a")).events.empty());
  const Coalesced out = coalescer.offer(kStart + 1s, member_event(EventType::kMemberJoin, "b"));
  REQUIRE(out.events.size() == 1);
  CHECK(names(out.events[0]) == std::vector<std::string>{"a"});
  CHECK(coalescer.next_deadline() == kStart + 1250ms);
}

TEST_CASE("of a member's changes in a window the last survives") {
  MemberCoalescer coalescer(kWindow);
  const Coalesced out = window_of(
      coalescer, {EventType::kMemberJoin, EventType::kMemberFailed, EventType::kMemberLeave});
  REQUIRE(out.events.size() == 1);
  CHECK(out.events[0].type == EventType::kMemberLeave);
}

TEST_CASE("what handlers know already is not told again") {
  MemberCoalescer coalescer(kWindow);
  CHECK(window_of(coalescer, {EventType::kMemberJoin}).events.size() == 1);
  CHECK(window_of(coalescer, {EventType::kMemberFailed, EventType::kMemberJoin}).events.empty());
  CHECK(window_of(coalescer, {EventType::kMemberFailed}).events.size() == 1);
  CHECK(window_of(coalescer, {EventType::kMemberJoin, EventType::kMemberFailed}).events.empty());
  CHECK(window_of(coalescer, {EventType::kMemberJoin}).events.size() == 1);
}

TEST_CASE("updates are always told") {
  MemberCoalescer coalescer(kWindow);
  CHECK(window_of(coalescer, {EventType::kMemberJoin}).events.size() == 1);
  CHECK(window_of(coalescer, {EventType::kMemberUpdate}).events.size() == 1);
  CHECK(window_of(coalescer, {EventType::kMemberUpdate}).events.size() == 1);
}

TEST_CASE("an update does not hide the join before it") {
  MemberCoalescer coalescer(kWindow);
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberJoin, "a")).events.empty());
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberUpdate, "a", {{"role", "web"}}))
            .events.empty());
  const Coalesced out = coalescer.flush();
  REQUIRE(out.events.size() == 1);
  CHECK(out.events[0].type == EventType::kMemberJoin);
  CHECK(out.events[0].members[0].tags == Tags{{"role", "web"}});
}

TEST_CASE("a flap that changed the member's facts is an update") {
  MemberCoalescer coalescer(kWindow);
  CHECK(window_of(coalescer, {EventType::kMemberJoin}).events.size() == 1);
  const Coalesced out =
      window_of(coalescer, {EventType::kMemberFailed, EventType::kMemberJoin}, {{"role", "web"}});
  REQUIRE(out.events.size() == 1);
  CHECK(out.events[0].type == EventType::kMemberUpdate);
  CHECK(out.events[0].id.ends_with("/update"));
  // And now that is known.
  CHECK(window_of(coalescer, {EventType::kMemberFailed, EventType::kMemberJoin}, {{"role", "web"}})
            .events.empty());
}

TEST_CASE("a reaped member is forgotten") {
  MemberCoalescer coalescer(kWindow);
  CHECK(window_of(coalescer, {EventType::kMemberJoin}).events.size() == 1);
  CHECK(window_of(coalescer, {EventType::kMemberReap}).events.size() == 1);
  CHECK(window_of(coalescer, {EventType::kMemberJoin}).events.size() == 1);
}

TEST_CASE("a full window of member events is delivered at once") {
  MemberCoalescer coalescer(kWindow);
  Coalesced out;
  size_t offered = 0;
  while (out.events.empty() && offered <= MemberCoalescer::kMaxPending) {
    out = coalescer.offer(kStart,
                          member_event(EventType::kMemberJoin, "m" + std::to_string(offered++)));
  }
  CHECK(offered == MemberCoalescer::kMaxPending);
  REQUIRE(out.events.size() == 1);
  CHECK(out.events[0].members.size() == offered);
  CHECK(coalescer.next_deadline() == kNever);
}

TEST_CASE("without a window member events pass at once") {
  MemberCoalescer coalescer(CoalesceWindow{0ms, 3s});
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberJoin, "a")).events.size() == 1);
  CHECK(coalescer.next_deadline() == kNever);
}

TEST_CASE("a change that stays alone is told soon") {
  MemberCoalescer coalescer(kAlone);
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberFailed, "a")).events.empty());
  CHECK(coalescer.next_deadline() == kStart + 300ms);
  CHECK(coalescer.advance(kStart + 299ms).events.empty());
  CHECK(coalescer.advance(kStart + 300ms).events.size() == 1);
  // A second one opens the whole window.
  CHECK(coalescer.offer(kStart + 5s, member_event(EventType::kMemberFailed, "b")).events.empty());
  const auto second = member_event(EventType::kMemberFailed, "c");
  CHECK(coalescer.offer(kStart + 5200ms, second).events.empty());
  CHECK(coalescer.next_deadline() == kStart + 6200ms);
  CHECK(names(coalescer.advance(kStart + 6200ms).events.at(0)) ==
        std::vector<std::string>{"b", "c"});
}

TEST_CASE("failures wait for those that are suspected") {
  bool suspects = true;
  MemberCoalescer coalescer(kAlone, [&] { return suspects; });
  CHECK(coalescer.offer(kStart, member_event(EventType::kMemberFailed, "a")).events.empty());
  CHECK(coalescer.advance(kStart + 300ms).events.empty());
  CHECK(coalescer.next_deadline() == kStart + 350ms);
  CHECK(
      coalescer.offer(kStart + 330ms, member_event(EventType::kMemberFailed, "b")).events.empty());
  suspects = false;
  CHECK(coalescer.next_deadline() == kStart + 1330ms);
  CHECK(coalescer.advance(kStart + 1330ms).events.at(0).members.size() == 2);
  // Not for ever, and other changes do not wait.
  suspects = true;
  TimePoint now = kStart + 10s;
  CHECK(coalescer.offer(now, member_event(EventType::kMemberFailed, "c")).events.empty());
  while (now < kStart + 13s) {
    now = coalescer.next_deadline();
    CHECK(coalescer.advance(now).events.size() == (now < kStart + 13s ? 0 : 1));
  }
  CHECK(coalescer.offer(kStart + 20s, member_event(EventType::kMemberJoin, "d")).events.empty());
  CHECK(coalescer.advance(kStart + 20300ms).events.size() == 1);
}

TEST_CASE("the first user event of a quiet name is delivered at once") {
  UserCoalescer coalescer(kUserWindow);
  CHECK(ids(coalescer.offer(kStart, user_event("x", 5))) == std::vector<std::string>{"x5"});
  CHECK(ids(coalescer.offer(kStart, user_event("y", 5))) == std::vector<std::string>{"y5"});
}

TEST_CASE("of the user events that follow only the newest is delivered") {
  UserCoalescer coalescer(kUserWindow);
  CHECK(coalescer.offer(kStart, user_event("x", 5)).events.size() == 1);
  CHECK(coalescer.offer(kStart + 100ms, user_event("x", 6)).events.empty());
  const Coalesced replaced = coalescer.offer(kStart + 200ms, user_event("x", 9));
  REQUIRE(replaced.superseded.size() == 1);
  CHECK(replaced.superseded[0].id == "x6");
  const Coalesced late = coalescer.offer(kStart + 300ms, user_event("x", 7));
  REQUIRE(late.superseded.size() == 1);
  CHECK(late.superseded[0].id == "x7");
  CHECK(coalescer.next_deadline() == kStart + 1300ms);
  CHECK(coalescer.advance(kStart + 1299ms).events.empty());
  CHECK(ids(coalescer.advance(kStart + 1300ms)) == std::vector<std::string>{"x9"});
}

TEST_CASE("an older user event than the delivered one is dropped") {
  UserCoalescer coalescer(kUserWindow);
  CHECK(coalescer.offer(kStart, user_event("x", 5)).events.size() == 1);
  CHECK(coalescer.offer(kStart + 10ms, user_event("x", 4)).superseded.size() == 1);
  CHECK(coalescer.advance(kStart + 1h).events.empty());
}

TEST_CASE("user events of equal time are all delivered") {
  UserCoalescer coalescer(kUserWindow);
  CHECK(coalescer.offer(kStart, user_event("x", 5, "first")).events.size() == 1);
  CHECK(coalescer.offer(kStart, user_event("x", 6, "second")).events.empty());
  CHECK(coalescer.offer(kStart, user_event("x", 6, "third")).events.empty());
  CHECK(ids(coalescer.advance(kStart + 1s)) == std::vector<std::string>{"second", "third"});
}

TEST_CASE("a lasting storm of one name is delivered once in the longest time") {
  UserCoalescer coalescer(kUserWindow);
  size_t delivered = 0;
  uint64_t ltime = 0;
  for (TimePoint now = kStart; now < kStart + 30s; now += 10ms) {
    delivered += coalescer.offer(now, user_event("x", ++ltime)).events.size();
  }
  CHECK(delivered == 10);  // at 0 s, 3 s, ..., 27 s
  CHECK(ids(coalescer.advance(kStart + 60s)) ==
        std::vector<std::string>{"x" + std::to_string(ltime)});
}

TEST_CASE("a name that has been quiet again starts afresh") {
  UserCoalescer coalescer(kUserWindow);
  CHECK(coalescer.offer(kStart, user_event("x", 50)).events.size() == 1);
  CHECK(coalescer.advance(coalescer.next_deadline()).events.empty());
  CHECK(coalescer.next_deadline() == kNever);
  // Even one that is older: nothing newer is waiting for the handler.
  CHECK(coalescer.offer(kStart + 5s, user_event("x", 40)).events.size() == 1);
}

TEST_CASE("the number of names is bounded and further ones pass") {
  UserCoalescer coalescer(kUserWindow);
  for (size_t i = 0; i < UserCoalescer::kMaxNames; ++i) {
    CHECK(coalescer.offer(kStart, user_event("n" + std::to_string(i), 1)).events.size() == 1);
  }
  CHECK(coalescer.offer(kStart, user_event("more", 1)).events.size() == 1);
  CHECK(coalescer.offer(kStart, user_event("more", 2)).events.size() == 1);
  CHECK(coalescer.offer(kStart, user_event("n0", 2)).events.empty());
}

TEST_CASE("waiting user events are bounded in number and bytes") {
  UserCoalescer coalescer(kUserWindow);
  CHECK(coalescer.offer(kStart, user_event("x", 1)).events.size() == 1);
  for (size_t i = 0; i < UserCoalescer::kMaxEqual; ++i) {
    CHECK(coalescer.offer(kStart, user_event("x", 1)).events.empty());
  }
  CHECK(coalescer.offer(kStart, user_event("x", 1)).events.size() == UserCoalescer::kMaxEqual + 1);
  Event big = user_event("x", 2);
  big.payload.resize(UserCoalescer::kMaxBytes);
  CHECK(coalescer.offer(kStart, big).events.size() == 1);
}
