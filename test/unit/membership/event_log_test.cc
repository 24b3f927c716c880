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
  proto::Record record;
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(message_key({node_id(origin), 1, sequence}));
  record.set_payload(body.SerializeAsString());
  return record;
}

size_t delivered(Context& context) {
  size_t count = 0;
  for (const Action& action : context.actions) {
    count += std::holds_alternative<UserEventArrived>(action) ? 1 : 0;
  }
  return count;
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

TEST_CASE("an event is delivered once in whatever order it comes") {
  Context c = context();
  EventLog log(c);
  for (const uint64_t sequence : {3, 1, 3, 2, 1, 5, 4, 5}) log.apply(event(7, sequence));
  CHECK(delivered(c) == 5);
  CHECK(log.apply(event(7, 4)) == Verdict::kKnown);
  CHECK(log.held() == 5);
}

TEST_CASE("what was delivered before a restart is not delivered after it") {
  Context first = context();
  EventLog log(first);
  for (const uint64_t sequence : {1, 2, 4}) log.apply(event(7, sequence));
  Restored restored;
  for (const Action& action : first.actions) {
    if (const auto* saved = std::get_if<SaveProgress>(&action)) restored.progress = {*saved};
    if (const auto* arrived = std::get_if<UserEventArrived>(&action)) {
      restored.events.push_back({arrived->id, arrived->record});
    }
  }
  Context second = context();
  EventLog again(second);
  again.restore(restored);
  CHECK(again.fingerprint() == log.fingerprint());
  for (const uint64_t sequence : {1, 2, 3, 4}) again.apply(event(7, sequence));
  CHECK(delivered(second) == 1);
  CHECK(again.find({node_id(7), 1, 4}).has_value());
}

TEST_CASE("what is lacking is worked out from the progress of the other side") {
  Context c = context();
  EventLog log(c);
  for (const uint64_t sequence : {1, 2, 5}) log.apply(event(7, sequence));
  const auto lacking = log.lacking(progress(7, 6, {8}), 100);
  REQUIRE(lacking.size() == 4);
  CHECK(lacking[0].sequence == 3);
  CHECK(lacking[1].sequence == 4);
  CHECK(lacking[2].sequence == 6);
  CHECK(lacking[3].sequence == 8);
  CHECK(log.lacking(progress(7, 2), 100).empty());
  CHECK(log.lacking(progress(7, 1ULL << 60), 10).size() == 10);
  google::protobuf::RepeatedPtrField<proto::EventProgress> theirs;
  *theirs.Add() = progress(7, 1);
  CHECK(log.lacking_there(theirs, 100).size() == 2);
}

TEST_CASE("a newcomer that skips the past takes only what comes later") {
  Context c = context();
  EventLog log(c);
  log.apply(event(7, 12));  // came before the join was through
  log.skip_to(progress(7, 10, {12}));
  CHECK_FALSE(log.once_held({node_id(7), 1, 9}));
  CHECK(log.apply(event(7, 9)) == Verdict::kKnown);
  CHECK(log.apply(event(7, 11)) == Verdict::kFresh);
  CHECK(log.apply(event(7, 12)) == Verdict::kKnown);
  CHECK(delivered(c) == 2);
}

TEST_CASE("an event that nobody holds any longer counts as missed and not before") {
  Context c = context();
  EventLog log(c);
  const MessageId id{node_id(7), 1, 1};
  // Peers that skipped it when they joined know little of it.
  for (int i = 0; i < 5; ++i) log.not_held(id, false);
  log.not_held(id, true);
  CHECK(c.statistics.events_missed == 0);
  CHECK_FALSE(log.has(id));
  log.not_held(id, true);
  log.not_held(id, true);
  CHECK(c.statistics.events_missed == 1);
  CHECK(log.has(id));
}

TEST_CASE("retention is bounded by count and bytes and age") {
  Context c = context();
  c.options.event_retention_count = 10;
  c.options.event_retention_bytes = 2000;
  EventLog log(c);
  for (uint64_t sequence = 1; sequence <= 30; ++sequence) log.apply(event(7, sequence));
  CHECK(log.held() == 10);
  CHECK_FALSE(log.find({node_id(7), 1, 20}).has_value());
  CHECK(log.find({node_id(7), 1, 21}).has_value());
  for (uint64_t sequence = 31; sequence <= 40; ++sequence) {
    log.apply(event(7, sequence, std::string(500, 'x')));
  }
  CHECK(log.held_bytes() <= 2000);
  CHECK(log.held() == 3);
  c.now += c.options.event_retention;
  log.advance();
  CHECK(log.held() == 0);
  CHECK(log.apply(event(7, 40)) == Verdict::kKnown);  // forgotten as a record, not as delivered
}

TEST_CASE("nobody else can issue events in this boot's name") {
  Context c = context();
  EventLog log(c);
  CHECK(log.apply(event(0, 1)) == Verdict::kInvalid);
  MessageId id;
  log.create("deploy", "x", false, id);
  CHECK(id.sequence == 1);
  CHECK(log.apply(event(0, 1)) == Verdict::kKnown);
}

TEST_CASE("malformed and oversized events are refused") {
  Context c = context();
  EventLog log(c);
  CHECK(log.apply(event(7, 0)) == Verdict::kInvalid);
  CHECK(log.apply(event(7, 1, std::string(kMaxInlinePayload + 1, 'x'))) == Verdict::kInvalid);
  proto::Record record = event(7, 1);
  record.set_payload("\xff\xff\xff");
  CHECK(log.apply(record) == Verdict::kInvalid);
  CHECK(delivered(c) == 0);
}

TEST_CASE("a gap that never closes does not grow without bound") {
  Context c = context();
  EventLog log(c);
  for (uint64_t sequence = 2; sequence < kMaxBeyond + 100; ++sequence)
    log.apply(event(7, sequence));
  CHECK(delivered(c) == kMaxBeyond);
  CHECK(c.statistics.dropped_progress > 0);
  log.apply(event(7, 1));
  CHECK(log.apply(event(7, kMaxBeyond + 50)) == Verdict::kFresh);
}
