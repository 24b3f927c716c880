// SPDX-License-Identifier: Apache-2.0
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
  parts.meet(9);
  parts.members.heard_from(node_id(1));
  parts.members.apply(member_record(3, at(row.counter), row.status), Heard::kSynced);
  CHECK(parts.status_of(3) == row.expected);
}

TEST_CASE("a failed member comes back only with a higher incarnation") {
  Parts parts;
  parts.meet(9);
  parts.members.apply(accusation(3, at(5), proto::MEMBER_FAILED, {1, 2, 4, 5}), Heard::kSynced);
  parts.listen_for(5s);
  REQUIRE(parts.status_of(3) == Status::kFailed);
  CHECK(parts.members.apply(member_record(3, at(5)), Heard::kSynced) == Verdict::kKnown);
  CHECK(parts.status_of(3) == Status::kFailed);
  parts.take<MemberEvent>();
  CHECK(parts.members.apply(member_record(3, at(6)), Heard::kSynced) == Verdict::kFresh);
  CHECK(parts.status_of(3) == Status::kAlive);
  const auto events = parts.take<MemberEvent>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].change == MemberChange::kJoin);
}

TEST_CASE("a newcomer at a known address lets the one that was there before be looked at") {
  Parts parts;
  parts.meet(5);
  parts.run_for(3s);
  std::vector<NodeId> probed;
  parts.members.probe_soon = [&](const NodeId& id) { probed.push_back(id); };
  proto::MemberRecord newcomer = member_record(3, Incarnation::at(2, 0));
  newcomer.set_id(std::string(node_id(88).wire()));
  starling::test::sign_as_owner(newcomer);
  parts.members.apply(newcomer, Heard::kSynced);
  CHECK(parts.status_of(3) == Status::kAlive);
  CHECK(parts.table.find_name("node3")->id() == node_id(3));
  CHECK(std::count(probed.begin(), probed.end(), node_id(3)) > 0);
  CHECK(std::count(probed.begin(), probed.end(), node_id(88)) > 0);
}

TEST_CASE("who claims this node's own address is known not to be there") {
  Parts parts;
  parts.meet(5);
  proto::MemberRecord liar = member_record(88, Incarnation::at(2, 0));
  liar.set_address(test::address_of(0).wire_ip());
  starling::test::sign_as_owner(liar);
  parts.members.apply(liar, Heard::kSynced);
  CHECK(parts.status_of(88) == Status::kSuspect);
}

TEST_CASE("force-leave turns failed into left and an alive member refutes") {
  Parts parts;
  parts.meet(3);
  parts.members.accuse(node_id(1), at(5), {{node_id(0), node_id(2)}, true, false, false});
  parts.members.heard_from(node_id(1));
  parts.run_for(1s);
  REQUIRE(parts.status_of(1) == Status::kFailed);
  CHECK(parts.members.force_leave("node1", false).has_value());
  CHECK(parts.status_of(1) == Status::kLeft);
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
  parts.meet(3);
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
  parts.meet(1);
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

TEST_CASE("members that were gone before we came are listed but no news") {
  Parts parts;
  parts.members.apply(member_record(1, at(5), proto::MEMBER_FAILED), Heard::kJoining);
  CHECK(parts.status_of(1) == Status::kFailed);
  CHECK(parts.members.force_leave("node1", false).has_value());
  CHECK(parts.status_of(1) == Status::kLeft);
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
  parts.meet(2);
  proto::MemberRecord record = member_record(1, at(6));
  record.set_ltime(UINT64_MAX);
  parts.members.apply(record, Heard::kSynced);
  CHECK(parts.context.member_clock.now() < UINT64_MAX / 2);
  CHECK(parts.members.apply(accusation(0, Incarnation{UINT64_MAX}, proto::MEMBER_SUSPECT, {1}),
                            Heard::kSynced) == Verdict::kInvalid);
  CHECK(parts.members.incarnation() < Incarnation::at(2, 0));
}

TEST_CASE("a change rides along as often as the size of the cluster asks for") {
  const uint32_t others = GENERATE(8U, 9U, 120U);
  Parts parts;
  parts.meet(others);
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
