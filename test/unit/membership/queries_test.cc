// SPDX-License-Identifier: Apache-2.0
//
// The bounds of queries at one member, and the word that a query is over.
#include "membership/gossip/queries.h"

#include "membership/limits.h"
#include "membership/wire.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

namespace starling::membership {
namespace {

using test::address_of;
using test::member_record;
using test::node_id;

struct Answering : test::Parts {
  Answering() {
    REQUIRE(members.apply(member_record(1, Incarnation::at(1, 0)), Heard::kPushed) ==
            Verdict::kFresh);
  }

  /// A query of node 1.
  MessageId arrive(uint64_t sequence, Duration timeout = 10s) {
    const MessageId id{node_id(1), 1, sequence};
    REQUIRE(queries.apply(query_record(id, timeout)) == Verdict::kFresh);
    return id;
  }
  static proto::Record query_record(const MessageId& id, Duration timeout = 10s) {
    proto::Query query;
    query.set_name("x");
    query.set_timeout_ms(static_cast<uint64_t>(timeout / 1ms));
    starling::test::sign_as_origin(id, query);
    proto::Record record;
    record.set_kind(proto::RECORD_QUERY);
    record.set_key(message_key(id));
    record.set_payload(query.SerializeAsString());
    return record;
  }
  static proto::Record over_record(const MessageId& id) {
    proto::Record record;
    record.set_kind(proto::RECORD_QUERY_OVER);
    record.set_key(message_key(id));
    proto::QueryOver over;
    starling::test::sign_as_origin(id, over);
    record.set_payload(over.SerializeAsString());
    return record;
  }
  static Answer answer(std::string payload, bool last) {
    Answer one;
    one.payload = std::move(payload);
    one.last = last;
    return one;
  }

  Streams streams{context};
  Messenger messenger{context, table, outbox, streams};
  RateLimit rates{context.options, context.now};
  Queries queries{context, table, members, messenger, rates};
};

TEST_CASE("answers that wait to be sent are bounded and the asker is told") {
  Answering node;
  const std::string mebibyte(1U << 20, 'x');
  const MessageId first = node.arrive(1);
  const MessageId second = node.arrive(2);
  for (int i = 0; i < 40; ++i)
    REQUIRE(node.queries.answer(first, Answering::answer(mebibyte, false)));
  Result<void> answered;
  size_t taken = 40;
  while ((answered = node.queries.answer(second, Answering::answer(mebibyte, false)))) ++taken;
  CHECK(taken == 63);  // each has its envelope
  CHECK(answered.error().kind == ErrorKind::kBusy);
  CHECK(node.context.statistics.dropped_direct == 1);
  CHECK(node.messenger.waiting_bytes() <= kMaxDirectBytes);
  bool told = false;
  for (const auto& [to, packet] : node.sent()) {
    for (const proto::DirectMessage& message : packet.direct()) {
      if (message.query_reply().status() == proto::REPLY_BUSY) told = to == address_of(1);
    }
  }
  CHECK(told);
  // Who wants no more makes room at once.
  REQUIRE(node.queries.apply_over(Answering::over_record(first)) == Verdict::kFresh);
  CHECK(node.messenger.waiting() == 23);
  CHECK(node.take<QueryOver>().size() == 1);
  CHECK(node.queries.answer(first, Answering::answer("late", true)).error().kind ==
        ErrorKind::kNotFound);
  // What is not acknowledged is given up at the deadline.
  node.context.now += 11s;
  node.messenger.advance();
  CHECK(node.messenger.waiting() == 0);
  CHECK(node.messenger.waiting_bytes() == 0);
  CHECK(node.context.statistics.expired_direct == 23);
}

TEST_CASE("a member gives a bounded number of answers and can always end") {
  Answering node;
  const MessageId id = node.arrive(1);
  size_t given = 0;
  while (node.queries.answer(id, Answering::answer("x", false))) ++given;
  CHECK(given == kMaxAnswers - 1);
  CHECK(node.queries.answer(id, Answering::answer("x", true)));
  CHECK(node.messenger.waiting() == kMaxAnswers);
}

TEST_CASE("an answer that is too large is counted and told") {
  Answering node;
  const MessageId id = node.arrive(1);
  const std::string large((1U << 20) + 1, 'x');
  CHECK(node.queries.answer(id, Answering::answer(large, true)).error().kind ==
        ErrorKind::kTooLarge);
  CHECK(node.context.statistics.refused_answers_size == 1);
  CHECK(node.messenger.waiting() == 1);
}

TEST_CASE("the end of a query that overtakes it keeps it from beginning") {
  Answering node;
  const MessageId id{node_id(1), 1, 7};
  CHECK(node.queries.apply_over(Answering::over_record(id)) == Verdict::kFresh);
  CHECK(node.queries.apply_over(Answering::over_record(id)) == Verdict::kKnown);
  CHECK(node.queries.apply(Answering::query_record(id)) == Verdict::kKnown);
  CHECK(node.take<QueryArrived>().empty());
  CHECK(node.queries.knows_over(id));
  REQUIRE(node.queries.find_over(id));
  CHECK_FALSE(node.queries.find(id));
  proto::Record broken = Answering::over_record(id);
  broken.set_payload("x");
  CHECK(node.queries.apply_over(broken) == Verdict::kInvalid);
  broken.set_key("short");
  CHECK(node.queries.apply_over(broken) == Verdict::kInvalid);
}

TEST_CASE("own queries are bounded in number and in size") {
  Answering node;
  QueryOptions query;
  query.name = "x";
  for (size_t i = 0; i < kMaxOwnQueries; ++i) REQUIRE(node.queries.start(query));
  const auto refused = node.queries.start(query);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("256 queries of this agent are still running") !=
        std::string::npos);
  CHECK(node.context.statistics.refused_queries_running == 1);
  Answering other;
  query.payload = std::string(1024, 'x');
  CHECK(other.queries.start(query).error().message.find("query_size_limit can be at most 924") !=
        std::string::npos);
  query.payload.clear();
  query.nodes.assign(65, "n");
  CHECK(other.queries.start(query).error().message.find("the limit is 64") != std::string::npos);
  CHECK(other.context.statistics.refused_queries_size == 2);
}

/// Node 0 asks nodes 0 and 1; nobody has answered yet.
struct Asking : Answering {
  Asking() {
    QueryOptions query;
    query.name = "x";
    query.timeout = 60s;
    const auto started = queries.start(query);
    REQUIRE(started);
    CHECK(started->handle.addressed == 2);
    id = started->handle.id;
    take<QueryAnswered>();
  }

  /// Number 1 fails, and `number` comes under its name.
  void replace_first(uint32_t number) {
    accuse(1, {0});
    run_for(4s);
    REQUIRE(status_of(1) == Status::kFailed);
    queries.member_gone(node_id(1), false);
    proto::MemberRecord newcomer = member_record(number, Incarnation::at(2, 0));
    newcomer.set_name("node1");
    starling::test::sign_as_owner(newcomer);
    REQUIRE(members.apply(newcomer, Heard::kSynced) == Verdict::kFresh);
  }
  void reply(uint32_t number, proto::ReplyStatus status) {
    proto::QueryReply reply;
    write_id(id, *reply.mutable_query());
    reply.set_status(status);
    reply.set_payload(std::to_string(number));
    reply.set_last(status != proto::REPLY_ACK);
    if (reply.last()) reply.set_answers(1);
    queries.receive_reply(node_id(number), reply);
  }
  /// What the user has been told since the last time: names, with "ack" or the payload.
  std::vector<std::string> told() {
    std::vector<std::string> told;
    for (const QueryAnswered& answer : take<QueryAnswered>()) {
      told.push_back(answer.from + ": " +
                     (answer.kind == ReplyKind::kAck ? "ack" : answer.payload));
    }
    return told;
  }

  MessageId id;
};

using Told = std::vector<std::string>;

TEST_CASE("who comes under the name of a member that has answered does not answer again") {
  Asking node;
  node.reply(1, proto::REPLY_ACK);
  node.reply(1, proto::REPLY_RESPONSE);
  CHECK(node.told() == Told{"node1: ack", "node1: 1"});
  node.replace_first(77);
  node.reply(77, proto::REPLY_ACK);
  node.reply(77, proto::REPLY_RESPONSE);
  CHECK(node.told().empty());
  CHECK(node.context.statistics.dropped_answers == 1);
}

TEST_CASE("who comes under the name of a member that was asked may answer in its place") {
  Asking node;
  node.reply(1, proto::REPLY_ACK);
  node.replace_first(77);
  CHECK(node.told() == Told{"node1: ack"});
  node.reply(77, proto::REPLY_ACK);
  node.reply(77, proto::REPLY_RESPONSE);
  CHECK(node.told() == Told{"node1: 77"});
  node.reply(1, proto::REPLY_RESPONSE);  // was on its way for long
  CHECK(node.told().empty());
  node.reply(0, proto::REPLY_RESPONSE);
  const auto ended = node.take<QueryEnded>();
  REQUIRE(ended.size() == 1);
  CHECK(ended.front().silent.empty());
}

TEST_CASE("who was not asked answers once, and is not waited for") {
  Asking node;
  REQUIRE(node.members.apply(member_record(5, Incarnation::at(1, 0)), Heard::kSynced) ==
          Verdict::kFresh);
  node.reply(5, proto::REPLY_ACK);
  node.reply(5, proto::REPLY_ACK);
  CHECK(node.told() == Told{"node5: ack"});
  node.reply(0, proto::REPLY_RESPONSE);
  node.reply(1, proto::REPLY_RESPONSE);
  const auto ended = node.take<QueryEnded>();
  REQUIRE(ended.size() == 1);
  CHECK(ended.front().silent.empty());
}

TEST_CASE("those that answer unasked are bounded") {
  Asking node;
  for (uint32_t number = 2; number < 2 + Queries::kMaxUnasked + 3; ++number) {
    node.reply(number, proto::REPLY_RESPONSE);
  }
  CHECK(node.context.statistics.dropped_answers == 3);
}

TEST_CASE("a query that was captured is not answered again when it is long forgotten") {
  Answering node;
  for (const uint64_t sequence : {3, 5, 4}) node.arrive(sequence);
  CHECK(node.take<QueryArrived>().size() == 3);
  node.context.now += 1h;
  node.queries.advance();
  CHECK_FALSE(node.queries.has({node_id(1), 1, 5}));
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    CHECK(node.queries.apply(Answering::query_record({node_id(1), 1, sequence})) ==
          Verdict::kStale);
  }
  CHECK(node.queries.apply(Answering::query_record({node_id(1), 0, 9})) == Verdict::kStale);
  CHECK(node.take<QueryArrived>().empty());
  node.arrive(6);
  CHECK(node.queries.apply(Answering::query_record({node_id(1), 2, 1})) == Verdict::kFresh);
  CHECK(node.queries.apply(Answering::query_record({node_id(2), 1, 1})) == Verdict::kFresh);
}

TEST_CASE("what an earlier process heard of an asker is over for good") {
  Answering node;
  node.queries.restore({{node_id(1), 4, 6}, {node_id(1), 4, 8}, {node_id(2), 1, 1}});
  const auto verdict = [&node](const MessageId& id) {
    return node.queries.apply(Answering::query_record(id));
  };
  CHECK(verdict({node_id(1), 4, 8}) == Verdict::kKnown);
  CHECK(verdict({node_id(1), 4, 7}) == Verdict::kStale);
  CHECK(verdict({node_id(1), 3, 9}) == Verdict::kStale);
  CHECK(verdict({node_id(2), 1, 1}) == Verdict::kKnown);
  CHECK(node.take<QueryArrived>().empty());
  CHECK(verdict({node_id(1), 4, 9}) == Verdict::kFresh);
  CHECK(verdict({node_id(1), 5, 1}) == Verdict::kFresh);
}

TEST_CASE("a query of an epoch that its asker has not reached shuts nobody out") {
  Answering node;
  const MessageId forged{node_id(1), UINT32_MAX, 1};
  CHECK(node.queries.apply(Answering::query_record(forged)) == Verdict::kFresh);
  node.context.now += 1h;
  node.queries.advance();
  node.arrive(1);
}

TEST_CASE("askers whose past is known are bounded") {
  Answering node;
  std::vector<MessageId> past;
  for (size_t i = 0; i < Queries::kMaxPast + 100; ++i) {
    MessageId id{node_id(7), 1, 1};
    id.origin.bytes[0] = static_cast<uint8_t>(i >> 8);
    id.origin.bytes[1] = static_cast<uint8_t>(i);
    past.push_back(id);
  }
  node.queries.restore(past);
  size_t fresh = 0;
  for (const MessageId& id : past) {
    if (node.queries.apply(Answering::query_record(id)) == Verdict::kFresh) ++fresh;
  }
  CHECK(fresh <= 100);
}

TEST_CASE("queries beyond those that can be remembered push the oldest out") {
  Answering node;
  for (uint64_t i = 1; i <= kMaxSeenQueries + 3; ++i) node.arrive(i);
  CHECK(node.context.statistics.dropped_queries == 3);
  CHECK_FALSE(node.queries.has({node_id(1), 1, 1}));
  CHECK(node.queries.has({node_id(1), 1, kMaxSeenQueries + 3}));
}

}  // namespace
}  // namespace starling::membership
