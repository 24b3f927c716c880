// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/vouching.h"

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using starling::test::sign_as_owner;
using test::at;
using test::member_record;
using test::node_id;
using test::Parts;

namespace {

proto::MemberRecord word(uint32_t about, Incarnation incarnation, proto::MemberStatus status) {
  return test::accusation(about, incarnation, status, {2});
}

Description described(const Ed25519Keys& keys) {
  Description description;
  description.id = keys.id_of(keys.public_key());
  description.name = "web1";
  description.address = *Address::parse("10.0.0.1:7946");
  description.tags = pack_tags({{"a", "bc"}, {"role", "web"}});
  description.incarnation = Incarnation::at(7, 1);
  description.key = keys.public_key();
  description.signature = keys.sign(signed_text(description));
  return description;
}

}  // namespace

TEST_CASE("Ed25519 keys vouch for each part of a description") {
  const Ed25519Keys keys({1, 2, 3});
  const Ed25519Keys others({4});
  Context context{Options::lan(), test::identity_of(0), Random(1), {}, {}, {}, {}, {}, {}};
  context.identity.keys = std::make_shared<Ed25519Keys>(Ed25519Keys::Seed{9});
  const DescriptionPool pool;
  Vouching vouching(context, pool);
  const Description genuine = described(keys);
  CHECK(vouching.check(genuine, {}) == Vouched::kYes);
  const auto refuses = [&](auto change) {
    Description changed = genuine;
    change(changed);
    return vouching.check(changed, {}) == Vouched::kForged;
  };
  CHECK(refuses([](Description& d) { d.name = "web2"; }));
  CHECK(refuses([](Description& d) { d.address = *Address::parse("10.0.0.2:7946"); }));
  CHECK(refuses([](Description& d) { d.address = *Address::parse("10.0.0.1:7947"); }));
  CHECK(refuses([](Description& d) { d.tags = pack_tags({{"ab", "c"}, {"role", "web"}}); }));
  CHECK(refuses([](Description& d) { d.tags.clear(); }));
  CHECK(refuses([](Description& d) { d.protocol_max = 2; }));
  CHECK(refuses([](Description& d) { d.incarnation = d.incarnation.next(); }));
  CHECK(refuses([](Description& d) { d.left = true; }));
  CHECK(refuses([](Description& d) { d.signature = {}; }));
  CHECK(refuses([](Description& d) { d.id = node_id(1); }));
  CHECK(refuses([&](Description& d) { d.key = others.public_key(); }));
  CHECK(refuses([&](Description& d) { d.signature = others.sign(signed_text(d)); }));
  CHECK(context.statistics.forged_records == 12);
}

TEST_CASE("the text that is signed does not change") {
  Description description;
  description.name = "n";
  description.address = *Address::parse("[::1]:258");
  description.tags = pack_tags({{"k", "v"}});
  description.incarnation = Incarnation::at(1, 2);
  const auto number = [](char low) { return low + std::string(7, '\0'); };
  CHECK(signed_text(description) ==
        number(17) + "starling member 1" + number(32) + std::string(32, '\0') + number(1) + "n" +
            number(16) + std::string(15, '\0') + '\1' + std::string({2, 1, 0, 0, 0, 0, 0, 0}) +
            number(1) + number(1) + "k" + number(1) + "v" + number(1) + number(1) +
            std::string({2, 0, 0, 0, 1, 0, 0, 0}) + number(0));
}

TEST_CASE("a description survives the wire with its signature") {
  const Description genuine = described(Ed25519Keys({1}));
  proto::MemberRecord record;
  write_description(genuine, record);
  const auto read = read_description(record);
  REQUIRE(read.has_value());
  CHECK(*read == genuine);
}

TEST_CASE("a member record that its subject has not signed changes nothing") {
  Parts parts;
  parts.meet(5);
  proto::MemberRecord forged = member_record(3, at(6));
  forged.set_name("mine");
  CHECK(parts.members.apply(forged, Heard::kSynced) == Verdict::kForged);
  forged.clear_signature();
  CHECK(parts.members.apply(forged, Heard::kPushed) == Verdict::kForged);
  forged.clear_public_key();
  CHECK(parts.members.apply(forged, Heard::kJoining) == Verdict::kForged);
  CHECK(parts.table.find(node_id(3))->name() == "node3");
  CHECK(parts.table.find(node_id(3))->incarnation == at(5));
  proto::MemberRecord stranger = member_record(9, at(1));
  stranger.clear_signature();
  CHECK(parts.members.apply(stranger, Heard::kJoining) == Verdict::kForged);
  CHECK(parts.table.size() == 5);
  CHECK(parts.context.statistics.forged_records == 4);
  CHECK(parts.take<MemberEvent>().empty());
}

TEST_CASE("nobody says in another's name that it left") {
  Parts parts;
  parts.meet(9);
  proto::MemberRecord forged = member_record(3, at(6), proto::MEMBER_LEFT);
  forged.set_signature(std::string(64, 'x'));
  CHECK(parts.members.apply(forged, Heard::kSynced) == Verdict::kForged);
  // As force-leave it is heard, and lets a live member live.
  std::vector<NodeId> probed;
  parts.members.probe_soon = [&](const NodeId& id) { probed.push_back(id); };
  CHECK(parts.members.apply(word(3, at(5), proto::MEMBER_LEFT), Heard::kSynced) == Verdict::kFresh);
  CHECK(parts.table.find(node_id(3))->up());
  CHECK(probed == std::vector{node_id(3)});
  CHECK(parts.take<MemberEvent>().empty());
  CHECK(parts.members.apply(member_record(3, at(6)), Heard::kSynced) == Verdict::kFresh);
  CHECK_FALSE(parts.table.find(node_id(3))->leaving);
  // Its own word counts at once.
  CHECK(parts.members.apply(member_record(3, at(7), proto::MEMBER_LEFT), Heard::kSynced) ==
        Verdict::kFresh);
  CHECK(parts.status_of(3) == Status::kLeft);
}

TEST_CASE("who is to be forgotten and then fails is forgotten") {
  const bool prune = GENERATE(true, false);
  Parts parts;
  parts.meet(9);
  proto::MemberRecord order = word(3, at(5), proto::MEMBER_LEFT);
  order.set_pruned(prune);
  parts.members.apply(order, Heard::kPushed);
  parts.accuse(3, {0, 4, 5, 6});
  parts.listen_for(5s);
  std::vector<MemberChange> told;
  for (const MemberEvent& event : parts.take<MemberEvent>()) told.push_back(event.change);
  if (prune) {
    CHECK(parts.table.find(node_id(3)) == nullptr);
    CHECK(told == std::vector{MemberChange::kLeave, MemberChange::kReap});
  } else {
    CHECK(parts.status_of(3) == Status::kLeft);
    CHECK(told == std::vector{MemberChange::kLeave});
  }
}

TEST_CASE("what is said of a version that its subject never signed is not believed") {
  const auto status = GENERATE(proto::MEMBER_SUSPECT, proto::MEMBER_FAILED, proto::MEMBER_LEFT,
                               proto::MEMBER_LEAVING);
  Parts parts;
  parts.meet(9);
  std::vector<NodeId> fetched;
  parts.members.fetch = [&](const NodeId& id) { fetched.push_back(id); };
  const Incarnation last{(uint64_t{UINT32_MAX} << 32) - 1};
  CHECK(parts.members.apply(word(3, last, status), Heard::kPushed) == Verdict::kKnown);
  CHECK(parts.status_of(3) == Status::kAlive);
  CHECK(parts.table.find(node_id(3))->incarnation == at(5));
  CHECK(fetched == std::vector{node_id(3)});
  CHECK(parts.context.statistics.unproven_records == 1);
  // Nor about ourselves: there is always a version left to refute with.
  const Incarnation before = parts.members.incarnation();
  parts.members.apply(word(0, last, status), Heard::kPushed);
  CHECK(parts.members.incarnation() == before);
}

TEST_CASE("an accusation that comes with the member's own newer word is taken with it") {
  Parts parts;
  parts.meet(9);
  parts.members.heard_from(node_id(1));
  CHECK(parts.members.apply(member_record(3, at(8), proto::MEMBER_FAILED), Heard::kSynced) ==
        Verdict::kFresh);
  CHECK(parts.table.find(node_id(3))->incarnation == at(8));
  CHECK(parts.status_of(3) == Status::kSuspect);
}

TEST_CASE("a known record is not verified again") {
  Parts parts;
  parts.meet(3);
  proto::MemberRecord again = member_record(3, at(5));
  again.set_signature(std::string(64, 'x'));
  CHECK(parts.members.apply(again, Heard::kSynced) == Verdict::kKnown);
  CHECK(parts.context.statistics.forged_records == 0);
}

TEST_CASE("a flood of forgeries is soon not looked at and does no harm to others") {
  Parts parts;
  parts.meet(3);
  const auto forge = [&](uint32_t counter) {
    proto::MemberRecord forged = member_record(3, at(counter));
    forged.set_signature(std::string(64, 'x'));
    return parts.members.apply(forged, Heard::kRode);
  };
  parts.context.from = test::address_of(2);
  for (uint32_t i = 0; i < 1000; ++i) forge(100 + i);
  CHECK(parts.context.statistics.forged_records == 64);
  CHECK(parts.context.statistics.unverified_records == 1000 - 64);
  CHECK(parts.take<Trace>().size() == 1);
  // What others send is looked at all the same, and so is the same source after a while.
  parts.context.from = test::address_of(1);
  CHECK(parts.members.apply(member_record(3, at(6)), Heard::kRode) == Verdict::kFresh);
  parts.context.from = test::address_of(2);
  CHECK(parts.members.apply(member_record(3, at(7)), Heard::kRode) == Verdict::kStale);
  parts.run_for(1s);
  CHECK(parts.members.apply(member_record(3, at(7)), Heard::kRode) == Verdict::kFresh);
}

TEST_CASE("forgeries from many addresses take no more memory than there is for them") {
  Context context{Options::lan(), test::identity_of(0), Random(1), {}, {}, {}, {}, {}, {}};
  const DescriptionPool pool;
  Vouching vouching(context, pool);
  Description forged;
  for (uint32_t i = 0; i < 5000; ++i) {
    CHECK(vouching.check(forged, test::address_of(i)) == Vouched::kForged);
  }
  CHECK(vouching.sources() == ForgeryBudget::kMaxSources);
}

TEST_CASE("refutations have a rate and none is left out") {
  Parts parts;
  parts.meet(9);
  for (int i = 0; i < 100; ++i) {
    parts.members.apply(word(0, parts.members.incarnation(), proto::MEMBER_SUSPECT),
                        Heard::kPushed);
  }
  CHECK(parts.context.statistics.refutations == 10);
  CHECK(parts.context.statistics.late_refutations == 1);
  const Incarnation before = parts.members.incarnation();
  parts.run_for(500ms);
  CHECK(parts.members.incarnation() > before);
  parts.run_for(1min);
  CHECK(parts.context.statistics.refutations == 11);
}

TEST_CASE("a liar's word that a port is refused does not take the time to refute away") {
  const bool look = GENERATE(true, false);
  Parts parts;
  parts.context.options.guards.look = look;
  parts.meet(9);
  std::vector<NodeId> looked;
  parts.members.look = [&](const NodeId& id) { looked.push_back(id); };
  proto::MemberRecord lie = word(3, at(5), proto::MEMBER_FAILED);
  lie.set_refused(true);
  for (uint32_t i = 4; i < 6; ++i) lie.add_accusers(std::string(node_id(i).wire()));
  const auto a_second = [&] {
    for (int j = 0; j < 10; ++j) {
      parts.members.heard_from(node_id(1));
      parts.run_for(100ms);
    }
  };
  parts.members.apply(lie, Heard::kPushed);
  a_second();
  CHECK(parts.status_of(3) == (look ? Status::kSuspect : Status::kFailed));
  CHECK(looked.size() == (look ? 1 : 0));
  if (look) {  // nor do more of such words
    lie.add_accusers(std::string(node_id(8).wire()));
    parts.members.apply(lie, Heard::kPushed);
    a_second();
    CHECK(parts.status_of(3) == Status::kSuspect);
  }
  // Who sees it for itself has no doubt.
  parts.members.refused(test::address_of(3));
  parts.run_for(1ms);
  CHECK(parts.status_of(3) == Status::kFailed);
}
