// SPDX-License-Identifier: Apache-2.0
#include "handlers/payload.h"

#include <algorithm>

#include "handlers/text.h"
#include "proto/support/utf8.h"
#include "test/catch.h"

using namespace std::chrono_literals;
using starling::utf8_length;
using starling::handlers::Environment;
using starling::handlers::Event;
using starling::handlers::event_environment;
using starling::handlers::event_input;
using starling::handlers::EventType;
using starling::handlers::Host;
using starling::handlers::Member;
using starling::handlers::merge_environment;
using starling::handlers::readable_end;
using starling::handlers::tag_variable;
using starling::handlers::TimePoint;

namespace {

const TimePoint kNow{1000s};

bool has(const Environment& environment, const std::string& entry) {
  return std::ranges::find(environment, entry) != environment.end();
}

bool has_key(const Environment& environment, const std::string& key) {
  return std::ranges::any_of(
      environment, [&](const std::string& entry) { return entry.starts_with(key + "="); });
}

}  // namespace

TEST_CASE("tags become variables as in Serf") {
  CHECK(tag_variable("role") == "ROLE");
  CHECK(tag_variable("dc-1") == "DC_1");
  CHECK(tag_variable("w\xC3\xA9ird") == "W_IRD");
  CHECK(tag_variable("a.b c") == "A_B_C");
  CHECK(tag_variable("9x") == "9X");
  CHECK(tag_variable("\xE2\x82\xAC") == "_");  // one character, one underscore
  CHECK(tag_variable("\xF0\x9F\x90\xA6") == "_");
  CHECK(tag_variable("\xFF\xFE") == "__");  // not UTF-8: each byte
  CHECK(tag_variable("\xE2\x82") == "__");
  CHECK(tag_variable("\xC4\xB1\xC5\xBF") == "IS");  // letters whose capitals are ASCII
  CHECK(tag_variable("") == "");
}

TEST_CASE("a member event's environment has the host and its tags") {
  Event event;
  event.type = EventType::kMemberFailed;
  event.id = "42";
  const Host host{"web-1", {{"role", "web"}, {"dc-1", "x=y"}}};
  const Environment environment = event_environment(event, host, kNow);
  CHECK(has(environment, "SERF_EVENT=member-failed"));
  CHECK(has(environment, "SERF_SELF_NAME=web-1"));
  CHECK(has(environment, "SERF_SELF_ROLE=web"));
  CHECK(has(environment, "SERF_TAG_ROLE=web"));
  CHECK(has(environment, "SERF_TAG_DC_1=x=y"));
  CHECK(has(environment, "STARLING_EVENT=member-failed"));
  CHECK(has(environment, "STARLING_SELF_NAME=web-1"));
  CHECK(has(environment, "STARLING_TAG_DC_1=x=y"));
  CHECK(has(environment, "STARLING_EVENT_ID=42"));
  CHECK_FALSE(has_key(environment, "SERF_USER_EVENT"));
  CHECK_FALSE(has_key(environment, "SERF_QUERY_NAME"));
}

TEST_CASE("handlers are told who signed the event, and of nobody if nobody did") {
  Event event;
  event.name = "deploy";
  event.operator_name = "alice";
  CHECK(has(event_environment(event, Host{"a", {}}, kNow), "STARLING_OPERATOR=alice"));
  event.operator_name.clear();
  const Environment without = event_environment(event, Host{"a", {}}, kNow);
  CHECK_FALSE(has_key(without, "STARLING_OPERATOR"));
  // That of an outer event, whose handler has started this agent, does not leak into it.
  CHECK(merge_environment({"STARLING_OPERATOR=mallory"}, without) == without);
}

TEST_CASE("the role variable is there without a role") {
  const Environment environment = event_environment(Event{}, Host{"a", {}}, kNow);
  CHECK(has(environment, "SERF_SELF_ROLE="));
  CHECK_FALSE(has_key(environment, "SERF_TAG_ROLE"));
}

TEST_CASE("a user event's environment has its name and time") {
  Event event;
  event.name = "deploy";
  event.ltime = 18'446'744'073'709'551'615U;
  const Environment environment = event_environment(event, Host{"a", {}}, kNow);
  CHECK(has(environment, "SERF_EVENT=user"));
  CHECK(has(environment, "SERF_USER_EVENT=deploy"));
  CHECK(has(environment, "SERF_USER_LTIME=18446744073709551615"));
  CHECK(has(environment, "STARLING_USER_EVENT=deploy"));
  CHECK_FALSE(has_key(environment, "STARLING_QUERY_SOURCE"));
}

TEST_CASE("a query's environment has who asks and the time left") {
  Event event;
  event.type = EventType::kQuery;
  event.name = "uptime";
  event.ltime = 7;
  event.source = "db-1";
  event.deadline = kNow + 2500ms;
  const Environment environment = event_environment(event, Host{"a", {}}, kNow);
  CHECK(has(environment, "SERF_EVENT=query"));
  CHECK(has(environment, "SERF_QUERY_NAME=uptime"));
  CHECK(has(environment, "SERF_QUERY_LTIME=7"));
  CHECK(has(environment, "STARLING_QUERY_SOURCE=db-1"));
  CHECK(has(environment, "STARLING_QUERY_DEADLINE_MS=2500"));
  CHECK(has(event_environment(event, Host{}, kNow + 1h), "STARLING_QUERY_DEADLINE_MS=0"));
  CHECK_FALSE(has_key(environment, "SERF_USER_EVENT"));
}

TEST_CASE("a NUL byte does not cut a name short") {
  Event event;
  event.name = std::string("deploy\0x", 8);
  CHECK(has(event_environment(event, Host{}, kNow), "SERF_USER_EVENT=deploy\xEF\xBF\xBDx"));
}

TEST_CASE("two tags with one variable give it once") {
  const Host host{"a", {{"dc-1", "first"}, {"dc_1", "last"}}};
  const Environment environment = event_environment(Event{}, host, kNow);
  CHECK(has(environment, "SERF_TAG_DC_1=last"));
  CHECK_FALSE(has(environment, "SERF_TAG_DC_1=first"));
}

TEST_CASE("merging keeps the agent's environment and no key twice") {
  const Environment merged = merge_environment(
      {"PATH=/bin", "SERF_EVENT=old", "SERF_USER_EVENT=old", "STARLING_QUERY_SOURCE=old",
       "NOTIFY_SOCKET=/run/x", "SERF_TAG_KEPT=1", "STARLING_CONTROL=/run/s", "PATH=/twice", "X"},
      {"SERF_EVENT=user", "HOME=/new"});
  CHECK(merged == Environment{"PATH=/bin", "SERF_TAG_KEPT=1", "STARLING_CONTROL=/run/s", "X",
                              "SERF_EVENT=user", "HOME=/new"});
}

TEST_CASE("a member event's input has one line per member") {
  Event event;
  event.type = EventType::kMemberJoin;
  event.members = {
      Member{"web-1", "10.0.0.1", {{"role", "web"}, {"a", "1"}, {"z", ""}}},
      Member{"tab\tnew\nline", "fe80::1", {{"role", "x\ty"}, {"a", "b,c=d"}, {"n", "1\n2"}}},
      Member{"bare", "10.0.0.3", {}},
  };
  CHECK(event_input(event) ==
        "web-1\t10.0.0.1\tweb\ta=1,role=web,z=\n"
        "tab\\tnew\\nline\tfe80::1\tx\\ty\ta=b,c=d,n=1\\n2,role=x\\ty\n"
        "bare\t10.0.0.3\t\t\n");
}

TEST_CASE("a payload ends with a newline unless it is empty") {
  Event event;
  CHECK(event_input(event).empty());
  event.payload = "v1.2";
  CHECK(event_input(event) == "v1.2\n");
  event.payload = "v1.2\n";
  CHECK(event_input(event) == "v1.2\n");
  event.payload = std::string("\0\t", 2);
  CHECK(event_input(event) == std::string("\0\t\n", 3));
  event.type = EventType::kQuery;
  CHECK(event_input(event) == std::string("\0\t\n", 3));
}

TEST_CASE("characters of UTF-8 are measured and others refused") {
  CHECK(utf8_length("") == 0);
  CHECK(utf8_length("a") == 1);
  CHECK(utf8_length("\xC3\xA9") == 2);
  CHECK(utf8_length("\xC0\x80") == 0);      // overlong
  CHECK(utf8_length("\xE0\x80\x80") == 0);  // overlong
  CHECK(utf8_length("\xED\xA0\x80") == 0);  // surrogate
  CHECK(utf8_length("\xEF\xBF\xBD") == 3);
  CHECK(utf8_length("\xF0\x9F\x90\xA6") == 4);
  CHECK(utf8_length("\xF4\x90\x80\x80") == 0);  // past U+10FFFF
  CHECK(utf8_length("\x80") == 0);
}

TEST_CASE("output shown to people is valid text cut from its end") {
  CHECK(readable_end("", 10).empty());
  CHECK(readable_end(" \n ", 10).empty());
  CHECK(readable_end("\n boom\n\n", 100) == "boom");
  CHECK(readable_end("one\ttwo\nthree", 100) == "one\ttwo\nthree");
  CHECK(readable_end("0123456789", 4) == "6789");
  CHECK(readable_end("a\xC3\xA9z", 2) == "z");  // no half character
  CHECK(readable_end("\x1B[31mred\xFF", 100) == "\xEF\xBF\xBD[31mred\xEF\xBF\xBD");
}
