// SPDX-License-Identifier: Apache-2.0
//
// From the first accusation to a refutation or a failure: who must say what, and how long it takes.
#include "membership/swim/members.h"

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::accusation;
using test::at;
using test::member_record;
using test::node_id;
using test::Parts;

TEST_CASE("failed heard from others leaves the member its time to refute") {
  Parts parts;
  parts.meet(9);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {1, 2, 4, 5}), Heard::kSynced);
  parts.listen_for(2900ms);
  CHECK(parts.status_of(3) == Status::kSuspect);
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  parts.run_for(1s);
  CHECK(parts.status_of(3) == Status::kAlive);
  CHECK(parts.take<MemberEvent>().empty());
}

TEST_CASE("an unconfirmed suspicion never becomes a failure") {
  Parts parts;
  parts.meet(9);
  std::vector<NodeId> asked;
  parts.members.probe_soon = [&](const NodeId& id) { asked.push_back(id); };
  parts.accuse(3, {0});
  parts.listen_for(60s);
  CHECK(parts.status_of(3) == Status::kSuspect);
  CHECK(asked.size() > 3);  // it asks again instead
  parts.accuse(3, {4, 5, 6});
  parts.listen_for(5s);
  CHECK(parts.status_of(3) == Status::kFailed);
}

TEST_CASE("the time to refute begins when a second member cannot reach the suspect") {
  Parts parts;
  parts.meet(9);
  parts.accuse(3, {0});
  parts.listen_for(2500ms);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {0, 1, 2, 4}), Heard::kSynced);
  parts.listen_for(2900ms);
  CHECK(parts.status_of(3) == Status::kSuspect);
  // Further ones do not begin it anew.
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {5, 6}), Heard::kSynced);
  parts.listen_for(800ms);
  CHECK(parts.status_of(3) == Status::kFailed);
}

TEST_CASE("a node that hears nobody declares nobody failed") {
  Parts parts;
  parts.meet(9);
  parts.members.heard_from(node_id(1));
  parts.accuse(3, {0, 1, 2, 4});
  parts.run_for(60s);
  CHECK(parts.status_of(3) == Status::kSuspect);
  // The silence is not held against the suspect when packets come again.
  parts.members.heard_from(node_id(1));
  parts.run_for(2900ms);
  CHECK(parts.status_of(3) == Status::kSuspect);
}

TEST_CASE("two members alone need no confirmation") {
  Parts parts;
  parts.meet(1);
  parts.accuse(1, {0});
  parts.run_for(4s);
  CHECK(parts.status_of(1) == Status::kFailed);
}

TEST_CASE("an accusation of this node is refuted with a higher incarnation once") {
  Parts parts;
  parts.meet(3);
  const Incarnation before = parts.members.incarnation();
  parts.members.apply(accusation(0, before, proto::MEMBER_SUSPECT, {1}), Heard::kSynced);
  const Incarnation after = parts.members.incarnation();
  CHECK(after > before);
  parts.members.apply(accusation(0, before, proto::MEMBER_SUSPECT, {2}), Heard::kSynced);
  CHECK(parts.members.incarnation() == after);
  CHECK(parts.context.statistics.refutations == 1);
  CHECK(parts.health.score() == 1);
  // Nobody believes what is said of a version that we never were.
  parts.members.apply(accusation(0, Incarnation::at(9, 9), proto::MEMBER_FAILED, {2}),
                      Heard::kSynced);
  CHECK(parts.members.incarnation() == after);
  // But an earlier process of ours may have been there.
  parts.members.apply(member_record(0, Incarnation::at(9, 9)), Heard::kSynced);
  CHECK(parts.members.incarnation() > Incarnation::at(9, 9));
}

TEST_CASE("a stranger is introduced to a suspect with its description and what is said of it") {
  Parts parts;
  parts.meet(9);
  parts.accuse(3, {0, 4});
  Parts stranger;
  for (const proto::Record& record : parts.members.introduce(node_id(3))) {
    CHECK(stranger.members.apply(record, Heard::kJoining) == Verdict::kFresh);
  }
  REQUIRE(stranger.table.find(node_id(3)) != nullptr);
  CHECK(stranger.status_of(3) == Status::kSuspect);
  CHECK(stranger.table.fingerprint() ==
        MemberTable::fingerprint_of(node_id(3), at(5)));  // as everybody else counts it
  CHECK(parts.members.introduce(node_id(4)).size() == 1);
  CHECK(parts.members.introduce(node_id(0)).size() == 1);
  CHECK(parts.members.introduce(node_id(99)).empty());
}

TEST_CASE("the last of few waits less long than the last of many") {
  const uint32_t others = GENERATE(6U, 7U);
  Parts parts;
  parts.meet(others);
  parts.members.heard_from(node_id(1));
  for (uint32_t i = 1; i <= others; ++i) {
    parts.accuse(i, {0});
  }
  parts.run_for(29s);
  CHECK(parts.table.up_count() == others);
  parts.run_for(4s);
  CHECK(parts.table.up_count() == (others == 6 ? 0 : others));
  parts.run_for(10min);
  CHECK(parts.table.up_count() == 0);
}

TEST_CASE("a pause does not make a member believe that it is alone") {
  Parts parts;
  parts.meet(5);
  parts.accuse(3, {0});
  parts.listen_for(29900ms);
  parts.context.now += 40s;
  parts.members.forgive(40s);
  parts.run_for(5s);
  CHECK(parts.status_of(3) == Status::kSuspect);
  parts.run_for(30s);
  CHECK(parts.status_of(3) == Status::kFailed);
}

TEST_CASE("who is declared failed elsewhere is told so by whoever did not suspect it") {
  Parts parts;
  parts.meet(9);
  std::vector<NodeId> told;
  parts.members.tell_accused = [&](const NodeId& id) { told.push_back(id); };
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {1}), Heard::kSynced);
  CHECK(told.empty());  // its accuser tells it
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {1, 2}), Heard::kSynced);
  CHECK(told.empty());
  parts.members.apply(accusation(4, at(5), proto::MEMBER_FAILED, {1, 2}), Heard::kSynced);
  CHECK(told == std::vector<NodeId>{node_id(4)});
}

TEST_CASE("an accuser tells the suspect once more before it declares it failed") {
  Parts parts;
  parts.meet(9);
  std::vector<NodeId> told;
  parts.members.tell_accused = [&](const NodeId& id) { told.push_back(id); };
  parts.members.heard_from(node_id(1));
  parts.accuse(3, {0, 1, 2, 4});
  parts.listen_for(2400ms);
  CHECK(told.empty());
  parts.members.heard_from(node_id(1));
  parts.run_for(200ms);
  CHECK(told == std::vector<NodeId>{node_id(3)});
  CHECK(parts.status_of(3) == Status::kSuspect);
}

TEST_CASE("an old suspicion does not become a failure by hearsay without a word to the suspect") {
  Parts parts;
  parts.meet(9);
  std::vector<NodeId> told;
  parts.members.tell_accused = [&](const NodeId& id) { told.push_back(id); };
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {1, 2}), Heard::kSynced);
  parts.listen_for(4s);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {}), Heard::kSynced);
  CHECK(told == std::vector<NodeId>{node_id(3)});
  parts.run_for(400ms);
  CHECK(parts.status_of(3) == Status::kSuspect);
  parts.run_for(200ms);
  CHECK(parts.status_of(3) == Status::kFailed);
}

TEST_CASE("failed without the evidence is probed before it is believed") {
  Parts parts;
  parts.meet(9);
  std::vector<NodeId> asked;
  parts.members.probe_soon = [&](const NodeId& id) { asked.push_back(id); };
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {}), Heard::kSynced);
  parts.listen_for(10s);
  CHECK(parts.status_of(3) == Status::kSuspect);
  CHECK(asked.size() > 3);
  parts.accuse(3, {0});
  parts.members.heard_from(node_id(1));
  parts.run_for(100ms);
  CHECK(parts.status_of(3) == Status::kFailed);
}

TEST_CASE("nobody counts as an accuser of itself") {
  Parts parts;
  parts.meet(9);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {3, 4}), Heard::kSynced);
  const proto::MemberRecord shown = parts.members.describe(*parts.table.find(node_id(3)));
  REQUIRE(shown.accusers_size() == 1);
  CHECK(shown.accusers(0) == node_id(4).wire());
}

TEST_CASE("only a version above the accused one clears a suspicion") {
  Parts parts;
  parts.meet(9);
  parts.members.apply(member_record(3, at(7)), Heard::kSynced);
  parts.members.apply(accusation(3, at(7), proto::MEMBER_SUSPECT, {4}), Heard::kSynced);
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  CHECK(parts.status_of(3) == Status::kSuspect);
  parts.members.apply(member_record(3, at(7)), Heard::kSynced);
  CHECK(parts.status_of(3) == Status::kSuspect);
  parts.members.apply(member_record(3, at(8)), Heard::kSynced);
  CHECK(parts.status_of(3) == Status::kAlive);
}

TEST_CASE("who could not reach a suspect for another declares it in its turn") {
  const bool tried = GENERATE(true, false);
  Parts parts;
  parts.meet(9);
  if (tried) parts.members.unreached(node_id(3));
  // That others count us among the accusers is no reason to do as an accuser does.
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {0, 1, 2, 4}), Heard::kSynced);
  const Duration turns = 4 * parts.context.options.round_trip_max;
  parts.listen_for(parts.context.options.suspicion_min + turns);
  CHECK(parts.status_of(3) == (tried ? Status::kFailed : Status::kSuspect));
}

TEST_CASE("who has been heard of since is not held to have been unreachable") {
  Parts parts;
  parts.meet(9);
  parts.members.unreached(node_id(3));
  parts.members.heard_from(node_id(3));
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {0, 1, 2, 4}), Heard::kSynced);
  parts.listen_for(3800ms);
  CHECK(parts.status_of(3) == Status::kSuspect);
}
