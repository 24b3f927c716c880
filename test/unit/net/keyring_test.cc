// SPDX-License-Identifier: Apache-2.0
#include "agent/net/keyring.h"

#include <cstring>
#include <string>

#include <cstring>
#include <set>
#include <vector>

#include "test/catch.h"

namespace starling::agent {
namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string error_of(const std::vector<std::string>& keys) {
  const auto ring = Keyring::from_base64(keys);
  REQUIRE_FALSE(ring.has_value());
  CHECK(ring.error().kind == ErrorKind::kInvalid);
  return ring.error().message;
}

bool same(const SecretKey& a, const SecretKey& b) {
  return std::memcmp(a.data(), b.data(), SecretKey::kSize) == 0;
}

TEST_CASE("a generated key is accepted and no two are alike") {
  const std::string one = generate_key();
  const std::string two = generate_key();
  CHECK(one != two);
  CHECK(one.size() == 44);
  const auto ring = Keyring::from_base64({one, two});
  REQUIRE(ring.has_value());
  CHECK(ring->size() == 2);
  CHECK_FALSE(ring->is_insecure());
  CHECK(ring->id(0) != ring->id(1));
  CHECK(ring->find(ring->id(1)) == 1U);
}

TEST_CASE("keys that cannot be used are refused with the reason and without the key") {
  CHECK(contains(error_of({}), "no key"));
  CHECK(contains(error_of({""}), "empty"));
  const std::string not_base64 = "this is not base64 at all !!";
  CHECK(contains(error_of({not_base64}), "not base64"));
  CHECK_FALSE(contains(error_of({not_base64}), not_base64));
  CHECK(contains(error_of({"AAECAwQFBgcICQoLDA0ODw=="}), "16 bytes, needs 32"));
  CHECK(contains(error_of({std::string(10000, 'A')}), "10000 characters"));
  std::string cut = generate_key();
  cut.pop_back();
  CHECK(contains(error_of({cut}), "not base64"));
}

TEST_CASE("the bad key of several is named by its position") {
  const std::string good = generate_key();
  CHECK(contains(error_of({good, "AAAA"}), "cluster key 2 has 3 bytes"));
  const std::string duplicate = error_of({generate_key(), good, good});
  CHECK(contains(duplicate, "2 and 3 are the same"));
  CHECK_FALSE(contains(duplicate, good));
  const std::vector<std::string> five(5, "not even looked at");
  CHECK(contains(error_of(five), "at most 4"));
}

TEST_CASE("the key id is the same wherever the key is") {
  const std::string shared = generate_key();
  const auto here = Keyring::from_base64({generate_key(), shared});
  const auto there = Keyring::from_base64({shared});
  CHECK(here->id(1) == there->id(0));
  CHECK_FALSE(there->find(here->id(0)).has_value());
}

TEST_CASE("derived keys depend on the key and on where one part ends") {
  const auto ring = Keyring::from_base64({generate_key(), generate_key()});
  CHECK(same(ring->derive(0, {"ab", "c"}), ring->derive(0, {"ab", "c"})));
  CHECK_FALSE(same(ring->derive(0, {"ab", "c"}), ring->derive(0, {"a", "bc"})));
  CHECK_FALSE(same(ring->derive(0, {"ab"}), ring->derive(1, {"ab"})));
  CHECK(same(ring->derive(1, {"x"}), ring->clone().derive(1, {"x"})));
}

TEST_CASE("the insecure ring is the same everywhere and says what it is") {
  const Keyring here = Keyring::insecure();
  CHECK(here.is_insecure());
  CHECK(here.clone().is_insecure());
  CHECK(same(here.derive(0, {"x"}), Keyring::insecure().derive(0, {"x"})));
}

TEST_CASE("a secret is in one place and wiped there") {
  const auto ring = Keyring::from_base64({generate_key()});
  SecretKey from = ring->derive(0, {"x"});
  const SecretKey zero;
  const uint8_t* const place = from.data();
  {
    const SecretKey to(std::move(from));
    CHECK(from.data() == nullptr);  // NOLINT(bugprone-use-after-move): the point of the test
    CHECK(to.data() == place);
    CHECK_FALSE(same(to, zero));
  }
  CHECK(std::memcmp(place, zero.data(), SecretKey::kSize) == 0);
  const SecretKey again;
  CHECK(again.data() == place);
  CHECK(same(again, zero));
}

TEST_CASE("there are places for as many secrets as streams want") {
  std::vector<SecretKey> keys(1000);
  std::set<const uint8_t*> places;
  for (const SecretKey& key : keys) places.insert(key.data());
  CHECK(places.size() == keys.size());
}

TEST_CASE("a keyring says its keys in the order in which it was told") {
  const std::vector<std::string> keys = {generate_key(), generate_key(), generate_key()};
  CHECK(Keyring::from_base64(keys)->to_base64().get() == keys);
}

TEST_CASE("a text is wiped before it is empty") {
  std::string text = generate_key();
  const char* const at = text.data();
  wipe(text);
  CHECK(text.empty());
  CHECK(std::string_view(at, 44) == std::string(44, '\0'));
}

}  // namespace
}  // namespace starling::agent
