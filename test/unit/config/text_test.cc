// SPDX-License-Identifier: Apache-2.0
#include "agent/config/text.h"

#include <array>
#include <string>

#include "test/catch.h"

namespace starling::agent::config {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST_CASE("durations are read in the notation of Go") {
  const std::pair<const char*, nanoseconds> cases[] = {
      {"0", nanoseconds(0)},
      {"0s", nanoseconds(0)},
      {"10s", seconds(10)},
      {"1m30s", seconds(90)},
      {"500ms", milliseconds(500)},
      {"24h", hours(24)},
      {"1.5h", std::chrono::minutes(90)},
      {".5s", milliseconds(500)},
      {"1.s", seconds(1)},
      {"7ns", nanoseconds(7)},
      {"3us", nanoseconds(3000)},
      {"3\u00b5s", nanoseconds(3000)},
      {"1h2m3s4ms", milliseconds(3723004)},
      {"87600h", hours(87600)},
  };
  for (const auto& [text, expected] : cases) {
    CAPTURE(text);
    const auto duration = parse_duration(text);
    REQUIRE(duration);
    CHECK(*duration == expected);
  }
}

TEST_CASE("what is no duration is refused with a reason") {
  for (const char* text :
       {"", "s", "10", "10 s", "10x", "1m30", "-1s", "1e3s", "..s", ".s", "87601h",
        "99999999999999999999999999999h", "nan", "infs", "1d", "+1s", "0x1s"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_duration(text));
  }
  CHECK(parse_duration("10").error().message ==
        "'10' has no unit: write it like 10s, 1m30s, 500ms or 24h");
  CHECK(parse_duration("-1s").error().message ==
        "'-1s' is negative: write it like 10s, 1m30s, 500ms or 24h");
  CHECK(parse_duration("87601h").error().message == "'87601h' is longer than ten years (87600h)");
}

TEST_CASE("durations are written as they are read") {
  for (const char* text : {"0s", "24h", "1m30s", "500ms", "1h2m3s", "1.5s", "3.2s", "1m0.25s",
                           "7ns", "1.5us", "87600h", "4.000000001s"}) {
    CAPTURE(text);
    const auto duration = parse_duration(text);
    REQUIRE(duration);
    const std::string written = format_duration(*duration);
    CHECK(*parse_duration(written) == *duration);
    if (std::string_view(text) != "1m0.25s") CHECK(written == text);
  }
  CHECK(format_duration(milliseconds(60250)) == "1m250ms");
}

TEST_CASE("utf8 is told from other bytes") {
  CHECK(is_utf8("plain, \u00e9, \u20ac, \U0001f426"));
  for (const char* text : {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                           "\xf8", "a\xc3", "\xe2\x82"}) {
    CHECK_FALSE(is_utf8(text));
  }
}

TEST_CASE("quoted text is short and printable") {
  CHECK(quoted("a\nb\xff") == "'a?b?'");
  CHECK(quoted(std::string(100, 'x')) == "'" + std::string(64, 'x') + "...'");
}

TEST_CASE("json strings escape what they must") {
  CHECK(json_string("a\"b\\c\n\x01\u00e9") == "\"a\\\"b\\\\c\\u000a\\u0001\u00e9\"");
}

TEST_CASE("the nearest name is found within a third of edits") {
  constexpr std::array<std::string_view, 4> kNames = {"retry_join", "start_join", "bind", "tags"};
  CHECK(nearest("retry_jion", kNames) == "retry_join");
  CHECK(nearest("bnid", kNames) == "bind");
  CHECK(nearest("tag", kNames) == "tags");
  CHECK(nearest("zzz", kNames).empty());
  CHECK(nearest("", kNames).empty());
  CHECK(nearest(std::string(5000, 'a'), kNames).empty());
}

}  // namespace starling::agent::config
