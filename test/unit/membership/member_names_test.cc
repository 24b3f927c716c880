// SPDX-License-Identifier: Apache-2.0
//
// Two members claim one name: who has it, who is told what, and who comes back to it.
#include "membership/swim/members.h"

#include <algorithm>

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::at;
using test::member_record;
using test::node_id;
using test::Parts;

namespace {

/// Member 77, which claims the name of member 3.
proto::MemberRecord newcomer(uint32_t counter, proto::MemberStatus status = proto::MEMBER_ALIVE) {
  return member_record(77, Incarnation::at(2, counter), status, "node3");
}

}  // namespace

TEST_CASE("a newcomer gets a name that another holds when that one is found gone") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  CHECK(parts.table.find_name("node3")->id() == node_id(3));
  CHECK(parts.table.find(node_id(77))->displaced);
  CHECK(parts.take<MemberEvent>().empty());  // it is early for that
  parts.accuse(3, {0, 1, 2, 4});
  parts.listen_for(4s);
  CHECK(parts.table.find_name("node3")->id() == node_id(77));
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 2);
  const bool failed_first = events[0].change == MemberChange::kFailed;
  const MemberEvent& joined = events[failed_first ? 1 : 0];
  CHECK(events[failed_first ? 0 : 1].member.id == node_id(3));
  CHECK(joined.change == MemberChange::kJoin);
  CHECK(joined.member.name == "node3");
  CHECK(joined.member.id == node_id(77));
}

TEST_CASE("who claims the name of a live member is shown under another and reported") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 1);
  const auto joined = parts.take<MemberEvent>();
  REQUIRE(joined.size() == 1);
  CHECK(joined[0].change == MemberChange::kJoin);
  CHECK(joined[0].member.name == "node3#4d000000");
  // The holder's failure does not give it the name, its leave does.
  parts.accuse(3, {0, 1, 2, 4});
  parts.listen_for(4s);
  REQUIRE(parts.status_of(3) == Status::kFailed);
  CHECK(parts.table.find_name("node3")->id() == node_id(3));
  REQUIRE(parts.members.force_leave("node3", false).has_value());
  CHECK(parts.table.find_name("node3")->id() == node_id(77));
}

TEST_CASE("whoever joins is told who holds a name") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.run_for(Members::kConflictPatience);
  const bool thief_first = GENERATE(true, false);
  Parts stranger;
  for (const uint32_t number : {thief_first ? 77U : 3U, thief_first ? 3U : 77U}) {
    for (const proto::Record& record : parts.members.introduce(node_id(number))) {
      stranger.members.apply(record, Heard::kJoining);
    }
  }
  CHECK(stranger.table.find_name("node3")->id() == node_id(3));
  CHECK(stranger.table.find(node_id(77))->display_name() == "node3#4d000000");
}

TEST_CASE("who joins under a name that is held leaves it to its holder") {
  Parts parts;
  const proto::MemberRecord holder =
      member_record(3, Incarnation::at(1, 0), proto::MEMBER_ALIVE, "node0");
  parts.members.apply(holder, Heard::kJoining);
  CHECK(parts.members.self().name == "node0#00000000");
  CHECK(parts.table.find_name("node0")->id() == node_id(3));
  parts.members.apply(member_record(3, Incarnation::at(1, 1), proto::MEMBER_LEFT), Heard::kSynced);
}

TEST_CASE("the later boot holds a contested name whatever the order of arrival") {
  const bool later_first = GENERATE(true, false);
  Parts parts;
  const proto::MemberRecord early =
      member_record(1, Incarnation::at(5, 0), proto::MEMBER_ALIVE, "same");
  const proto::MemberRecord late =
      member_record(2, Incarnation::at(6, 0), proto::MEMBER_ALIVE, "same");
  parts.members.apply(later_first ? late : early, Heard::kSynced);
  parts.members.apply(later_first ? early : late, Heard::kSynced);
  CHECK(parts.table.find_name("same")->id() == node_id(2));
  CHECK(parts.table.find_name(parts.table.find(node_id(1))->display_name())->id() == node_id(1));
}

TEST_CASE("who went quietly under a name that another holds joins no second time") {
  Parts parts;
  parts.meet(5);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.take<MemberEvent>();
  parts.members.apply(member_record(3, at(5), proto::MEMBER_LEFT), Heard::kSynced);
  CHECK(parts.status_of(3) == Status::kLeft);
  CHECK(parts.take<MemberEvent>().empty());
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  CHECK(parts.status_of(3) == Status::kAlive);
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].change == MemberChange::kUpdate);
}

TEST_CASE("a newcomer that dies before it has its name has failed, and has not left") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.take<MemberEvent>();
  parts.accuse(77, {0, 1, 2, 4});
  parts.listen_for(4s);
  // Others may show it under the name already: to those a word of leaving would be news of its own.
  CHECK(parts.status_of(77) == Status::kFailed);
  CHECK(parts.take<MemberEvent>().empty());
  REQUIRE(parts.members.introduce(node_id(77)).size() == 1);
  proto::MemberRecord told;
  REQUIRE(told.ParseFromString(parts.members.introduce(node_id(77))[0].payload()));
  CHECK(told.status() == proto::MEMBER_FAILED);
}

TEST_CASE("who went before it had its name joins once when it is back") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.members.apply(newcomer(1, proto::MEMBER_LEFT), Heard::kSynced);
  parts.accuse(3, {0, 1, 2, 4});
  parts.listen_for(4s);
  REQUIRE(parts.table.find(node_id(3))->status == Status::kFailed);
  parts.take<MemberEvent>();
  parts.members.apply(newcomer(2), Heard::kSynced);
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].change == MemberChange::kJoin);
  CHECK(events[0].member.name == "node3");
}

TEST_CASE("who comes back under a name that another has meanwhile is reported") {
  Parts parts;
  parts.meet(5);
  parts.members.apply(newcomer(0), Heard::kSynced);
  REQUIRE(parts.table.find(node_id(3))->displaced);
  parts.members.apply(member_record(3, at(5), proto::MEMBER_LEFT), Heard::kSynced);
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 0);
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 1);
  CHECK(parts.table.find(node_id(3))->contested);
}

TEST_CASE("who had failed and comes back under a name that another has meanwhile joins again") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  parts.accuse(3, {0, 1, 2, 4});
  parts.listen_for(4s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  REQUIRE(parts.table.find(node_id(3))->displaced);
  parts.take<MemberEvent>();
  // To users it has failed, and it waits for the name.
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  CHECK(parts.take<MemberEvent>().empty());
  const bool gets_it = GENERATE(true, false);
  if (gets_it) {
    parts.members.apply(newcomer(1, proto::MEMBER_LEFT), Heard::kSynced);
  } else {
    parts.run_for(Members::kConflictPatience);
  }
  const auto events = parts.take<MemberEvent>();
  const auto about_it = std::ranges::find_if(
      events, [](const MemberEvent& event) { return event.member.id == node_id(3); });
  REQUIRE(about_it != events.end());
  CHECK(about_it->change == MemberChange::kJoin);
}

TEST_CASE("who hears others badly declares no conflict of names") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.health.worsen();
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 0);
  // That the holder was gone long ago is heard late.
  parts.accuse(3, {0, 1, 2, 4});
  parts.listen_for(4s);
  CHECK(parts.table.find_name("node3")->id() == node_id(77));
}
