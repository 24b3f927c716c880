// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/admissions.h"

#include <set>

#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {

namespace {

constexpr int64_t kNow = 1'700'000'000'000;

struct Fixture {
  Admissions make(bool required, const std::vector<std::string>& stored = {}) {
    return {node_id(1), required,
            [this](const OperatorKey& key) -> std::optional<std::string> {
              return trusted.contains(key) ? std::optional<std::string>("alice") : std::nullopt;
            },
            stored};
  }
  trust::Statement admit(uint8_t node, int64_t at = kNow, const std::string& name = {},
                         int64_t end = 0) const {
    trust::Statement statement;
    statement.set_node(std::string(node_id(node).wire()));
    statement.set_name(name);
    statement.set_not_after_ms(end);
    sign_statement(statement, alice, at);
    return statement;
  }
  trust::Statement ban(uint8_t node, int64_t at = kNow) const {
    trust::Statement statement;
    statement.set_node(std::string(node_id(node).wire()));
    statement.set_banned(true);
    statement.set_reason("stolen");
    sign_statement(statement, alice, at);
    return statement;
  }

  trust::Statement close(bool closed = true, int64_t at = kNow) const {
    trust::Statement statement;
    statement.set_node(std::string(Admissions::kEverybody.wire()));
    statement.set_banned(closed);
    sign_statement(statement, alice, at);
    return statement;
  }

  SigningKey alice = SigningKey::generate();
  SigningKey mallory = SigningKey::generate();
  std::set<OperatorKey> trusted = {alice.public_key()};
};

bool news(Admissions& admissions, const trust::Statement& statement, int64_t now = kNow) {
  const auto taken = admissions.take(statement, now);
  REQUIRE(taken);
  admissions.review(now);
  return *taken;
}

}  // namespace

TEST_CASE_METHOD(Fixture, "a ban counts whether admission is needed or not") {
  for (const bool required : {false, true}) {
    Admissions admissions = make(required);
    CHECK(admissions.admits(node_id(2), "web", kNow));
    CHECK(news(admissions, ban(2)));
    CHECK_FALSE(admissions.admits(node_id(2), "web", kNow));
    CHECK(admissions.admits(node_id(3), "web", kNow));
    CHECK(admissions.admits(node_id(1), "self", kNow));
    CHECK(news(admissions, admit(2, kNow + 1)));
    CHECK(admissions.admits(node_id(2), "web", kNow));
  }
}

TEST_CASE_METHOD(Fixture, "whoever is not admitted is not heard, once the cluster is closed") {
  Admissions admissions = make(true);
  CHECK(news(admissions, admit(2)));
  CHECK_FALSE(admissions.enforced());
  CHECK(admissions.admits(node_id(3), "x", kNow));
  CHECK(news(admissions, close()));
  CHECK(admissions.enforced());
  CHECK(admissions.admits(node_id(2), "anything", kNow));
  CHECK_FALSE(admissions.admits(node_id(3), "", kNow));
  CHECK_FALSE(admissions.admits(node_id(3), "x", kNow + 5));
  REQUIRE(admissions.knocks().size() == 1);
  CHECK(admissions.knocks()[0].name == "x");
  CHECK(admissions.knocks()[0].count == 2);
  CHECK(admissions.knocks()[0].last_ms == kNow + 5);
  CHECK(news(admissions, admit(3)));
  CHECK(admissions.admits(node_id(3), "x", kNow));
  CHECK(admissions.knocks().empty());
  CHECK_FALSE(admissions.admits(node_id(9), "x", kNow));
  CHECK(news(admissions, close(false, kNow + 1)));
  CHECK(admissions.admits(node_id(9), "x", kNow));
  // Who does not ask for admission does not mind.
  Admissions careless = make(false);
  CHECK(news(careless, close()));
  CHECK(careless.admits(node_id(9), "x", kNow));
}

TEST_CASE_METHOD(Fixture, "an admission is for a name and a time") {
  Admissions admissions = make(true);
  CHECK(news(admissions, close()));
  CHECK(news(admissions, admit(2, kNow, "web-*", kNow + 1000)));
  CHECK(admissions.admits(node_id(2), "web-1", kNow));
  CHECK(admissions.admits(node_id(2), "", kNow));  // of a packet: the name is not known yet
  CHECK_FALSE(admissions.admits(node_id(2), "db-1", kNow));
  CHECK(admissions.next_end_ms() == kNow + 1000);
  CHECK_FALSE(admissions.admits(node_id(2), "web-1", kNow + 1000));
  admissions.review(kNow + 1000);
  CHECK_FALSE(admissions.admits(node_id(2), "web-1", kNow + 1000));
  CHECK(admissions.list(kNow + 1000).back().expired);
}

TEST_CASE_METHOD(Fixture, "the latest word counts in whatever order words come") {
  Admissions a = make(false);
  Admissions b = make(false);
  const trust::Statement first = admit(2, kNow);
  const trust::Statement second = ban(2, kNow + 1);
  const trust::Statement same_moment = admit(2, kNow + 1);
  for (const auto& each : {first, second, same_moment}) news(a, each);
  for (const auto& each : {same_moment, second, first}) news(b, each);
  CHECK_FALSE(a.admits(node_id(2), "", kNow));  // of one moment the ban
  CHECK_FALSE(b.admits(node_id(2), "", kNow));
  CHECK(a.digest() == b.digest());
  CHECK_FALSE(news(a, first));  // an old word, sent again, changes nothing
  CHECK_FALSE(news(a, second));
}

TEST_CASE_METHOD(Fixture, "only the word of who is entitled counts, and only for as long") {
  Admissions admissions = make(false);
  trust::Statement forged = ban(2);
  forged.set_node(std::string(node_id(3).wire()));
  CHECK(admissions.take(forged, kNow).error().kind == ErrorKind::kInvalid);
  trust::Statement stranger = ban(2);
  sign_statement(stranger, mallory, kNow);
  CHECK(admissions.take(stranger, kNow).error().kind == ErrorKind::kConflict);
  CHECK(admissions.take(ban(2, kNow + 2 * Admissions::kMostAhead_ms), kNow).error().kind ==
        ErrorKind::kInvalid);
  CHECK(admissions.size() == 0);
  CHECK(news(admissions, ban(2)));
  trusted.clear();
  admissions.review(kNow);
  CHECK(admissions.admits(node_id(2), "", kNow));
  CHECK(admissions.list(kNow)[0].by.empty());
  trusted.insert(alice.public_key());
  admissions.review(kNow);
  CHECK_FALSE(admissions.admits(node_id(2), "", kNow));
}

TEST_CASE_METHOD(Fixture, "what is held is handed on in pages and comes back from disk") {
  Admissions admissions = make(true);
  std::vector<std::string> stored = {close().SerializeAsString()};
  CHECK(news(admissions, close()));
  for (uint8_t i = 1; i <= 50; ++i) {
    const trust::Statement statement = i % 2 == 0 ? ban(i) : admit(i);
    CHECK(news(admissions, statement));
    stored.push_back(statement.SerializeAsString());
  }
  Admissions again = make(true, stored);
  CHECK(again.digest() == admissions.digest());
  CHECK(again.enforced());
  CHECK_FALSE(again.admits(node_id(2), "", kNow));
  Admissions other = make(true);
  std::string after;
  bool more = true;
  size_t pages = 0;
  while (more) {
    const auto page = admissions.page(after, 1000, more);
    REQUIRE_FALSE(page.empty());
    after = page.back().node();
    for (const auto& each : page) news(other, each);
    ++pages;
  }
  CHECK(pages > 5);
  CHECK(other.digest() == admissions.digest());
}

TEST_CASE_METHOD(Fixture, "those who knock are remembered up to a bound, the latest first") {
  Admissions admissions = make(true);
  CHECK(news(admissions, close()));
  for (int i = 0; i < 200; ++i) {
    CHECK_FALSE(admissions.admits(node_id(static_cast<uint8_t>(10 + i)), "", kNow + i));
  }
  REQUIRE(admissions.knocks().size() == Admissions::kMaxKnocks);
  CHECK(admissions.knocks()[0].id == node_id(209));
}

TEST_CASE_METHOD(Fixture, "a node learns that it is banned") {
  Admissions admissions = make(false);
  CHECK(admissions.own_ban().empty());
  CHECK(news(admissions, ban(1)));
  CHECK(admissions.own_ban() == "stolen");
  CHECK(admissions.admits(node_id(1), "", kNow));
}

}  // namespace starling::agent
