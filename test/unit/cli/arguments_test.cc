// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/arguments.h"

#include <array>

#include "test/catch.h"

using starling::agent::asks_for_version;
using starling::agent::FlagSpec;
using starling::agent::normalize_arguments;
using starling::agent::parse_boolean;
using starling::agent::parse_tag;
using Words = std::vector<std::string>;

namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"coalesce", "", false, ""},
    {"format", "FORMAT", false, ""},
    {"tag", "KEY=VALUE", true, ""},
    {"no-ack", "", false, ""},
});

Words normalized(const Words& words) {
  const auto result = normalize_arguments(words, kFlags);
  INFO((result ? "" : result.error().message));
  REQUIRE(result);
  return *result;
}

std::string error_of(const Words& words) {
  const auto result = normalize_arguments(words, kFlags);
  REQUIRE_FALSE(result);
  return result.error().message;
}

}  // namespace

TEST_CASE("a flag is written in four ways") {
  const Words expected = {"--format", "json"};
  CHECK(normalized({"-format", "json"}) == expected);
  CHECK(normalized({"--format", "json"}) == expected);
  CHECK(normalized({"-format=json"}) == expected);
  CHECK(normalized({"--format=json"}) == expected);
}

TEST_CASE("a value may be empty or look like a flag or hold an equals sign") {
  CHECK(normalized({"-format="}) == Words{"--format", ""});
  CHECK(normalized({"-format", ""}) == Words{"--format", ""});
  CHECK(normalized({"-format", "-coalesce"}) == Words{"--format", "-coalesce"});
  CHECK(normalized({"-format", "--"}) == Words{"--format", "--"});
  CHECK(normalized({"-format", "-h"}) == Words{"--format", "-h"});
  CHECK(normalized({"-tag=a=b=c"}) == Words{"--tag", "a=b=c"});
}

TEST_CASE("a boolean takes a value only behind an equals sign") {
  CHECK(normalized({"-coalesce"}) == Words{"--coalesce", "true"});
  CHECK(normalized({"-coalesce=false"}) == Words{"--coalesce", "false"});
  CHECK(normalized({"--coalesce=T"}) == Words{"--coalesce", "true"});
  CHECK(normalized({"-coalesce", "false"}) == Words{"--coalesce", "true", "--", "false"});
  CHECK(error_of({"-coalesce=maybe"}).starts_with("invalid boolean value \"maybe\" for -coalesce"));
  CHECK(error_of({"-coalesce="}).starts_with("invalid boolean value \"\" for -coalesce"));
}

TEST_CASE("repeated flags keep their order") {
  CHECK(normalized({"-tag", "a=1", "-format=x", "--tag=b=2"}) ==
        Words{"--tag", "a=1", "--format", "x", "--tag", "b=2"});
}

TEST_CASE("flags may follow other arguments") {
  CHECK(normalized({"deploy", "payload", "-coalesce=false"}) ==
        Words{"--coalesce", "false", "--", "deploy", "payload"});
}

TEST_CASE("what follows two dashes is no flag") {
  CHECK(normalized({"name", "--", "-format", "--", "-h"}) ==
        Words{"--", "name", "-format", "--", "-h"});
  CHECK(normalized({"--"}).empty());
}

TEST_CASE("a dash alone and numbers are no flags") {
  CHECK(normalized({"name", "-"}) == Words{"--", "name", "-"});
  CHECK(normalized({"name", "-5"}) == Words{"--", "name", "-5"});
  CHECK(normalized({"name", ""}) == Words{"--", "name", ""});
}

TEST_CASE("a wrong flag is named with the nearest one") {
  CHECK(error_of({"-fromat=json"}) == "there is no flag -fromat; did you mean -format?");
  CHECK(error_of({"--colaesce"}) == "there is no flag -colaesce; did you mean -coalesce?");
  CHECK(error_of({"-zzz"}) == "there is no flag -zzz");
  CHECK(error_of({"name", "-zzz"}) ==
        "there is no flag -zzz; put -- before an argument that begins with '-'");
  CHECK(error_of({"---format"}).starts_with("there is no flag --format"));
  CHECK(error_of({"-=x"}).starts_with("there is no flag -"));
}

TEST_CASE("a flag without its value is refused") {
  CHECK(error_of({"-format"}) == "flag needs a value: -format FORMAT");
  CHECK(error_of({"name", "--tag"}) == "flag needs a value: -tag KEY=VALUE");
}

TEST_CASE("help wins over what is wrong behind it") {
  for (const char* help : {"-h", "-help", "--help"}) {
    CHECK(normalized({"name", "-coalesce", help, "-zzz"}) == Words{"--help"});
  }
}

TEST_CASE("version is asked for anywhere before two dashes") {
  CHECK(asks_for_version(Words{"members", "-v"}));
  CHECK(asks_for_version(Words{"--version"}));
  CHECK_FALSE(asks_for_version(Words{"event", "--", "-v"}));
  CHECK_FALSE(asks_for_version(Words{"event", "v"}));
}

TEST_CASE("booleans are those of Go") {
  for (const char* text : {"1", "t", "T", "true", "True", "TRUE"}) CHECK(*parse_boolean(text));
  for (const char* text : {"0", "f", "F", "false", "False", "FALSE"}) {
    CHECK_FALSE(*parse_boolean(text));
  }
  for (const char* text : {"", "yes", "tRUE", "2"}) CHECK_FALSE(parse_boolean(text));
}

TEST_CASE("a tag is cut at its first equals sign") {
  CHECK(*parse_tag("a=b=c") == std::pair<std::string, std::string>("a", "b=c"));
  CHECK(*parse_tag("a=") == std::pair<std::string, std::string>("a", ""));
  CHECK(parse_tag("role").error().message.starts_with("Error: Invalid tag: 'role'"));
  CHECK_FALSE(parse_tag("=x"));
}
