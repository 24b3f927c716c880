// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/member_table.h"

#include <map>
#include <set>
#include <string>

#include "membership/wire.h"
#include "test/catch.h"

namespace m = starling::membership;

namespace {

m::NodeId node(uint32_t number) {
  m::NodeId id;
  id.bytes[0] = static_cast<uint8_t>(number);
  id.bytes[1] = static_cast<uint8_t>(number >> 8);
  return id;
}

m::Description described(uint32_t number, const std::string& name = {},
                         const std::string& tags = {}) {
  m::Description description;
  description.id = node(number);
  description.name = name.empty() ? "node" + std::to_string(number) : name;
  description.address = *m::Address::from_ip("10.0.0.1", static_cast<uint16_t>(number + 1));
  description.tags = tags;
  return description;
}

m::Entry& add_alive(m::MemberTable& table, uint32_t number, m::Random& random,
                    const std::string& name = {}) {
  m::Entry& entry = table.add(described(number, name), random);
  table.set_state(entry, m::Status::kAlive, m::Incarnation::at(1, 0));
  return entry;
}

}  // namespace

TEST_CASE("between two probes of a member at most 2n - 1 others are probed") {
  m::MemberTable table;
  m::Random random(1);
  constexpr uint32_t kMembers = 40;
  for (uint32_t i = 0; i < kMembers; ++i) add_alive(table, i, random);
  std::map<m::NodeId, int> last;
  for (int turn = 0; turn < 4000; ++turn) {
    const m::NodeId id = table.next_probe_target(random)->id();
    const auto before = last.find(id);
    if (before != last.end()) CHECK(turn - before->second <= static_cast<int>(2 * kMembers - 1));
    last[id] = turn;
  }
  CHECK(last.size() == kMembers);
}

TEST_CASE("only members believed to run are probed and drawn") {
  m::MemberTable table;
  m::Random random(2);
  for (uint32_t i = 0; i < 10; ++i) add_alive(table, i, random);
  for (uint32_t i = 0; i < 5; ++i) {
    table.set_state(*table.find(node(i)), i % 2 == 0 ? m::Status::kFailed : m::Status::kLeft,
                    m::Incarnation::at(1, 0));
  }
  table.set_state(*table.find(node(7)), m::Status::kSuspect, m::Incarnation::at(1, 0));
  CHECK(table.up_count() == 5);
  CHECK(table.failed_count() == 3);
  std::set<m::NodeId> probed;
  for (int i = 0; i < 50; ++i) probed.insert(table.next_probe_target(random)->id());
  CHECK(probed == std::set<m::NodeId>{node(5), node(6), node(7), node(8), node(9)});
  const auto drawn =
      table.random_up(3, random, [](const m::Entry& e) { return e.id() != node(9); });
  CHECK(drawn.size() == 3);
  for (const m::Entry* entry : drawn) CHECK((entry->up() && entry->id() != node(9)));
}

TEST_CASE("the fingerprint follows members that are up and nothing else") {
  m::MemberTable table;
  m::Random random(3);
  CHECK(table.fingerprint() == 0);
  m::Entry& a = add_alive(table, 1, random);
  const uint64_t one = table.fingerprint();
  CHECK(one != 0);
  m::Entry& b = add_alive(table, 2, random);
  CHECK(table.fingerprint() != one);
  table.set_state(a, m::Status::kSuspect, a.incarnation);
  table.set_state(b, m::Status::kFailed, b.incarnation);
  CHECK(table.fingerprint() == one);
  table.erase(node(2));
  CHECK(table.fingerprint() == one);
  table.set_state(a, m::Status::kAlive, m::Incarnation::at(1, 1));
  CHECK(table.fingerprint() != one);
  uint64_t buckets = 0;
  for (const uint64_t bucket : table.bucket_fingerprints()) buckets ^= bucket;
  CHECK(buckets == table.fingerprint());
}

TEST_CASE("members of one zone are neighbours on the ring") {
  m::MemberTable table;
  m::Random random(4);
  for (uint32_t i = 0; i < 90; ++i) {
    m::Entry& entry = add_alive(table, i, random);
    const std::string tags = m::pack_tags({{"zone", "zone" + std::to_string(i % 3)}});
    CHECK(table.describe(entry, described(i, {}, tags)));
    CHECK_FALSE(table.describe(entry, described(i, {}, tags)));
  }
  int changes = 0;
  for (size_t i = 1; i < table.up_count(); ++i) {
    CHECK(table.ring_at(i - 1).position() <= table.ring_at(i).position());
    if (table.ring_at(i).tags() != table.ring_at(i - 1).tags()) ++changes;
  }
  CHECK(changes == 2);
}

TEST_CASE("a displaced member is found under its longer name") {
  m::MemberTable table;
  m::Random random(5);
  m::Entry& old = add_alive(table, 1, random, "web");
  m::Entry& present = add_alive(table, 2, random, "web");
  old.displaced = true;
  CHECK(table.find_name("web") == &present);
  CHECK(table.find_name(old.display_name()) == &old);
  CHECK(old.display_name() == "web#01000000");
  CHECK(table.find_name("web#ffffffff") == nullptr);
  CHECK(table.describe(present, described(2, "other")));
  CHECK(table.find_name("other") == &present);
  CHECK(table.claimants("web").size() == 1);
}

TEST_CASE("the indices stay right through a long life") {
  m::MemberTable table;
  m::Random random(6);
  std::set<uint32_t> there;
  for (int turn = 0; turn < 4000; ++turn) {
    const auto number = static_cast<uint32_t>(random.below(300));
    if (!there.contains(number)) {
      add_alive(table, number, random, random.chance(0.2) ? "shared" : "");
      there.insert(number);
      continue;
    }
    m::Entry& entry = *table.find(node(number));
    switch (random.below(4)) {
      case 0:
        table.erase(node(number));
        there.erase(number);
        break;
      case 1:
        table.set_state(entry, static_cast<m::Status>(random.below(5)), entry.incarnation.next());
        break;
      case 2:
        table.describe(entry, described(number, "name" + std::to_string(random.below(50)),
                                        m::pack_tags({{"zone", random.chance(0.5) ? "a" : "b"}})));
        break;
      default:
        CHECK(table.next_probe_target(random) != nullptr);
    }
    if (turn % 50 == 0) REQUIRE(table.consistent());
  }
  CHECK(table.size() == there.size());
  CHECK(table.consistent());
}

TEST_CASE("equal descriptions are one, and go with their last user") {
  auto pool = std::make_shared<m::DescriptionPool>();
  m::Random random(7);
  {
    m::MemberTable one(pool);
    m::MemberTable two(pool);
    one.add(described(1), random);
    two.add(described(1), random);
    CHECK(pool->size() == 1);
    two.describe(*two.find(node(1)), described(1, "other"));
    CHECK(pool->size() == 2);
    one.erase(node(1));
    CHECK(pool->size() == 1);
  }
  CHECK(pool->size() == 0);
}
