// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/member_table.h"

#include <map>
#include <set>
#include <string>

#include "test/catch.h"

namespace m = starling::membership;

namespace {

m::NodeId node(uint32_t number) {
  m::NodeId id;
  id.bytes[0] = static_cast<uint8_t>(number);
  id.bytes[1] = static_cast<uint8_t>(number >> 8);
  return id;
}

m::Entry& add_alive(m::MemberTable& table, uint32_t number, m::Random& random,
                    const std::string& name = {}) {
  m::Entry& entry =
      table.add(node(number), name.empty() ? "node" + std::to_string(number) : name, random);
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
    const m::NodeId id = table.next_probe_target(random)->id;
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
  for (int i = 0; i < 50; ++i) probed.insert(table.next_probe_target(random)->id);
  CHECK(probed == std::set<m::NodeId>{node(5), node(6), node(7), node(8), node(9)});
  const auto drawn = table.random_up(3, random, [](const m::Entry& e) { return e.id != node(9); });
  CHECK(drawn.size() == 3);
  for (const m::Entry* entry : drawn) CHECK((entry->up() && entry->id != node(9)));
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
    table.set_zone(entry, "zone" + std::to_string(i % 3));
    entry.tags = std::to_string(i % 3);
  }
  int changes = 0;
  for (size_t i = 1; i < table.ring().size(); ++i) {
    CHECK(table.ring()[i - 1].position <= table.ring()[i].position);
    if (table.ring()[i].entry->tags != table.ring()[i - 1].entry->tags) ++changes;
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
  table.rename(present, "other");
  CHECK(table.find_name("other") == &present);
  CHECK(table.claimants("web").size() == 1);
}
