// SPDX-License-Identifier: Apache-2.0
#include "handlers/spec.h"

#include "test/catch.h"

using starling::ErrorKind;
using starling::handlers::Event;
using starling::handlers::EventType;
using starling::handlers::Filter;
using starling::handlers::format_duration;
using starling::handlers::HandlerLimits;
using starling::handlers::HandlerSpec;
using namespace std::chrono_literals;

namespace {

Event event_of(EventType type, std::string name = {}) {
  Event event;
  event.type = type;
  event.name = std::move(name);
  return event;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("spec splits filter and command at the first equals sign") {
  const auto spec = HandlerSpec::parse("user:deploy=run --to=prod");
  REQUIRE(spec);
  REQUIRE(spec->filters.size() == 1);
  CHECK(spec->filters[0] == Filter{EventType::kUser, "deploy"});
  CHECK(spec->command == "run --to=prod");
  CHECK(spec->to_string() == "user:deploy=run --to=prod");
}

TEST_CASE("spec without filter is for all events") {
  for (const char* text : {"handler.sh", "=handler.sh", "*=handler.sh"}) {
    CAPTURE(text);
    const auto spec = HandlerSpec::parse(text);
    REQUIRE(spec);
    CHECK(spec->filters == std::vector<Filter>{Filter{}});
    CHECK(spec->command == "handler.sh");
    CHECK(spec->filters[0].matches(event_of(EventType::kMemberReap)));
    CHECK(spec->filters[0].matches(event_of(EventType::kUser, "x")));
    CHECK(spec->filters[0].matches(event_of(EventType::kQuery, "x")));
  }
}

TEST_CASE("spec takes each valid type and keeps the order of a list") {
  const auto spec = HandlerSpec::parse(
      "member-join,member-leave,member-failed,member-update,member-reap,user,query,user:a,query:b,"
      "*=x");
  REQUIRE(spec);
  REQUIRE(spec->filters.size() == 10);
  CHECK(spec->entry_name(0) == "member-join=x");
  CHECK(spec->entry_name(8) == "query:b=x");
  CHECK(spec->entry_name(9) == "*=x");
}

TEST_CASE("filters match types and exact names only") {
  const auto matches = [](const char* filter, const Event& event) {
    const auto parsed = Filter::parse(filter);
    REQUIRE(parsed);
    return parsed->matches(event);
  };
  const Event user = event_of(EventType::kUser, "deploy");
  const Event query = event_of(EventType::kQuery, "deploy");
  CHECK(matches("user", user));
  CHECK(matches("user:", user));
  CHECK(matches("user:deploy", user));
  CHECK_FALSE(matches("user:dep", user));
  CHECK_FALSE(matches("user:deploy*", user));
  CHECK_FALSE(matches("user:Deploy", user));
  CHECK_FALSE(matches("query:deploy", user));
  CHECK(matches("query:deploy", query));
  CHECK_FALSE(matches("user", query));
  CHECK(matches("member-join", event_of(EventType::kMemberJoin)));
  CHECK_FALSE(matches("member-join", event_of(EventType::kMemberUpdate)));
}

TEST_CASE("spec refuses an invalid filter and says what to write") {
  const auto spec = HandlerSpec::parse("FOO=bar ./handler.sh");
  REQUIRE_FALSE(spec);
  CHECK(spec.error().kind == ErrorKind::kInvalid);
  CHECK(contains(spec.error().message, "invalid event filter \"FOO\""));
  CHECK(contains(spec.error().message, "member-join, member-leave"));
  CHECK(contains(spec.error().message, "write *=FOO=bar ./handler.sh"));
}

TEST_CASE("spec refuses empty elements and spaces in a list of filters") {
  CHECK_FALSE(HandlerSpec::parse("user,=x"));
  CHECK_FALSE(HandlerSpec::parse(",user=x"));
  CHECK_FALSE(HandlerSpec::parse("user, query=x"));
  CHECK(HandlerSpec::parse("user:a=b,c=x")->command == "b,c=x");
}

TEST_CASE("spec refuses a missing or impossible command") {
  const auto empty = HandlerSpec::parse("user=");
  REQUIRE_FALSE(empty);
  CHECK(contains(empty.error().message, "no command"));
  CHECK_FALSE(HandlerSpec::parse(""));
  CHECK_FALSE(HandlerSpec::parse("user=  "));
  CHECK_FALSE(HandlerSpec::make({"user"}, std::string("a\0b", 3)));
  CHECK_FALSE(HandlerSpec::make({"user"}, std::string(70'000, 'x')));
}

TEST_CASE("spec from configuration fields checks each limit") {
  const auto with = [](auto change) {
    HandlerLimits limits;
    change(limits);
    return HandlerSpec::make({"user", "query:x"}, "cmd", limits);
  };
  CHECK(with([](HandlerLimits&) {}));
  CHECK_FALSE(with([](HandlerLimits& limits) { limits.concurrency = 0; }));
  CHECK_FALSE(with([](HandlerLimits& limits) { limits.queue = 0; }));
  CHECK_FALSE(with([](HandlerLimits& limits) { limits.timeout = 0s; }));
  CHECK_FALSE(with([](HandlerLimits& limits) { limits.output_tail = 2U << 20; }));
  const auto wrong = with([](HandlerLimits& limits) { limits.concurrency = 5000; });
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message == "handler concurrency is 5000; it must be from 1 to 1024");
  CHECK(HandlerSpec::make({}, "cmd")->filters == std::vector<Filter>{Filter{}});
  CHECK(HandlerSpec::make({""}, "cmd")->filters == std::vector<Filter>{Filter{}});
  CHECK(HandlerSpec::make({"user:a,query", "member-join"}, "c")->to_string() ==
        "user:a,query,member-join=c");
  CHECK_FALSE(HandlerSpec::make({"member-joined"}, "cmd"));
}

TEST_CASE("spec defaults are ten minutes and one run at a time") {
  const auto spec = HandlerSpec::parse("x");
  REQUIRE(spec);
  CHECK(spec->limits.concurrency == 1);
  CHECK(spec->limits.timeout == 10min);
  CHECK(spec->limits.queue == 1024);
  CHECK(spec->limits.output_tail == 8192);
}

TEST_CASE("durations are written as people write them") {
  CHECK(format_duration(0ms) == "0ms");
  CHECK(format_duration(250ms) == "250ms");
  CHECK(format_duration(2s) == "2s");
  CHECK(format_duration(1500ms) == "1.5s");
  CHECK(format_duration(90s) == "1m30s");
  CHECK(format_duration(10min) == "10m");
  CHECK(format_duration(1h + 5ms) == "1h0.005s");
}
