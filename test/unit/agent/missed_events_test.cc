// SPDX-License-Identifier: Apache-2.0
#include "agent/missed_events.h"

#include <string>

#include "handlers/spec.h"
#include "test/catch.h"
#include "test/unit/agent/host.h"

using namespace starling::agent;  // NOLINT(google-build-using-namespace)
using starling::handlers::Event;
using starling::handlers::EventTiming;
using starling::handlers::HandlerSpec;

namespace {

Event event_of(const std::string& name, uint64_t ltime, EventTiming timing) {
  Event event;
  event.name = name;
  event.ltime = ltime;
  event.timing = timing;
  return event;
}

/// "name:ltime" of each event, with "*" behind the latest of those that were missed.
struct Bench {
  asio::io_context io{1};
  std::vector<std::string> seen;
  MissedEvents missed{
      io, [this](const Event& event) {
        const bool marked = event.timing != EventTiming::kLive && event.latest;
        seen.push_back(event.name + ":" + std::to_string(event.ltime) + (marked ? "*" : ""));
      }};
};

}  // namespace

TEST_CASE("nothing is held when no handler asks for the latest") {
  Bench bench;
  bench.missed.arrived(event_of("a", 1, EventTiming::kMissed));
  bench.missed.arrived(event_of("a", 2, EventTiming::kLive));
  CHECK(bench.seen == std::vector<std::string>{"a:1*", "a:2"});
}

TEST_CASE("the latest of each name is found, and the order is kept") {
  Bench bench;
  bench.missed.set_wanted(true);
  bench.missed.arrived(event_of("a", 1, EventTiming::kLive));
  CHECK(bench.seen.size() == 1);  // nothing was missed
  bench.missed.arrived(event_of("a", 3, EventTiming::kMissed));
  bench.missed.arrived(event_of("b", 4, EventTiming::kMissed));
  bench.missed.arrived(event_of("a", 2, EventTiming::kMissed));  // of another origin
  bench.missed.arrived(event_of("a", 9, EventTiming::kLive));    // behind what is held
  CHECK(bench.missed.held() == 4);
  turn_until(bench.io, [&] { return bench.missed.held() == 0; });
  CHECK(bench.seen == std::vector<std::string>{"a:1", "a:3*", "b:4*", "a:2", "a:9"});
}

TEST_CASE("what is held is bounded, and goes when nobody asks any more") {
  Bench bench;
  bench.missed.set_wanted(true);
  for (size_t i = 0; i < MissedEvents::kMaxEvents; ++i) {
    bench.missed.arrived(event_of("a", i, EventTiming::kMissed));
  }
  CHECK(bench.missed.held() == 0);
  CHECK(bench.seen.size() == MissedEvents::kMaxEvents);
  bench.missed.arrived(event_of("a", 1, EventTiming::kMissed));
  CHECK(bench.missed.held() == 1);
  bench.missed.set_wanted(false);
  CHECK(bench.missed.held() == 0);
}

TEST_CASE("what a handler gets of missed events is its own choice") {
  auto spec = HandlerSpec::parse("user:a=true").value();
  const auto wants = [&](EventTiming timing, bool latest) {
    Event event = event_of("a", 1, timing);
    event.latest = latest;
    return spec.wants(event);
  };
  const auto missed = EventTiming::kMissed;
  const auto before = EventTiming::kBeforeJoin;
  CHECK(wants(EventTiming::kLive, false));
  CHECK((wants(missed, false) && !wants(before, true)));
  spec.missed = starling::handlers::parse_missed_events("all");
  CHECK((wants(missed, false) && wants(before, false)));
  spec.missed = starling::handlers::parse_missed_events("latest");
  CHECK((!wants(missed, false) && wants(missed, true) && wants(before, true)));
  CHECK_FALSE(wants(before, false));
  spec.missed = starling::handlers::parse_missed_events("none");
  CHECK((!wants(missed, true) && !wants(before, true) && wants(EventTiming::kLive, false)));
  CHECK_FALSE(starling::handlers::parse_missed_events("some"));
}
