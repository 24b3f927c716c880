// SPDX-License-Identifier: Apache-2.0
#include "membership/pattern.h"

#include <string>

#include "test/catch.h"

using starling::membership::Pattern;

TEST_CASE("patterns match a part or the whole") {
  const auto part = Pattern::compile("we?b", false);
  REQUIRE(part.has_value());
  CHECK(part->matches("my-web-1"));
  CHECK_FALSE(part->matches("db"));
  const auto whole = Pattern::compile("we?b", true);
  REQUIRE(whole.has_value());
  CHECK(whole->matches("wb"));
  CHECK_FALSE(whole->matches("web1"));
}

TEST_CASE("broken and oversized patterns are refused with a reason") {
  const auto broken = Pattern::compile("(", false);
  REQUIRE_FALSE(broken.has_value());
  CHECK(broken.error().message.find("'('") != std::string::npos);
  CHECK_FALSE(Pattern::compile(std::string(257, 'a'), false).has_value());
}

TEST_CASE("a pattern that is exponential elsewhere is harmless") {
  const auto pattern = Pattern::compile("(a+)+$", false);
  REQUIRE(pattern.has_value());
  CHECK_FALSE(pattern->matches(std::string(500, 'a') + "b"));
}

TEST_CASE("a glob has to match all of the text") {
  using starling::membership::glob_matches;
  using starling::membership::is_glob;
  CHECK(glob_matches("web1", "web1"));
  CHECK_FALSE(glob_matches("web", "web1"));
  CHECK_FALSE(glob_matches("eb1", "web1"));
  CHECK(glob_matches("web*", "web"));
  CHECK(glob_matches("web*", "web12"));
  CHECK(glob_matches("*.eu", "a.b.eu"));
  CHECK_FALSE(glob_matches("*.eu", "a.eu.us"));
  CHECK(glob_matches("a*b*c", "axxbybzc"));
  CHECK_FALSE(glob_matches("a*b*c", "axxbybz"));
  CHECK(glob_matches("web?", "web1"));
  CHECK_FALSE(glob_matches("web?", "web"));
  CHECK(glob_matches("w?b", "wéb"));  // one character of two bytes
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("**", "x"));
  CHECK_FALSE(glob_matches("", "x"));
  CHECK(glob_matches("[a]", "[a]"));
  CHECK_FALSE(glob_matches("?", ""));
  CHECK(is_glob("a*"));
  CHECK_FALSE(is_glob("[a-z]"));
}
