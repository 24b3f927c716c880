// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/operators.h"

#include "test/catch.h"

namespace starling::agent {

namespace {

NamedKey named(const std::string& name) {
  return {SigningKey::generate().public_key(), name};
}

}  // namespace

TEST_CASE("operators are trusted and revoked, by name, id and line") {
  const NamedKey alice = named("alice");
  const NamedKey bob = named("bob");
  const NamedKey carol = named("carol");
  Operators operators({}, {});
  CHECK(operators.name_of(alice.key) == nullptr);
  std::vector<StoredOperator> kept;
  for (const NamedKey& each : {alice, bob, carol}) kept.push_back(*operators.trust(each, 5));
  REQUIRE(operators.name_of(alice.key) != nullptr);
  CHECK(*operators.name_of(alice.key) == "alice");
  kept.push_back(*operators.revoke("alice", 6));
  kept.push_back(*operators.revoke(bob.key.id(), 7));
  kept.push_back(*operators.revoke(carol.line(), 8));
  CHECK(operators.trusted() == 0);
  CHECK(operators.revoke("alice", 9).error().kind == ErrorKind::kNotFound);
  CHECK(operators.revoke("dave", 9).error().kind == ErrorKind::kNotFound);
  // Somebody who was never trusted can be barred.
  const NamedKey dave = named("dave");
  kept.push_back(*operators.revoke(dave.line(), 9));
  kept.push_back(*operators.trust(bob, 10));
  // As the store gives it back: the last word on each key.
  const Operators again({}, kept);
  CHECK(again.trusted() == 1);
  CHECK(again.name_of(bob.key) != nullptr);
  CHECK(again.list().size() == 4);
}

TEST_CASE("a revocation at run time counts for the configuration's too") {
  const NamedKey alice = named("alice");
  Operators operators({alice}, {});
  CHECK(operators.name_of(alice.key) != nullptr);
  const auto kept = operators.revoke("alice", 5);
  REQUIRE(kept);
  CHECK(operators.name_of(alice.key) == nullptr);
  operators.reconfigure({alice});
  CHECK(operators.name_of(alice.key) == nullptr);
  const Operators again({alice}, {*kept});
  CHECK(again.name_of(alice.key) == nullptr);
  REQUIRE(again.list().size() == 1);
  CHECK(again.list()[0].configured);
  CHECK(again.list()[0].revoked);
}

TEST_CASE("one name is one key") {
  const NamedKey alice = named("alice");
  const NamedKey other = named("alice");
  Operators operators({}, {});
  REQUIRE(operators.trust(alice, 1));
  REQUIRE(operators.trust(alice, 2));  // again is no error
  CHECK(operators.trust(other, 3).error().kind == ErrorKind::kConflict);
  // The configuration's word is the stronger one.
  operators.reconfigure({other});
  CHECK(operators.name_of(other.key) != nullptr);
  CHECK(operators.name_of(alice.key) == nullptr);
}

TEST_CASE("what is remembered of operators is bounded") {
  Operators operators({}, {});
  for (size_t i = 0; i < Operators::kMaxStored; ++i) {
    NamedKey each{{}, "n" + std::to_string(i)};
    each.key.bytes[0] = static_cast<uint8_t>(i);
    each.key.bytes[1] = static_cast<uint8_t>(i >> 8);
    REQUIRE(operators.trust(each, 1));
  }
  CHECK(operators.trust(named("more"), 1).error().kind == ErrorKind::kTooLarge);
  CHECK(operators.revoke("n7", 2));
}

}  // namespace starling::agent
