// SPDX-License-Identifier: Apache-2.0
//
// Who has gone and comes back, where two members claim one name.
#include "membership/swim/members.h"

#include <algorithm>

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::member_record;
using test::node_id;
using test::Parts;

namespace {

constexpr Incarnation kOthers = Incarnation::at(1, 5);

/// Five others: node1 to node5.
void fill(Parts& parts) {
  for (uint32_t i = 1; i <= 5; ++i) parts.members.apply(member_record(i, kOthers), Heard::kSynced);
  parts.take<MemberEvent>();
}

/// Member 77, which claims the name of member 3.
proto::MemberRecord newcomer(uint32_t counter, proto::MemberStatus status = proto::MEMBER_ALIVE) {
  proto::MemberRecord record = member_record(77, Incarnation::at(2, counter), status);
  record.set_name("node3");
  starling::test::sign_as_owner(record);
  return record;
}

}  // namespace

TEST_CASE("who went before it had its name joins once when it is back") {
  Parts parts;
  fill(parts);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.members.apply(newcomer(1, proto::MEMBER_LEFT), Heard::kSynced);
  parts.members.accuse(node_id(3), kOthers,
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  for (int i = 0; i < 40; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
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
  fill(parts);
  parts.members.apply(newcomer(0), Heard::kSynced);
  REQUIRE(parts.table.find(node_id(3))->displaced);
  parts.members.apply(member_record(3, kOthers, proto::MEMBER_LEFT), Heard::kSynced);
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 0);
  parts.members.apply(member_record(3, Incarnation::at(1, 6)), Heard::kSynced);
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 1);
  CHECK(parts.table.find(node_id(3))->contested);
}

TEST_CASE("who had failed and comes back under a name that another has meanwhile joins again") {
  Parts parts;
  fill(parts);
  parts.run_for(3s);
  parts.members.accuse(node_id(3), kOthers,
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  for (int i = 0; i < 40; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  parts.members.apply(newcomer(0), Heard::kSynced);
  REQUIRE(parts.table.find(node_id(3))->displaced);
  parts.take<MemberEvent>();
  // To users it has failed, and it waits for the name.
  parts.members.apply(member_record(3, Incarnation::at(1, 6)), Heard::kSynced);
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
  fill(parts);
  parts.run_for(3s);
  parts.members.apply(newcomer(0), Heard::kSynced);
  parts.health.worsen();
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 0);
  // That the holder was gone long ago is heard late.
  parts.members.accuse(node_id(3), kOthers,
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  for (int i = 0; i < 40; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(parts.table.find_name("node3")->id() == node_id(77));
}
