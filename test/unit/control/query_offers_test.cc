// SPDX-License-Identifier: Apache-2.0
#include "agent/control/query_offers.h"

#include "agent/control/session.h"
#include "test/catch.h"

using starling::ErrorKind;
using starling::agent::QueryOffers;
using starling::agent::Session;
using starling::membership::Answer;
using starling::membership::MessageId;
using starling::membership::QueryArrived;
using starling::membership::ReplyKind;
using starling::membership::TimePoint;

namespace {

struct NobodySession : Session {
  bool send(const starling::control::Reply&) override { return true; }
  bool offer(const starling::control::Reply&) override { return false; }
  void when_room(std::function<void()>) override {}
};

struct Fixture {
  QueryArrived query(uint64_t number, int deadline_s) {
    QueryArrived arrived;
    arrived.id.sequence = number;
    arrived.deadline = at(deadline_s);
    return arrived;
  }
  static TimePoint at(int seconds) { return TimePoint(std::chrono::seconds(seconds)); }
  static Answer nothing() { return {.kind = ReplyKind::kNoAnswer, .payload = {}, .error = {}}; }
  static Answer text(const std::string& payload) {
    return {.kind = ReplyKind::kResponse, .payload = payload, .error = {}};
  }

  NobodySession alpha;
  NobodySession beta;
  std::vector<std::pair<uint64_t, Answer>> answers;
  QueryOffers offers{[this](const MessageId& id, Answer answer) {
    answers.emplace_back(id.sequence, std::move(answer));
  }};
};

}  // namespace

TEST_CASE("without clients, what the handlers say is passed on") {
  Fixture f;
  f.offers.handlers_said(f.query(1, 5).id, Fixture::nothing());
  REQUIRE(f.answers.size() == 1);
  CHECK(f.answers[0].second.kind == ReplyKind::kNoAnswer);
}

TEST_CASE("a client that was shown a query may answer it once") {
  Fixture f;
  const auto query = f.query(1, 5);
  const uint64_t number = f.offers.offer({&f.alpha, 1}, query);
  f.offers.handlers_said(query.id, Fixture::nothing());
  CHECK(f.answers.empty());
  CHECK(f.offers.respond(&f.beta, number, "not mine", Fixture::at(1)).error().kind ==
        ErrorKind::kNotFound);
  REQUIRE(f.offers.respond(&f.alpha, number, "mine", Fixture::at(1)));
  REQUIRE(f.answers.size() == 1);
  CHECK(f.answers[0].second.payload == "mine");
  CHECK(f.offers.respond(&f.alpha, number, "again", Fixture::at(1)).error().kind ==
        ErrorKind::kConflict);
  CHECK(f.offers.respond(&f.alpha, number, "late", Fixture::at(5)).error().kind ==
        ErrorKind::kNotFound);
  CHECK(f.answers.size() == 1);
}

TEST_CASE("a client comes too late when the handlers have said their last") {
  Fixture f;
  const auto query = f.query(1, 5);
  const uint64_t number = f.offers.offer({&f.alpha, 1}, query);
  f.offers.handlers_said(query.id, Fixture::text("handler"));
  CHECK_FALSE(f.offers.respond(&f.alpha, number, "client", Fixture::at(1)));
  REQUIRE(f.answers.size() == 1);
  CHECK(f.answers[0].second.payload == "handler");
  CHECK(f.answers[0].second.last);
}

TEST_CASE("a client and the handlers each answer for themselves") {
  Fixture f;
  const auto query = f.query(1, 5);
  const uint64_t number = f.offers.offer({&f.alpha, 1}, query);
  const uint64_t other = f.offers.offer({&f.beta, 1}, query);
  Answer first = Fixture::text("handler");
  first.responder = "query=a";
  first.last = false;
  f.offers.handlers_said(query.id, first);
  REQUIRE(f.offers.respond(&f.alpha, number, "client", Fixture::at(1)));
  // Of the clients one answers, as in Serf.
  CHECK(f.offers.respond(&f.beta, other, "client", Fixture::at(1)).error().kind ==
        ErrorKind::kConflict);
  f.offers.handlers_said(query.id, Fixture::nothing());
  f.offers.handlers_said(query.id, Fixture::text("after the last"));
  REQUIRE(f.answers.size() == 3);
  CHECK(f.answers[1].second.payload == "client");
  CHECK(f.answers[1].second.responder == "client");
  CHECK_FALSE(f.answers[1].second.last);
  CHECK(f.answers[2].second.last);
}

TEST_CASE("a host where only a client answers has a handler for it") {
  Fixture f;
  const auto query = f.query(1, 5);
  const uint64_t number = f.offers.offer({&f.alpha, 1}, query);
  REQUIRE(f.offers.respond(&f.alpha, number, "client", Fixture::at(1)));
  Answer nobody = Fixture::nothing();
  nobody.kind = ReplyKind::kNoHandler;
  f.offers.handlers_said(query.id, nobody);
  REQUIRE(f.answers.size() == 2);
  CHECK(f.answers[1].second.kind == ReplyKind::kNoAnswer);
  CHECK(f.answers[1].second.last);
}

TEST_CASE("when the last client is gone, nobody is waited for") {
  Fixture f;
  const auto query = f.query(1, 5);
  f.offers.offer({&f.alpha, 1}, query);
  f.offers.offer({&f.alpha, 2}, query);
  f.offers.offer({&f.beta, 1}, query);
  f.offers.handlers_said(query.id, Fixture::nothing());
  f.offers.forget({&f.alpha, 1});
  f.offers.forget(&f.beta);
  CHECK(f.answers.empty());
  f.offers.forget(&f.alpha);
  REQUIRE(f.answers.size() == 1);
  CHECK(f.answers[0].second.kind == ReplyKind::kNoAnswer);
}

TEST_CASE("queries past their deadline, and too many of them, are forgotten") {
  Fixture f;
  f.offers.offer({&f.alpha, 1}, f.query(1, 5));
  f.offers.offer({&f.alpha, 1}, f.query(2, 9));
  f.offers.expire(Fixture::at(5));
  CHECK(f.offers.size() == 1);
  for (uint64_t i = 0; i < 2 * QueryOffers::kMaxQueries; ++i) {
    f.offers.offer({&f.alpha, 1}, f.query(10 + i, 100));
  }
  CHECK(f.offers.size() == QueryOffers::kMaxQueries);
}
