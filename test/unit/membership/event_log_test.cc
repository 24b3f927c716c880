// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/event_log.h"

#include "membership/limits.h"
#include "membership/wire.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::node_id;

namespace {

Context context() {
  return Context{Options::lan(), test::identity_of(0), Random(1), TimePoint{}, {}, {}, {}, {}, {}};
}

proto::Record event(uint32_t origin, uint64_t sequence, const std::string& payload = "p") {
  proto::UserEvent body;
  body.set_ltime(sequence);
  body.set_name("deploy");
  body.set_payload(payload);
  starling::test::sign_as_origin({node_id(origin), 1, sequence}, body);
  proto::Record record;
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(message_key({node_id(origin), 1, sequence}));
  record.set_payload(body.SerializeAsString());
  return record;
}

std::vector<uint64_t> order(const Context& context) {
  std::vector<uint64_t> sequences;
  for (const Action& action : context.actions) {
    const auto* arrived = std::get_if<UserEventArrived>(&action);
    if (arrived != nullptr) sequences.push_back(arrived->id.sequence);
  }
  return sequences;
}

std::vector<std::pair<uint64_t, uint64_t>> missed(const Context& context) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const Action& action : context.actions) {
    const auto* gone = std::get_if<EventsMissed>(&action);
    if (gone != nullptr) ranges.emplace_back(gone->first, gone->last);
  }
  return ranges;
}

/// What one process leaves to the next.
Restored kept(const Context& context) {
  Restored restored;
  for (const Action& action : context.actions) {
    if (const auto* saved = std::get_if<SaveProgress>(&action)) restored.progress = {*saved};
    if (const auto* arrived = std::get_if<UserEventArrived>(&action)) {
      restored.events.push_back({arrived->id, arrived->record});
    }
  }
  return restored;
}

MessageId id_of(uint32_t origin, uint64_t sequence) {
  return {node_id(origin), 1, sequence};
}

EventLines::Wire wire(const std::vector<proto::EventProgress>& lines) {
  return {lines.begin(), lines.end()};
}

proto::EventProgress progress(uint32_t origin, uint64_t contiguous,
                              const std::vector<uint64_t>& beyond = {}) {
  proto::EventProgress wire;
  wire.set_origin(std::string(node_id(origin).wire()));
  wire.set_epoch(1);
  wire.set_contiguous(contiguous);
  for (const uint64_t sequence : beyond) wire.add_beyond(sequence);
  return wire;
}

}  // namespace

TEST_CASE("events come once and in the order of their origin, whatever order they arrive in") {
  Context c = context();
  EventLog log(c);
  for (const uint64_t sequence : {3, 1, 3, 2, 1, 5, 4, 5})
    log.apply(event(7, sequence), node_id(2));
  CHECK(order(c) == std::vector<uint64_t>{1, 2, 3, 4, 5});
  CHECK(log.apply(event(7, 4), node_id(2)) == Verdict::kKnown);
  CHECK(log.held() == 5);
  CHECK(log.waiting() == 0);
  CHECK(log.waiting_bytes() == 0);
}

TEST_CASE("what waits is passed on, given to others and asked for") {
  Context c = context();
  EventLog log(c);
  std::vector<MessageId> gaps;
  log.gap = [&](const MessageId& id, const NodeId& from) {
    CHECK(from == node_id(2));
    gaps.push_back(id);
  };
  CHECK(log.apply(event(7, 3), node_id(2)) == Verdict::kFresh);
  CHECK(order(c).empty());
  CHECK(log.find(id_of(7, 3)).has_value());
  CHECK(log.has(id_of(7, 3)));
  CHECK_FALSE(log.delivered(id_of(7, 3)));
  CHECK(gaps == std::vector<MessageId>{id_of(7, 3)});
  CHECK(log.lines().gap_before(id_of(7, 3), 10) ==
        std::vector<MessageId>{id_of(7, 1), id_of(7, 2)});
}

TEST_CASE("what was delivered before a restart is not delivered after it, and what waited is") {
  Context first = context();
  EventLog log(first);
  for (const uint64_t sequence : {1, 2, 4}) log.apply(event(7, sequence), node_id(2));
  Context second = context();
  EventLog again(second);
  again.restore(kept(first));
  CHECK_FALSE(again.has(id_of(7, 4)));
  for (const uint64_t sequence : {1, 2, 3, 4}) again.apply(event(7, sequence), node_id(2));
  CHECK(order(second) == std::vector<uint64_t>{3, 4});
  CHECK(again.find(id_of(7, 2)).has_value());
}

TEST_CASE("what is lacking is worked out from the progress of the other side") {
  Context c = context();
  EventLog log(c);
  for (const uint64_t sequence : {1, 2, 5}) log.apply(event(7, sequence), node_id(2));
  const auto lacking = log.lines().lacking(progress(7, 6, {8}), 100);
  REQUIRE(lacking.size() == 4);
  CHECK(lacking[0].sequence == 3);
  CHECK(lacking[1].sequence == 4);
  CHECK(lacking[2].sequence == 6);
  CHECK(lacking[3].sequence == 8);
  CHECK(log.lines().lacking(progress(7, 2), 100).empty());
  CHECK(log.lines().lacking(progress(7, 1ULL << 60), 10).size() == 10);
  std::array<bool, EventLines::kBuckets> buckets{};
  CHECK(log.lacking_there(buckets, wire({progress(7, 1)}), 100).empty());
  buckets[EventLines::bucket_of({node_id(7), 1})] = true;
  CHECK(log.lacking_there(buckets, wire({progress(7, 1)}), 100).size() == 2);
}

TEST_CASE("fingerprints are equal when the progress is, and only the bucket of a line changes") {
  Context c = context();
  EventLog a(c);
  EventLog b(c);
  for (const uint64_t sequence : {1, 2, 3}) a.apply(event(7, sequence), node_id(2));
  for (const uint64_t sequence : {3, 1}) b.apply(event(7, sequence), node_id(2));
  for (size_t i = 0; i < EventLines::kBuckets; ++i) {
    const bool its = i == EventLines::bucket_of({node_id(7), 1});
    CHECK((a.lines().buckets()[i] != b.lines().buckets()[i]) == its);
  }
  b.apply(event(7, 2), node_id(2));
  CHECK(a.fingerprint() == b.fingerprint());
  CHECK(a.lines().buckets() == b.lines().buckets());
}

TEST_CASE("a newcomer that skips the past takes only what comes later") {
  Context c = context();
  c.now += 1h;
  EventLog log(c);
  log.begin_skip();
  proto::Record past = event(7, 8);
  past.set_age_ms(60'000);
  log.apply(past, node_id(2));          // somebody gave us the past
  log.apply(event(7, 12), node_id(2));  // the present, before the join was through
  CHECK(order(c).empty());
  log.end_skip(wire({progress(7, 10, {12})}));
  CHECK_FALSE(log.once_held(id_of(7, 9)));
  CHECK(log.apply(event(7, 9), node_id(2)) == Verdict::kKnown);
  CHECK(log.apply(event(7, 11), node_id(2)) == Verdict::kFresh);
  CHECK(log.apply(event(7, 12), node_id(2)) == Verdict::kKnown);
  CHECK(order(c) == std::vector<uint64_t>{11, 12});
  CHECK(log.waiting() == 0);
}

TEST_CASE("the present of a newcomer has no holes") {
  const auto aged = [](uint64_t sequence, uint64_t age_ms) {
    proto::Record record = event(7, sequence);
    record.set_age_ms(age_ms);
    return record;
  };
  Context c = context();
  c.now += 1h;
  EventLog log(c);
  log.begin_skip();
  log.apply(aged(1, 0), node_id(2));       // from a host whose clock stood still
  log.apply(aged(2, 60'000), node_id(3));  // from one that knows better
  log.apply(aged(3, 0), node_id(3));
  log.apply(aged(5, 0), node_id(3));
  log.end_skip(wire({progress(7, 5)}));
  CHECK(order(c) == std::vector<uint64_t>{3});
  CHECK(log.apply(event(7, 1), node_id(2)) == Verdict::kKnown);
  CHECK(log.apply(event(7, 4), node_id(2)) == Verdict::kFresh);  // is fetched
  CHECK(order(c) == std::vector<uint64_t>{3, 4, 5});
  CHECK(log.waiting() == 0);
}

TEST_CASE("an own event does not wait for the join") {
  Context c = context();
  EventLog log(c);
  log.begin_skip();
  MessageId id;
  log.create({"deploy", "x"}, id);
  CHECK(order(c) == std::vector<uint64_t>{1});
}

TEST_CASE("an event that nobody holds any longer counts as missed and not before") {
  Context c = context();
  EventLog log(c);
  log.apply(event(7, 2), node_id(2));
  const MessageId id = id_of(7, 1);
  // Peers that skipped it when they joined know nothing of it.
  for (int i = 0; i < 5; ++i) log.never_held(id);
  for (int i = 0; i < 5; ++i) log.dropped(id, node_id(2), 9);
  CHECK(c.statistics.events_missed == 0);
  CHECK_FALSE(log.has(id));
  log.dropped(id, node_id(3), 9);
  log.dropped(id, node_id(4), 9);
  CHECK(c.statistics.events_missed == 1);
  CHECK(log.has(id));
  CHECK(missed(c) == std::vector<std::pair<uint64_t, uint64_t>>{{1, 1}});
  CHECK(order(c) == std::vector<uint64_t>{2});
}

TEST_CASE("where there is only one to ask its word is enough") {
  Context c = context();
  EventLog log(c);
  for (uint64_t sequence = 1; sequence <= 3; ++sequence)
    log.dropped(id_of(7, sequence), node_id(2), 1);
  log.apply(event(7, 4), node_id(2));
  CHECK(c.statistics.events_missed == 3);
  CHECK(order(c) == std::vector<uint64_t>{4});
}

TEST_CASE("a gap that nobody knows of is given up, unless somebody is away") {
  Context c = context();
  EventLog log(c);
  bool away = true;
  log.may_come = [&](const MessageId& id, Duration waited) {
    CHECK(id == id_of(7, 1));
    return away && waited < 10min;
  };
  log.apply(event(7, 3), node_id(2));
  const auto wait = [&](Duration time) {
    for (const TimePoint end = c.now + time; c.now < end;) {
      c.now = std::min(end, log.next_deadline());
      log.advance();
    }
  };
  wait(5min);
  CHECK(order(c).empty());
  SECTION("whoever was away is back") {
    away = false;
    wait(31s);
  }
  SECTION("not for ever") {
    wait(6min);
  }
  CHECK(order(c) == std::vector<uint64_t>{3});
  CHECK(missed(c) == std::vector<std::pair<uint64_t, uint64_t>>{{1, 2}});
}

TEST_CASE("what all others have skipped is given up in the end") {
  Context c = context();
  EventLog log(c);
  log.never_held(id_of(7, 2));
  log.never_held(id_of(7, 1));
  c.now = log.next_deadline();
  CHECK(c.now < TimePoint{} + 1min);
  log.advance();
  CHECK(missed(c) == std::vector<std::pair<uint64_t, uint64_t>>{{1, 2}});
  EventLog newcomer(c);
  newcomer.begin_skip();
  newcomer.end_skip(wire({progress(7, 2)}));
  CHECK(log.fingerprint() == newcomer.fingerprint());
}

TEST_CASE("of a running origin others cannot claim what makes its real events look old") {
  Context c = context();
  EventLog log(c);
  log.apply(event(7, 1), node_id(2));
  SECTION("what they say that they have dropped, until several say so") {
    for (int i = 0; i < 5; ++i) log.dropped(id_of(7, 9), node_id(2), 9, false);
    log.dropped(id_of(7, 9), node_id(3), 9, false);
    c.now += 31s;
    log.advance();
    CHECK(missed(c).empty());
    CHECK(log.lines().find({node_id(7), 1})->known == 0);
  }
  SECTION("what was believed is taken back by the origin's word") {
    log.never_held(id_of(7, 9));
    c.now += 31s;
    log.advance();
    CHECK(log.delivered(id_of(7, 9)));
    log.origin_says({node_id(7), 1}, 1);
    CHECK_FALSE(log.has(id_of(7, 2)));
  }
  SECTION("what is still being waited for as well") {
    log.never_held(id_of(7, 9));
    log.origin_says({node_id(7), 1}, 1);
    c.now += 31s;
    log.advance();
    CHECK(missed(c).empty());
  }
  CHECK(log.apply(event(7, 2), node_id(2)) == Verdict::kFresh);
  CHECK(order(c) == std::vector<uint64_t>{1, 2});
  // What has come meanwhile is later than what the origin has said.
  log.origin_says({node_id(7), 1}, 1);
  CHECK(log.apply(event(7, 2), node_id(2)) == Verdict::kKnown);
  CHECK(std::get<SaveProgress>(c.actions.back()).contiguous == 2);
}

TEST_CASE("nobody can claim events of this boot of this node") {
  Context c = context();
  EventLog log(c);
  MessageId id;
  log.create({"deploy", "x"}, id);
  log.never_held(id_of(0, 9));
  for (uint32_t i = 1; i < 5; ++i) log.dropped(id_of(0, 2), node_id(i), 9);
  c.now += 31s;
  log.advance();
  log.create({"deploy", "y"}, id);
  CHECK(order(c) == std::vector<uint64_t>{1, 2});
}

TEST_CASE("what arrives late says so") {
  Context c = context();
  c.now += 1h;
  EventLog log(c);
  const auto timing = [&](uint64_t sequence, Duration age) {
    proto::Record record = event(7, sequence);
    record.set_age_ms(static_cast<uint64_t>(age / 1ms));
    log.apply(record, node_id(2));
    const auto& arrived = std::get<UserEventArrived>(c.actions[c.actions.size() - 2]);
    CHECK(arrived.age == age);
    return arrived.timing;
  };
  CHECK(timing(1, 0s) == EventTiming::kLive);
  CHECK(timing(2, 9s) == EventTiming::kLive);
  CHECK(timing(3, 11s) == EventTiming::kMissed);
  log.present_since(c.now - 1s);
  CHECK(timing(4, 2s) == EventTiming::kMissed);
  log.joined(false);
  CHECK(timing(5, 2s) == EventTiming::kBeforeJoin);
  CHECK(timing(6, 0s) == EventTiming::kLive);
}

TEST_CASE("retention is bounded by count and bytes and age") {
  Context c = context();
  c.options.event_retention_count = 10;
  c.options.event_retention_bytes = 2000;
  EventLog log(c);
  for (uint64_t sequence = 1; sequence <= 30; ++sequence) log.apply(event(7, sequence), node_id(2));
  CHECK(log.held() == 10);
  CHECK_FALSE(log.find(id_of(7, 20)).has_value());
  CHECK(log.find(id_of(7, 21)).has_value());
  for (uint64_t sequence = 31; sequence <= 40; ++sequence) {
    log.apply(event(7, sequence, std::string(500, 'x')), node_id(2));
  }
  CHECK(log.held_bytes() <= 2000);
  CHECK(log.held() == 3);
  c.now += c.options.event_retention;
  log.advance();
  CHECK(log.held() == 0);
  // Forgotten as a record, not as delivered.
  CHECK(log.apply(event(7, 40), node_id(2)) == Verdict::kKnown);
}

TEST_CASE("a large event is a head on the way and whole on disk") {
  Context c = context();
  EventLog log(c);
  MessageId id;
  const std::string payload(100'000, 'x');
  const proto::Record head = log.create({"deploy", payload}, id);
  CHECK(head.ByteSizeLong() < 300);
  CHECK(log.payload_of(id) == payload);

  Context other = context();
  other.identity = test::identity_of(1);
  EventLog there(other);
  proto::Record asked;
  there.fetch = [&](const MessageId&, const proto::Record& record, const NodeId&) {
    asked = record;
    return Verdict::kFresh;
  };
  CHECK(there.apply(head, node_id(0)) == Verdict::kFresh);
  CHECK_FALSE(there.has(id));
  there.take_payload(id, asked.payload(), payload, other.now);
  CHECK(there.has(id));
  CHECK(std::get<UserEventArrived>(other.actions[0]).payload == payload);

  Context later = context();
  later.identity = test::identity_of(1);
  EventLog again(later);
  again.restore(kept(other));
  REQUIRE(again.find(id));
  CHECK(again.find(id)->payload() == head.payload());
  CHECK(again.payload_of(id) == payload);
  CHECK(again.held_bytes() == there.held_bytes());
}

TEST_CASE("nobody else can issue events in this boot's name") {
  Context c = context();
  EventLog log(c);
  CHECK(log.apply(event(0, 1), node_id(2)) == Verdict::kInvalid);
  MessageId id;
  log.create({"deploy", "x"}, id);
  CHECK(id.sequence == 1);
  CHECK(log.apply(event(0, 1), node_id(2)) == Verdict::kKnown);
}

TEST_CASE("malformed and oversized events are refused") {
  Context c = context();
  EventLog log(c);
  CHECK(log.apply(event(7, 0), node_id(2)) == Verdict::kInvalid);
  CHECK(log.apply(event(7, 1, std::string(kMaxInlinePayload + 1, 'x')), node_id(2)) ==
        Verdict::kInvalid);
  proto::Record record = event(7, 1);
  record.set_payload("\xff\xff\xff");
  CHECK(log.apply(record, node_id(2)) == Verdict::kInvalid);
  proto::UserEvent body;
  body.set_name("deploy");
  body.set_size(GENERATE(uint64_t{kMaxEventSize}, UINT64_MAX, uint64_t{1}));
  body.set_digest(std::string(body.size() == 1 ? 3 : kDigestSize, 'd'));
  record.set_payload(body.SerializeAsString());
  CHECK(log.apply(record, node_id(2)) == Verdict::kInvalid);
  CHECK(order(c).empty());
}

TEST_CASE("a gap that never closes does not grow without bound") {
  Context c = context();
  EventLog log(c);
  for (uint64_t sequence = 2; sequence < kMaxBeyond + 100; ++sequence) {
    log.apply(event(7, sequence), node_id(2));
  }
  CHECK(order(c).empty());
  CHECK(log.waiting() == kMaxBeyond);
  CHECK(c.statistics.dropped_beyond > 0);
  log.apply(event(7, 1), node_id(2));
  CHECK(order(c).size() == kMaxBeyond + 1);
  CHECK(log.apply(event(7, kMaxBeyond + 50), node_id(2)) == Verdict::kFresh);
}

TEST_CASE("the bytes of what waits are bounded") {
  Context c = context();
  EventLog log(c);
  for (uint64_t sequence = 2; sequence < 40; ++sequence) {
    proto::UserEvent body;
    body.set_name("deploy");
    body.set_size(1U << 19);
    log.take_payload(id_of(7, sequence), body.SerializeAsString(), std::string(1U << 19, 'x'),
                     c.now);
  }
  CHECK(log.waiting_bytes() <= kMaxBeyondBytes);
  CHECK(log.waiting() > 20);
  CHECK(c.statistics.dropped_beyond > 0);
}

TEST_CASE("the progress of thousands of origins is told bucket by bucket, within a message") {
  EventLines lines;
  for (uint32_t i = 0; i < kMaxProgress; ++i) {
    NodeId origin = node_id(i);
    origin.bytes[2] = 1;
    const EventLine line{origin, 1};
    REQUIRE(lines.obtain(line, TimePoint{}) != nullptr);
    lines.change(line, [&](EventLines::Progress& progress) {
      progress.contiguous = 1000;
      for (uint64_t n = 0; n < 100; ++n) progress.beyond.insert(1'000'000 + n);
    });
  }
  EventLines::Chosen all;
  all.fill(true);
  EventLines::Wire whole;
  CHECK(lines.write(all, 0, kMaxStreamMessage, whole) == all);
  CHECK(whole.size() == static_cast<int>(kMaxProgress));
  size_t bytes = 0;
  for (const proto::EventProgress& progress : whole) bytes += progress.ByteSizeLong() + 4;
  CHECK(bytes < kMaxStreamMessage);
  // A part, from one bucket on: each of its buckets is whole.
  EventLines::Wire part;
  const EventLines::Chosen told = lines.write(all, 60, 100'000, part);
  CHECK(told[60]);
  CHECK_FALSE(told[59]);
  size_t expected = 0;
  for (const auto& [line, progress] : lines.all()) {
    expected += told[EventLines::bucket_of(line)] ? 1 : 0;
  }
  CHECK(part.size() == static_cast<int>(expected));
}
