// SPDX-License-Identifier: Apache-2.0
//
// Nobody speaks in another's name: events, queries, their ends and answers that their origin has
// not signed are refused on every way in, and change nothing for the real ones.
#include "membership/gossip/origins.h"

#include <algorithm>

#include "membership/gossip/event_log.h"
#include "membership/limits.h"
#include "membership/node.h"
#include "membership/wire.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using starling::test::sign_as_origin;
using test::address_of;
using test::identity_of;
using test::member_record;
using test::node_id;

namespace {

/// How something is not its origin's.
enum class Forgery { kNone, kUnsigned, kOtherKey, kOthersSignature, kChanged, kOtherSequence };

const MessageId kId{node_id(7), 3, 1};

/// Signs as `how` says; number 1 is the forger.
template <typename Message, typename Change>
void sign(const MessageId& id, Message& message, Forgery how, const Change& change) {
  MessageId as = id;
  if (how == Forgery::kUnsigned) return;
  if (how == Forgery::kOtherKey || how == Forgery::kOthersSignature) as.origin = node_id(1);
  if (how == Forgery::kOtherSequence) ++as.sequence;
  sign_as_origin(as, message);
  const PublicKey key = starling::test::stand_in_key(id.origin);
  if (how == Forgery::kOthersSignature) message.set_public_key(key.data(), key.size());
  if (how == Forgery::kChanged) change(message);
}

proto::Record event(Forgery how, bool large = false, const MessageId& id = kId) {
  proto::UserEvent event;
  event.set_name("deploy");
  if (large) {
    event.set_size(5000);
    event.set_digest(digest_of(std::string(5000, 'x')));
  } else {
    event.set_payload("v1");
  }
  event.set_ltime(4711);
  sign(id, event, how, [](proto::UserEvent& changed) { changed.set_name("destroy"); });
  proto::Record record;
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(message_key(id));
  record.set_payload(event.SerializeAsString());
  return record;
}

proto::Record query(Forgery how) {
  proto::Query query;
  query.set_name("load");
  query.set_timeout_ms(10'000);
  query.set_ltime(4711);
  sign(kId, query, how, [](proto::Query& changed) { changed.set_relay_factor(9); });
  proto::Record record;
  record.set_kind(proto::RECORD_QUERY);
  record.set_key(message_key(kId));
  record.set_payload(query.SerializeAsString());
  return record;
}

proto::Record over(Forgery how) {
  proto::QueryOver over;
  sign(kId, over, how, [](proto::QueryOver& changed) { changed.clear_signature(); });
  proto::Record record;
  record.set_kind(proto::RECORD_QUERY_OVER);
  record.set_key(message_key(kId));
  record.set_payload(over.SerializeAsString());
  return record;
}

/// How a record gets into a member.
enum class Way { kPush, kRide, kJoin, kJoinedBy, kComparedBy };

/// One node that knows number 1, and not number 7, in whose name things are said.
struct Bench {
  explicit Bench(bool met = true) {
    if (met) bring(Way::kRide, Members::encode(member_record(1, Incarnation::at(1, 0))));
  }

  void bring(Way way, const proto::Record& record) {
    now += 10ms;
    if (way == Way::kPush || way == Way::kRide) {
      proto::Packet packet;
      packet.set_sender(std::string(node_id(1).wire()));
      if (way == Way::kRide) {
        *packet.add_records() = record;
      } else {
        proto::Push& push = *packet.add_pushes();
        *push.add_records() = record;
        push.set_hop(++hop);
      }
      node.receive_datagram(now, address_of(1), packet.SerializeAsString());
      return;
    }
    proto::StreamMessage batch = message();
    *batch.mutable_sync_batch()->add_records() = record;
    batch.mutable_sync_batch()->set_last(true);
    const StreamId stream = way == Way::kJoin ? joined() : accepted(way);
    node.receive_stream(now, stream, batch.SerializeAsString());
    node.stream_closed(now, stream, StreamEnd::kClosed);
  }

  /// The first exchange, which this node has opened, up to the records.
  StreamId joined() {
    node.join(now, {address_of(1)}, true);
    const auto stream = opened_to(1);
    REQUIRE(stream);
    reply(*stream, 1, 0);
    return *stream;
  }

  /// The stream that this node has opened last to a member, if to that one.
  std::optional<StreamId> opened_to(uint32_t number) {
    const auto opened = all<OpenStream>();
    if (opened.empty() || opened.back().to != address_of(number)) return std::nullopt;
    return opened.back().stream;
  }

  /// Member `number` answers on a stream, and has had so many events of number 7.
  void reply(StreamId stream, uint32_t number, uint64_t sevens) {
    node.stream_opened(now, stream);
    proto::StreamMessage whole = message();
    proto::SyncReply& reply = *whole.mutable_sync_reply();
    *reply.mutable_self() = member_record(number, Incarnation::at(number == 7 ? 3 : 1, 0));
    for (uint32_t i = 0; i < EventLines::kBuckets; ++i) reply.add_differing_events(i);
    if (sevens > 0) {
      proto::EventProgress& progress = *reply.add_events();
      progress.set_origin(std::string(node_id(7).wire()));
      progress.set_epoch(3);
      progress.set_contiguous(sevens);
    }
    node.receive_stream(now, stream, whole.SerializeAsString());
  }
  /// It gives nothing.
  void finish(StreamId stream) {
    proto::StreamMessage batch = message();
    batch.mutable_sync_batch()->set_last(true);
    node.receive_stream(now, stream, batch.SerializeAsString());
  }

  /// One that number 1 has opened.
  StreamId accepted(Way way) {
    const StreamId stream = next_stream++;
    node.stream_accepted(now, stream, address_of(1));
    proto::StreamMessage opening = message();
    proto::SyncRequest& request = *opening.mutable_sync_request();
    *request.mutable_self() = member_record(1, Incarnation::at(1, 0));
    request.set_join(way == Way::kJoinedBy);
    for (int i = 0; way == Way::kComparedBy && i < 256; ++i) request.add_buckets(1);
    for (int i = 0; way == Way::kComparedBy && i < 64; ++i) request.add_event_buckets(1);
    node.receive_stream(now, stream, opening.SerializeAsString());
    return stream;
  }

  static proto::StreamMessage message() {
    proto::StreamMessage message;
    message.set_sender(std::string(node_id(1).wire()));
    return message;
  }

  void collect() {
    for (Action& action : node.take_actions()) actions.push_back(std::move(action));
  }
  template <typename T>
  std::vector<T> all() {
    collect();
    std::vector<T> found;
    for (const Action& action : actions) {
      if (const auto* kind = std::get_if<T>(&action)) found.push_back(*kind);
    }
    return found;
  }

  TimePoint now = TimePoint{} + 1s;
  uint32_t hop = 0;
  StreamId next_stream = kFirstAcceptedStream;
  Actions actions;
  Node node{Options::lan(), identity_of(0), Random(1), now};
};

}  // namespace

TEST_CASE("an event that its origin has not signed gets in on no way, and the real one on each") {
  const Way way = GENERATE(Way::kPush, Way::kRide, Way::kJoin, Way::kJoinedBy, Way::kComparedBy);
  const Forgery how = GENERATE(Forgery::kUnsigned, Forgery::kOtherKey, Forgery::kOthersSignature,
                               Forgery::kChanged, Forgery::kOtherSequence);
  const bool large = GENERATE(false, true);
  CAPTURE(way, how, large);
  Bench bench;
  const uint64_t progress = bench.node.event_fingerprint();
  bench.bring(way, event(how, large));
  CHECK(bench.node.statistics().forged_events == 1);
  CHECK(bench.node.event_fingerprint() == progress);
  CHECK(bench.node.clocks().event < 4711);
  CHECK(bench.node.sizes().fetches == 0);
  CHECK(bench.all<UserEventArrived>().empty());
  const auto told = bench.all<Trace>();
  CHECK(std::ranges::any_of(told, [](const Trace& trace) {
    return trace.level == TraceLevel::kWarn && trace.text.find("10.0.0.1") != std::string::npos;
  }));
  bench.bring(way, event(Forgery::kNone, large));
  CHECK(bench.node.statistics().forged_events == 1);
  CHECK(bench.all<UserEventArrived>().size() == (large ? 0 : 1));
  CHECK(bench.node.sizes().fetches == (large ? 1 : 0));
}

TEST_CASE("an event is verified once, and not again when its payload is under way") {
  Bench bench;
  for (const bool large : {false, true}) {
    const MessageId id{node_id(7), 3, large ? 2U : 1U};
    bench.bring(Way::kPush, event(Forgery::kNone, large, id));
    bench.bring(Way::kPush, event(Forgery::kUnsigned, large, id));
  }
  CHECK(bench.node.statistics().forged_events == 0);
}

TEST_CASE("a flood of forged events is soon not looked at, and others are heard") {
  Bench bench;
  for (uint64_t i = 1; i <= 1000; ++i) {
    const MessageId id{node_id(7), 3, i};
    proto::Packet packet;
    packet.set_sender(std::string(node_id(1).wire()));
    *packet.add_records() = event(Forgery::kOtherKey, false, id);
    bench.node.receive_datagram(bench.now, address_of(1), packet.SerializeAsString());
  }
  CHECK(bench.node.statistics().forged_events == 64);
  CHECK(bench.node.statistics().unverified_records == 1000 - 64);
  size_t warnings = 0;
  for (const Trace& trace : bench.all<Trace>()) {
    warnings += trace.text.find("not signed") != std::string::npos ? 1 : 0;
  }
  CHECK(warnings == 1);
  // By datagram from the same address nothing is looked at for a while; by stream it is.
  bench.bring(Way::kComparedBy, event(Forgery::kNone));
  CHECK(bench.all<UserEventArrived>().size() == 1);
}

TEST_CASE("a forgery is not passed on in good company") {
  Bench bench;
  bench.bring(Way::kRide, Members::encode(member_record(2, Incarnation::at(1, 0))));
  bench.collect();
  bench.actions.clear();
  proto::Packet packet;
  packet.set_sender(std::string(node_id(1).wire()));
  proto::Push& push = *packet.add_pushes();
  *push.add_records() = event(Forgery::kUnsigned);
  *push.add_records() = event(Forgery::kNone, false, {node_id(7), 3, 2});
  push.set_range_end(UINT64_MAX);
  push.set_hop(1);
  bench.node.receive_datagram(bench.now, address_of(1), packet.SerializeAsString());
  size_t passed_on = 0;
  for (const SendDatagram& datagram : bench.all<SendDatagram>()) {
    proto::Packet sent;
    REQUIRE(sent.ParseFromString(datagram.bytes));
    for (const proto::Push& onward : sent.pushes()) {
      REQUIRE(onward.records_size() == 1);
      CHECK(read_message_key(onward.records(0).key())->sequence == 2);
      ++passed_on;
    }
  }
  CHECK(passed_on == 1);
}

TEST_CASE("a running origin is asked about events that others claim and cannot give") {
  Bench bench;
  bench.bring(Way::kRide, Members::encode(member_record(7, Incarnation::at(3, 0))));
  const StreamId lying = [&bench] {
    bench.node.join(bench.now, {address_of(1)}, true);
    return bench.opened_to(1).value();
  }();
  bench.reply(lying, 1, 1000);
  bench.finish(lying);
  const auto asked = bench.opened_to(7);
  REQUIRE(asked);
  bench.reply(*asked, 7, 0);
  bench.finish(*asked);
  bench.bring(Way::kPush, event(Forgery::kNone));
  CHECK(bench.all<UserEventArrived>().size() == 1);
}

TEST_CASE("who joins through a liar hears of the origin what its present is") {
  Bench bench(false);
  bench.node.join(bench.now, {address_of(1)}, false);
  const auto lying = bench.opened_to(1);
  REQUIRE(lying);
  bench.reply(*lying, 1, 1000);
  bench.finish(*lying);
  for (const uint32_t number : {2U, 7U}) {
    bench.bring(Way::kRide,
                Members::encode(member_record(number, Incarnation::at(number == 7 ? 3 : 1, 0))));
  }
  bench.bring(Way::kPush, event(Forgery::kNone, false, {node_id(7), 3, 3}));
  CHECK(bench.all<UserEventArrived>().empty());  // it is believed, so far
  bench.node.join(bench.now, {address_of(2)}, false);
  const auto honest = bench.opened_to(2);
  REQUIRE(honest);
  bench.reply(*honest, 2, 2);
  const auto asked = bench.opened_to(7);
  REQUIRE(asked);
  bench.reply(*asked, 7, 2);
  bench.finish(*asked);
  bench.bring(Way::kPush, event(Forgery::kNone, false, {node_id(7), 3, 2}));
  CHECK(bench.all<UserEventArrived>().empty());  // it was before the join
  bench.bring(Way::kPush, event(Forgery::kNone, false, {node_id(7), 3, 3}));
  CHECK(bench.all<UserEventArrived>().size() == 1);
}

TEST_CASE("a query, and the word that it is over, must be the asker's own") {
  const Way way = GENERATE(Way::kPush, Way::kRide);
  const Forgery how = GENERATE(Forgery::kUnsigned, Forgery::kOtherKey, Forgery::kOthersSignature,
                               Forgery::kChanged, Forgery::kOtherSequence);
  CAPTURE(way, how);
  Bench bench;
  bench.bring(way, query(how));
  bench.bring(way, over(how));
  CHECK(bench.node.statistics().forged_queries == 2);
  CHECK(bench.node.clocks().query < 4711);
  CHECK(bench.all<QueryArrived>().empty());
  bench.bring(way, query(Forgery::kNone));
  CHECK(bench.all<QueryArrived>().size() == 1);
  bench.bring(way, over(how));
  CHECK(bench.node.statistics().forged_queries == 3);
  CHECK(bench.all<QueryOver>().empty());
  bench.bring(way, over(Forgery::kNone));
  CHECK(bench.node.statistics().forged_queries == 3);
  CHECK(bench.all<QueryOver>().size() == 1);
}

TEST_CASE("an answer must be its responder's own, whoever brings it") {
  const bool by_stream = GENERATE(false, true);
  const Forgery how = GENERATE(Forgery::kUnsigned, Forgery::kOtherKey, Forgery::kOthersSignature,
                               Forgery::kChanged, Forgery::kOtherSequence);
  CAPTURE(by_stream, how);
  Bench bench;
  QueryOptions question;
  question.name = "load";
  const auto asked = bench.node.send_query(bench.now, question);
  REQUIRE(asked);
  const auto bring = [&](Forgery forgery) {
    proto::DirectMessage answer;
    write_id(kId, *answer.mutable_id());
    answer.set_to(std::string(node_id(0).wire()));
    answer.set_hops_left(1);
    proto::QueryReply& reply = *answer.mutable_query_reply();
    write_id(asked->id, *reply.mutable_query());
    reply.set_status(proto::REPLY_RESPONSE);
    reply.set_payload(std::string(by_stream ? 5000 : 5, 'a'));
    reply.set_last(true);
    reply.set_answers(1);
    sign(kId, answer, forgery, [](proto::DirectMessage& changed) {
      changed.mutable_query_reply()->mutable_payload()->at(3) = 'b';
    });
    answer.set_hops_left(0);  // a carrier has it
    proto::StreamMessage whole = Bench::message();
    proto::Packet packet;
    packet.set_sender(whole.sender());
    if (by_stream) {
      *whole.mutable_direct() = answer;
      const StreamId stream = bench.next_stream++;
      bench.node.stream_accepted(bench.now, stream, address_of(1));
      bench.node.receive_stream(bench.now, stream, whole.SerializeAsString());
    } else {
      *packet.add_direct() = answer;
      bench.node.receive_datagram(bench.now, address_of(1), packet.SerializeAsString());
    }
  };
  const auto answers = [&bench] {
    const auto all = bench.all<QueryAnswered>();
    return std::ranges::count_if(
        all, [](const QueryAnswered& answer) { return answer.kind == ReplyKind::kResponse; });
  };
  bring(how);
  CHECK(bench.node.statistics().forged_answers == 1);
  CHECK(answers() == 0);
  bring(Forgery::kNone);
  bring(Forgery::kNone);
  CHECK(bench.node.statistics().forged_answers == 1);
  CHECK(answers() == 1);
}

TEST_CASE(
    "what was kept by a build that did not sign is signed by its origin and not passed on by "
    "others") {
  const auto kept = [](const MessageId& id, size_t size) {
    proto::UserEvent event;
    event.set_name("deploy");
    event.set_payload(std::string(size, 'x'));
    return Restored::KeptEvent{id, event.SerializeAsString()};
  };
  Context context{Options::lan(), identity_of(0), Random(1), {}, {}, {}, {}, {}, {}};
  EventLog log(context);
  Restored restored;
  const MessageId own{node_id(0), 1, 1};
  const MessageId own_larger{node_id(0), 1, 2};
  const MessageId others{node_id(7), 1, 1};
  restored.progress = {{node_id(0), 1, 2, {}}, {node_id(7), 1, 1, {}}};
  restored.events = {kept(own, 5), kept(own_larger, kMaxInlinePayload), kept(others, 5)};
  log.restore(restored);
  CHECK(log.held() == 3);
  CHECK(log.payload_of(others) == std::string(5, 'x'));
  CHECK_FALSE(log.find(others));
  std::array<bool, EventLines::kBuckets> all{};
  all.fill(true);
  CHECK(log.lacking_there(all, {}, 10) == std::vector<MessageId>{own, own_larger});
  Context elsewhere{Options::lan(), identity_of(1), Random(1), {}, {}, {}, {}, {}, {}};
  EventLog there(elsewhere);
  there.fetch = [](const MessageId&, const proto::Record&, const NodeId&) {
    return Verdict::kFresh;
  };
  for (const MessageId& id : {own, own_larger}) {
    const auto record = log.find(id);
    REQUIRE(record);
    CHECK(there.apply(*record, node_id(0)) == Verdict::kFresh);
  }
  CHECK(*log.large_payload(own_larger) == std::string(kMaxInlinePayload, 'x'));
}

TEST_CASE("what is signed says each thing in one way only") {
  const PublicKey key = starling::test::stand_in_key(node_id(7));
  const auto text = [&key](const proto::UserEvent& event, const MessageId& id = kId) {
    std::string written;
    write_signed_text(key, id, event, written);
    return written;
  };
  proto::UserEvent event;
  event.set_name("ab");
  event.set_payload("c");
  const std::string first = text(event);
  event.set_name("a");
  event.set_payload("bc");
  CHECK(text(event) != first);
  event.set_name("ab");
  event.set_payload("c");
  CHECK(text(event) == first);
  const auto differs = [&](const auto& change) {
    proto::UserEvent other = event;
    change(other);
    return text(other) != first;
  };
  CHECK(differs([](proto::UserEvent& other) { other.set_coalesce(true); }));
  CHECK(differs([](proto::UserEvent& other) { other.set_ltime(1); }));
  CHECK(differs([](proto::UserEvent& other) { other.set_size(1); }));
  CHECK(differs([](proto::UserEvent& other) { other.set_digest("d"); }));
  CHECK(differs([](proto::UserEvent& other) { other.set_authorization("a"); }));
  CHECK(text(event, {kId.origin, kId.epoch + 1, kId.sequence}) != first);
  CHECK(text(event, {kId.origin, kId.epoch, kId.sequence + 1}) != first);
}
