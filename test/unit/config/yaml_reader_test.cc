// SPDX-License-Identifier: Apache-2.0
#include "agent/config/yaml_reader.h"

#include <chrono>

#include "test/catch.h"

namespace starling::agent::config {

namespace {

std::string error_of_text(const std::string& text) {
  const auto root = parse_yaml(text, "f");
  return root ? "no error" : root.error().message;
}

}  // namespace

TEST_CASE("a document becomes a tree with places") {
  const auto root = parse_yaml("a: 1\nb:\n  - x\n  - 'y'\nc: {d: ~}\n", "f");
  REQUIRE(root);
  REQUIRE(root->entries.size() == 3);
  CHECK(root->entries[0].key == "a");
  CHECK(root->entries[0].value.kind == Value::Kind::kPlain);
  CHECK(root->entries[0].value.place == "f:1:4");
  const Value& list = root->entries[1].value;
  CHECK(list.items.at(1).text == "y");
  CHECK(list.items.at(1).kind == Value::Kind::kQuoted);
  CHECK(list.items.at(1).place == "f:4:5");
  CHECK(root->entries[1].key_place == "f:2:1");
  CHECK(root->entries[2].value.entries.at(0).value.kind == Value::Kind::kNull);
}

TEST_CASE("an empty document is nothing") {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "\xef\xbb\xbf"}) {
    const auto root = parse_yaml(text, "f");
    REQUIRE(root);
    CHECK(root->kind == Value::Kind::kNull);
  }
}

TEST_CASE("json with tabs and escapes is read") {
  const auto root = parse_yaml("{\n\t\"a\": \"x\\u0041\\/\\n\",\n\t\"b\": [true, 1]\n}\n", "f");
  REQUIRE(root);
  CHECK(root->entries.at(0).value.text == "xA/\n");
  CHECK(root->entries.at(1).value.items.size() == 2);
}

TEST_CASE("what configuration does not need is refused with its place") {
  CHECK(error_of_text("a: 1\nb: 2\na: 3\n") ==
        "f:3:1: the key 'a' is there twice; keep one of them");
  CHECK(error_of_text("a: &x 1\n").starts_with("f:1:4: anchors (&) and aliases (*) are not"));
  CHECK(error_of_text("a: &x 1\nb: *x\n").find("anchors") != std::string::npos);
  CHECK(error_of_text("a: !secret x\n")
            .starts_with("f:1:4: the YAML tag '!secret' is not supported"));
  CHECK(error_of_text("a: 1\n---\nb: 1\n").find(": a second document") != std::string::npos);
  CHECK(error_of_text("? [a]\n: b\n") == "f:1:3: a key must be a plain name");
  CHECK(error_of_text("a: [1, 2\n").find("f:") == 0);
  CHECK(error_of_text("a: !!str 1\n").find("is not supported") != std::string::npos);
  CHECK(error_of_text("a: ! \"x\n").find("f:1:4: ") == 0);
  CHECK(error_of_text("a: [1, 2\n").find(": not valid YAML: ") != std::string::npos);
  CHECK(error_of_text("a:\n\tb: 1\n").starts_with("f:2:"));
  CHECK(error_of_text("a: 1\nb: x\x04y: z\n").starts_with("f:2:5: control character 4"));
  CHECK(error_of_text("a: \xff\n") == "f:1:4: not valid UTF-8");
  CHECK(error_of_text(std::string("a: b\0c", 6)).starts_with("f:1:5: control character 0"));
}

TEST_CASE("a quote that is never closed does not swallow the file") {
  CHECK(error_of_text("a: 1\nb: \"x\nc: 2\n") == "f:2:4: this quote (\") is never closed");
  CHECK(error_of_text("a: 1\nb: 'x''\nc: 2\n") == "f:2:4: this quote (') is never closed");
  CHECK(error_of_text("a: \"x\\\"\n") == "f:1:4: this quote (\") is never closed");
  CHECK(error_of_text("\"a: 1\n").find("f:1:1: ") == 0);
  CHECK(error_of_text("\xef\xbb\xbf"
                      "a: 'x\n") == "f:1:4: this quote (') is never closed");
  CHECK(error_of_text("a: 'it''s'\r\nb: \"q\\\"\"\r\nc: |\r\n  \"x\r\nd: it's\r\n") == "no error");
}

TEST_CASE("size depth and number of values are bounded") {
  CHECK(error_of_text(std::string(kMaxConfigBytes + 1, ' ')).find("larger than") !=
        std::string::npos);
  CHECK(error_of_text(std::string(20, '[') + std::string(20, ']')).find("nested more than 16") !=
        std::string::npos);
  std::string deep;
  for (int i = 0; i < 20; ++i) deep += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  CHECK(error_of_text(deep + std::string(20, ' ') + "b: 1\n").find("f:17:17: nested") == 0);
  std::string many;
  for (size_t i = 0; i <= kMaxConfigNodes; ++i) many += "- 1\n";
  CHECK(error_of_text(many).find("more than 20000 values") != std::string::npos);
}

TEST_CASE("hostile files end quickly") {
  const auto begin = std::chrono::steady_clock::now();
  for (const char* unit : {"[", "{", "- ", "? ", "a: ", "\"", "'", "&a ", "!!a ", "*a ",
                           "{a: ", "[a,", "|\n ", "%YAML ", "a: b\n", "\n", "#", ":\n", "]"}) {
    std::string text;
    while (text.size() + 8 < kMaxConfigBytes) text += unit;
    CAPTURE(unit);
    (void)parse_yaml(text, "f");
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
}

}  // namespace starling::agent::config
