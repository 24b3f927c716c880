// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/members.h"

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::member_record;
using test::node_id;
using test::Parts;

namespace {

constexpr Incarnation at(uint32_t counter) {
  return Incarnation::at(1, counter);
}

/// A cluster of `count` others, all alive at incarnation 1.5.
void fill(Parts& parts, uint32_t count) {
  for (uint32_t i = 1; i <= count; ++i)
    parts.members.apply(member_record(i, at(5)), Heard::kSynced);
  parts.take<MemberEvent>();
}

proto::MemberRecord accusation(uint32_t about, Incarnation incarnation, proto::MemberStatus status,
                               const std::vector<uint32_t>& accusers) {
  proto::MemberRecord record;
  record.set_id(std::string(node_id(about).wire()));
  record.set_incarnation(incarnation.value);
  record.set_status(status);
  for (const uint32_t accuser : accusers) record.add_accusers(std::string(node_id(accuser).wire()));
  return record;
}

Status status_of(Parts& parts, uint32_t number) {
  return parts.table.find(node_id(number))->status;
}

}  // namespace

TEST_CASE("SWIM precedence: incarnation first then status") {
  struct Row {
    proto::MemberStatus status;
    uint32_t counter;
    Status expected;
  };
  // What a member alive at counter 5 becomes on hearing of it.
  const Row row = GENERATE(
      Row{proto::MEMBER_ALIVE, 4, Status::kAlive}, Row{proto::MEMBER_ALIVE, 6, Status::kAlive},
      Row{proto::MEMBER_SUSPECT, 4, Status::kAlive},
      Row{proto::MEMBER_SUSPECT, 5, Status::kSuspect},
      // With the member's own word for it that it has got so far.
      Row{proto::MEMBER_SUSPECT, 6, Status::kSuspect}, Row{proto::MEMBER_FAILED, 4, Status::kAlive},
      // Heard from others it is a confirmed suspicion; not a death.
      Row{proto::MEMBER_FAILED, 5, Status::kSuspect}, Row{proto::MEMBER_LEFT, 4, Status::kAlive},
      Row{proto::MEMBER_LEFT, 5, Status::kLeft}, Row{proto::MEMBER_LEFT, 6, Status::kLeft});
  CAPTURE(static_cast<int>(row.status), row.counter);
  Parts parts;
  fill(parts, 9);
  parts.members.heard_from(node_id(1));
  parts.members.apply(member_record(3, at(row.counter), row.status), Heard::kSynced);
  CHECK(status_of(parts, 3) == row.expected);
}

TEST_CASE("a failed member comes back only with a higher incarnation") {
  Parts parts;
  fill(parts, 9);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {1, 2, 4, 5}), Heard::kSynced);
  for (int i = 0; i < 50; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  REQUIRE(status_of(parts, 3) == Status::kFailed);
  CHECK(parts.members.apply(member_record(3, at(5)), Heard::kSynced) == Verdict::kKnown);
  CHECK(status_of(parts, 3) == Status::kFailed);
  parts.take<MemberEvent>();
  CHECK(parts.members.apply(member_record(3, at(6)), Heard::kSynced) == Verdict::kFresh);
  CHECK(status_of(parts, 3) == Status::kAlive);
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].change == MemberChange::kJoin);
}

TEST_CASE("failed heard from others leaves the member its time to refute") {
  Parts parts;
  fill(parts, 9);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {1, 2, 4, 5}), Heard::kSynced);
  for (int i = 0; i < 29; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(status_of(parts, 3) == Status::kSuspect);
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  parts.run_for(1s);
  CHECK(status_of(parts, 3) == Status::kAlive);
  CHECK(parts.take<MemberEvent>().empty());
}

TEST_CASE("an unconfirmed suspicion never becomes a failure") {
  Parts parts;
  fill(parts, 9);
  std::vector<NodeId> asked;
  parts.members.probe_soon = [&](const NodeId& id) { asked.push_back(id); };
  parts.members.accuse(node_id(3), at(5), {{node_id(0)}, false, false, false});
  for (int i = 0; i < 600; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(status_of(parts, 3) == Status::kSuspect);
  CHECK(asked.size() > 3);  // it asks again instead
  parts.members.accuse(node_id(3), at(5),
                       {{node_id(4), node_id(5), node_id(6)}, false, false, false});
  for (int i = 0; i < 50; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(status_of(parts, 3) == Status::kFailed);
}

TEST_CASE("the time to refute begins when a second member cannot reach the suspect") {
  Parts parts;
  fill(parts, 9);
  parts.members.accuse(node_id(3), at(5), {{node_id(0)}, false, false, false});
  const auto listen = [&](int tenths) {
    for (int i = 0; i < tenths; ++i) {
      parts.members.heard_from(node_id(1));
      parts.run_for(100ms);
    }
  };
  listen(25);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {0, 1, 2, 4}), Heard::kSynced);
  listen(29);
  CHECK(status_of(parts, 3) == Status::kSuspect);
  // Further ones do not begin it anew.
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {5, 6}), Heard::kSynced);
  listen(8);
  CHECK(status_of(parts, 3) == Status::kFailed);
}

TEST_CASE("a node that hears nobody declares nobody failed") {
  Parts parts;
  fill(parts, 9);
  parts.members.heard_from(node_id(1));
  parts.members.accuse(node_id(3), at(5),
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  parts.run_for(60s);
  CHECK(status_of(parts, 3) == Status::kSuspect);
  // The silence is not held against the suspect when packets come again.
  parts.members.heard_from(node_id(1));
  parts.run_for(2900ms);
  CHECK(status_of(parts, 3) == Status::kSuspect);
}

TEST_CASE("two members alone need no confirmation") {
  Parts parts;
  fill(parts, 1);
  parts.members.accuse(node_id(1), at(5), {{node_id(0)}, false, false, false});
  parts.run_for(4s);
  CHECK(status_of(parts, 1) == Status::kFailed);
}

TEST_CASE("an accusation of this node is refuted with a higher incarnation once") {
  Parts parts;
  fill(parts, 3);
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

TEST_CASE("a newcomer gets a name that another holds when that one is found gone") {
  Parts parts;
  fill(parts, 5);
  parts.run_for(3s);
  proto::MemberRecord newcomer = member_record(77, Incarnation::at(2, 0));
  newcomer.set_name("node3");
  starling::test::sign_as_owner(newcomer);
  parts.members.apply(newcomer, Heard::kSynced);
  CHECK(parts.table.find_name("node3")->id() == node_id(3));
  CHECK(parts.table.find(node_id(77))->displaced);
  CHECK(parts.take<MemberEvent>().empty());  // it is early for that
  parts.members.accuse(node_id(3), at(5),
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  for (int i = 0; i < 40; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
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
  fill(parts, 5);
  parts.run_for(3s);
  proto::MemberRecord newcomer = member_record(77, Incarnation::at(2, 0));
  newcomer.set_name("node3");
  starling::test::sign_as_owner(newcomer);
  parts.members.apply(newcomer, Heard::kSynced);
  parts.run_for(Members::kConflictPatience);
  CHECK(parts.context.statistics.member_conflicts == 1);
  const auto joined = parts.take<MemberEvent>();
  REQUIRE(joined.size() == 1);
  CHECK(joined[0].change == MemberChange::kJoin);
  CHECK(joined[0].member.name == "node3#4d000000");
  // The holder's failure does not give it the name, its leave does.
  parts.members.accuse(node_id(3), at(5),
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  for (int i = 0; i < 40; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  REQUIRE(status_of(parts, 3) == Status::kFailed);
  CHECK(parts.table.find_name("node3")->id() == node_id(3));
  REQUIRE(parts.members.force_leave("node3", false).has_value());
  CHECK(parts.table.find_name("node3")->id() == node_id(77));
}

TEST_CASE("whoever joins is told who holds a name") {
  Parts parts;
  fill(parts, 5);
  parts.run_for(3s);
  proto::MemberRecord thief = member_record(77, Incarnation::at(2, 0));
  thief.set_name("node3");
  starling::test::sign_as_owner(thief);
  parts.members.apply(thief, Heard::kSynced);
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
  proto::MemberRecord holder = member_record(3, Incarnation::at(1, 0));
  holder.set_name("node0");
  starling::test::sign_as_owner(holder);
  parts.members.apply(holder, Heard::kJoining);
  CHECK(parts.members.self().name == "node0#00000000");
  CHECK(parts.table.find_name("node0")->id() == node_id(3));
  parts.members.apply(member_record(3, Incarnation::at(1, 1), proto::MEMBER_LEFT), Heard::kSynced);
}

TEST_CASE("the later boot holds a contested name whatever the order of arrival") {
  const bool later_first = GENERATE(true, false);
  Parts parts;
  proto::MemberRecord early = member_record(1, Incarnation::at(5, 0));
  proto::MemberRecord late = member_record(2, Incarnation::at(6, 0));
  early.set_name("same");
  late.set_name("same");
  starling::test::sign_as_owner(early);
  starling::test::sign_as_owner(late);
  parts.members.apply(later_first ? late : early, Heard::kSynced);
  parts.members.apply(later_first ? early : late, Heard::kSynced);
  CHECK(parts.table.find_name("same")->id() == node_id(2));
  CHECK(parts.table.find_name(parts.table.find(node_id(1))->display_name())->id() == node_id(1));
}

TEST_CASE("a newcomer at a known address lets the one that was there before be looked at") {
  Parts parts;
  fill(parts, 5);
  parts.run_for(3s);
  std::vector<NodeId> probed;
  parts.members.probe_soon = [&](const NodeId& id) { probed.push_back(id); };
  proto::MemberRecord newcomer = member_record(3, Incarnation::at(2, 0));
  newcomer.set_id(std::string(node_id(88).wire()));
  starling::test::sign_as_owner(newcomer);
  parts.members.apply(newcomer, Heard::kSynced);
  CHECK(status_of(parts, 3) == Status::kAlive);
  CHECK(parts.table.find_name("node3")->id() == node_id(3));
  CHECK(std::count(probed.begin(), probed.end(), node_id(3)) > 0);
  CHECK(std::count(probed.begin(), probed.end(), node_id(88)) > 0);
}

TEST_CASE("who claims this node's own address is known not to be there") {
  Parts parts;
  fill(parts, 5);
  proto::MemberRecord liar = member_record(88, Incarnation::at(2, 0));
  liar.set_address(test::address_of(0).wire_ip());
  starling::test::sign_as_owner(liar);
  parts.members.apply(liar, Heard::kSynced);
  CHECK(status_of(parts, 88) == Status::kSuspect);
}

TEST_CASE("who went quietly under a name that another holds joins no second time") {
  Parts parts;
  fill(parts, 5);
  proto::MemberRecord newcomer = member_record(77, Incarnation::at(2, 0));
  newcomer.set_name("node3");
  starling::test::sign_as_owner(newcomer);
  parts.members.apply(newcomer, Heard::kSynced);
  parts.take<MemberEvent>();
  parts.members.apply(member_record(3, at(5), proto::MEMBER_LEFT), Heard::kSynced);
  CHECK(status_of(parts, 3) == Status::kLeft);
  CHECK(parts.take<MemberEvent>().empty());
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  CHECK(status_of(parts, 3) == Status::kAlive);
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].change == MemberChange::kUpdate);
}

TEST_CASE("a newcomer that dies before it has its name has failed, and has not left") {
  Parts parts;
  fill(parts, 5);
  parts.run_for(3s);
  proto::MemberRecord newcomer = member_record(77, Incarnation::at(2, 0));
  newcomer.set_name("node3");
  starling::test::sign_as_owner(newcomer);
  parts.members.apply(newcomer, Heard::kSynced);
  parts.take<MemberEvent>();
  parts.members.accuse(node_id(77), Incarnation::at(2, 0),
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  for (int i = 0; i < 40; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  // Others may show it under the name already: to those a word of leaving would be news of its own.
  CHECK(status_of(parts, 77) == Status::kFailed);
  CHECK(parts.take<MemberEvent>().empty());
  REQUIRE(parts.members.introduce(node_id(77)).size() == 1);
  proto::MemberRecord told;
  REQUIRE(told.ParseFromString(parts.members.introduce(node_id(77))[0].payload()));
  CHECK(told.status() == proto::MEMBER_FAILED);
}

TEST_CASE("a stranger is introduced to a suspect with its description and what is said of it") {
  Parts parts;
  fill(parts, 9);
  parts.members.accuse(node_id(3), at(5), {{node_id(0), node_id(4)}, false, false, false});
  Parts stranger;
  for (const proto::Record& record : parts.members.introduce(node_id(3))) {
    CHECK(stranger.members.apply(record, Heard::kJoining) == Verdict::kFresh);
  }
  REQUIRE(stranger.table.find(node_id(3)) != nullptr);
  CHECK(status_of(stranger, 3) == Status::kSuspect);
  CHECK(stranger.table.fingerprint() ==
        MemberTable::fingerprint_of(node_id(3), at(5)));  // as everybody else counts it
  CHECK(parts.members.introduce(node_id(4)).size() == 1);
  CHECK(parts.members.introduce(node_id(0)).size() == 1);
  CHECK(parts.members.introduce(node_id(99)).empty());
}

TEST_CASE("the last of few waits less long than the last of many") {
  const uint32_t others = GENERATE(6U, 7U);
  Parts parts;
  fill(parts, others);
  parts.members.heard_from(node_id(1));
  for (uint32_t i = 1; i <= others; ++i) {
    parts.members.accuse(node_id(i), at(5), {{node_id(0)}, false, false, false});
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
  fill(parts, 5);
  parts.members.accuse(node_id(3), at(5), {{node_id(0)}, false, false, false});
  for (int i = 0; i < 299; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  parts.context.now += 40s;
  parts.members.forgive(40s);
  parts.run_for(5s);
  CHECK(status_of(parts, 3) == Status::kSuspect);
  parts.run_for(30s);
  CHECK(status_of(parts, 3) == Status::kFailed);
}

TEST_CASE("force-leave turns failed into left and an alive member refutes") {
  Parts parts;
  fill(parts, 3);
  parts.members.accuse(node_id(1), at(5), {{node_id(0), node_id(2)}, true, false, false});
  parts.members.heard_from(node_id(1));
  parts.run_for(1s);
  REQUIRE(status_of(parts, 1) == Status::kFailed);
  CHECK(parts.members.force_leave("node1", false).has_value());
  CHECK(status_of(parts, 1) == Status::kLeft);
  CHECK(parts.members.force_leave("node2", false).has_value());
  CHECK(parts.table.find(node_id(2))->leaving);
  CHECK(parts.members.apply(member_record(2, at(6)), Heard::kSynced) == Verdict::kFresh);
  CHECK_FALSE(parts.table.find(node_id(2))->leaving);
  CHECK_FALSE(parts.members.force_leave("nobody", false).has_value());
  CHECK(parts.members.force_leave("node1", true).has_value());
  CHECK(parts.table.find(node_id(1)) == nullptr);
}

TEST_CASE("gone members are reaped after their time") {
  Parts parts;
  fill(parts, 3);
  parts.members.apply(member_record(1, at(6), proto::MEMBER_LEFT), Heard::kSynced);
  parts.take<MemberEvent>();
  parts.run_for(24h - 1s);
  CHECK(parts.table.find(node_id(1)) != nullptr);
  parts.run_for(2s);
  CHECK(parts.table.find(node_id(1)) == nullptr);
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].change == MemberChange::kReap);
}

TEST_CASE("malformed descriptions change nothing") {
  Parts parts;
  fill(parts, 1);
  proto::MemberRecord record = member_record(9, at(1));
  record.set_name("a\nb");
  CHECK(parts.members.apply(record, Heard::kSynced) == Verdict::kInvalid);
  record = member_record(9, at(1));
  record.set_address("12345");
  CHECK(parts.members.apply(record, Heard::kSynced) == Verdict::kInvalid);
  record = member_record(9, at(1));
  record.set_id("short");
  CHECK(parts.members.apply(record, Heard::kSynced) == Verdict::kInvalid);
  CHECK(parts.table.size() == 1);
}

TEST_CASE("who is declared failed elsewhere is told so by whoever did not suspect it") {
  Parts parts;
  fill(parts, 9);
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
  fill(parts, 9);
  std::vector<NodeId> told;
  parts.members.tell_accused = [&](const NodeId& id) { told.push_back(id); };
  parts.members.heard_from(node_id(1));
  parts.members.accuse(node_id(3), at(5),
                       {{node_id(0), node_id(1), node_id(2), node_id(4)}, false, false, false});
  for (int i = 0; i < 24; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(told.empty());
  parts.members.heard_from(node_id(1));
  parts.run_for(200ms);
  CHECK(told == std::vector<NodeId>{node_id(3)});
  CHECK(status_of(parts, 3) == Status::kSuspect);
}

TEST_CASE("an old suspicion does not become a failure by hearsay without a word to the suspect") {
  Parts parts;
  fill(parts, 9);
  std::vector<NodeId> told;
  parts.members.tell_accused = [&](const NodeId& id) { told.push_back(id); };
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {1, 2}), Heard::kSynced);
  for (int i = 0; i < 40; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {}), Heard::kSynced);
  CHECK(told == std::vector<NodeId>{node_id(3)});
  parts.run_for(400ms);
  CHECK(status_of(parts, 3) == Status::kSuspect);
  parts.run_for(200ms);
  CHECK(status_of(parts, 3) == Status::kFailed);
}

TEST_CASE("members that were gone before we came are listed but no news") {
  Parts parts;
  parts.members.apply(member_record(1, at(5), proto::MEMBER_FAILED), Heard::kJoining);
  CHECK(status_of(parts, 1) == Status::kFailed);
  CHECK(parts.members.force_leave("node1", false).has_value());
  CHECK(status_of(parts, 1) == Status::kLeft);
  CHECK(parts.take<MemberEvent>().empty());
  parts.members.apply(member_record(1, at(6)), Heard::kSynced);
  parts.members.apply(member_record(1, at(7), proto::MEMBER_LEFT), Heard::kSynced);
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 2);
  CHECK(events[0].change == MemberChange::kJoin);
  CHECK(events[1].change == MemberChange::kLeave);
}

TEST_CASE("a failed member that is old enough elsewhere is not taken over to be kept anew") {
  Parts parts;
  proto::MemberRecord record = member_record(1, at(5), proto::MEMBER_FAILED);
  record.set_age_s(23 * 3600);
  parts.members.apply(record, Heard::kJoining);
  CHECK(parts.table.size() == 1);
  parts.run_for(1h + 1s);
  CHECK(parts.table.size() == 0);
  record.set_age_s(25 * 3600);
  parts.members.apply(record, Heard::kJoining);
  CHECK(parts.table.size() == 0);
}

TEST_CASE("times and incarnations that leave no room above them are not believed") {
  Parts parts;
  fill(parts, 2);
  proto::MemberRecord record = member_record(1, at(6));
  record.set_ltime(UINT64_MAX);
  parts.members.apply(record, Heard::kSynced);
  CHECK(parts.context.member_clock.now() < UINT64_MAX / 2);
  CHECK(parts.members.apply(accusation(0, Incarnation{UINT64_MAX}, proto::MEMBER_SUSPECT, {1}),
                            Heard::kSynced) == Verdict::kInvalid);
  CHECK(parts.members.incarnation() < Incarnation::at(2, 0));
}

TEST_CASE("failed without the evidence is probed before it is believed") {
  Parts parts;
  fill(parts, 9);
  std::vector<NodeId> asked;
  parts.members.probe_soon = [&](const NodeId& id) { asked.push_back(id); };
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {}), Heard::kSynced);
  for (int i = 0; i < 100; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(status_of(parts, 3) == Status::kSuspect);
  CHECK(asked.size() > 3);
  parts.members.accuse(node_id(3), at(5), {{node_id(0)}, false, false, false});
  parts.members.heard_from(node_id(1));
  parts.run_for(100ms);
  CHECK(status_of(parts, 3) == Status::kFailed);
}

TEST_CASE("nobody counts as an accuser of itself") {
  Parts parts;
  fill(parts, 9);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {3, 4}), Heard::kSynced);
  const proto::MemberRecord shown = parts.members.describe(*parts.table.find(node_id(3)));
  REQUIRE(shown.accusers_size() == 1);
  CHECK(shown.accusers(0) == node_id(4).wire());
}

TEST_CASE("only a version above the accused one clears a suspicion") {
  Parts parts;
  fill(parts, 9);
  parts.members.apply(member_record(3, at(7)), Heard::kSynced);
  parts.members.apply(accusation(3, at(7), proto::MEMBER_SUSPECT, {4}), Heard::kSynced);
  parts.members.apply(member_record(3, at(6)), Heard::kSynced);
  CHECK(status_of(parts, 3) == Status::kSuspect);
  parts.members.apply(member_record(3, at(7)), Heard::kSynced);
  CHECK(status_of(parts, 3) == Status::kSuspect);
  parts.members.apply(member_record(3, at(8)), Heard::kSynced);
  CHECK(status_of(parts, 3) == Status::kAlive);
}

TEST_CASE("a change rides along as often as the size of the cluster asks for") {
  const uint32_t others = GENERATE(8U, 9U, 120U);
  Parts parts;
  fill(parts, others);
  const auto rides = [&] {
    proto::Packet packet;
    parts.piggyback.fill(packet, 1000, [&](const NodeId& id) { return parts.members.encode(id); });
    return packet.records_size() > 0;
  };
  while (rides()) {
  }
  parts.members.set_tags({});
  unsigned count = 0;
  while (rides()) ++count;
  // retransmit_mult * ceil(log10(n + 1)), with this member itself
  CHECK(count == 4 * (others < 9 ? 1 : others < 99 ? 2 : 3));
}

TEST_CASE("who could not reach a suspect for another declares it in its turn") {
  const bool tried = GENERATE(true, false);
  Parts parts;
  fill(parts, 9);
  if (tried) parts.members.unreached(node_id(3));
  // That others count us among the accusers is no reason to do as an accuser does.
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {0, 1, 2, 4}), Heard::kSynced);
  const Duration turns = 4 * parts.context.options.round_trip_max;
  const TimePoint end = parts.context.now + parts.context.options.suspicion_min + turns;
  while (parts.context.now < end) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(status_of(parts, 3) == (tried ? Status::kFailed : Status::kSuspect));
}

TEST_CASE("who has been heard of since is not held to have been unreachable") {
  Parts parts;
  fill(parts, 9);
  parts.members.unreached(node_id(3));
  parts.members.heard_from(node_id(3));
  parts.members.apply(accusation(3, at(5), proto::MEMBER_SUSPECT, {0, 1, 2, 4}), Heard::kSynced);
  for (int i = 0; i < 38; ++i) {
    parts.members.heard_from(node_id(1));
    parts.run_for(100ms);
  }
  CHECK(status_of(parts, 3) == Status::kSuspect);
}
