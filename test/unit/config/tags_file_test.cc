// SPDX-License-Identifier: Apache-2.0
#include "agent/config/tags_file.h"

#include <sys/stat.h>

#include <filesystem>

#include "test/catch.h"
#include "test/unit/config/support.h"

namespace starling::agent {

namespace {

size_t files_in(const Folder& folder) {
  size_t count = 0;
  for (const auto& each : std::filesystem::directory_iterator(folder.path())) {
    count += each.exists() ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("tags are read back as they were saved") {
  const Folder folder;
  const std::string path = folder.path("tags.json");
  for (const Tags& tags :
       {Tags{}, Tags{{"role", "web"}},
        Tags{{"a b", "x\"y\\z\n\t\x01"}, {"\u00fc", "\u20ac"}, {"e", ""}},
        Tags{{"null", "null"}, {"true", "true"}, {"7", "1.50"}, {"~", "- a: b # c"}}}) {
    REQUIRE(save_tags_file(path, tags));
    const auto loaded = load_tags_file(path);
    REQUIRE(loaded);
    CHECK(*loaded == tags);
    struct stat status{};
    REQUIRE(stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777U) == 0600);
    CHECK(files_in(folder) == 1);
  }
  REQUIRE(save_tags_file(path, {{"a", "b"}, {"c", "d"}}));
  CHECK(folder.read("tags.json") == "{\n  \"a\": \"b\",\n  \"c\": \"d\"\n}\n");
}

TEST_CASE("a tags file of Serf is read") {
  const Folder folder;
  const auto tags = load_tags_file(folder.write("t", R"({"dc":"east","expr":"a\u003cb"})"));
  REQUIRE(tags);
  CHECK(*tags == Tags{{"dc", "east"}, {"expr", "a<b"}});
}

TEST_CASE("a missing tags file is told from a broken one") {
  const Folder folder;
  CHECK(load_tags_file(folder.path("none")).error().kind == ErrorKind::kNotFound);
  const auto broken = load_tags_file(folder.write("t", "{\"a\": [1]}"));
  REQUIRE_FALSE(broken);
  CHECK(broken.error().kind == ErrorKind::kInvalid);
  CHECK(broken.error().message == folder.path("t") + ":1:7: the tag 'a' wants a name and a string");
  CHECK(load_tags_file(folder.write("t", "{\"a\": 1, \"a\": 2}")).error().message.find("twice") !=
        std::string::npos);
  CHECK(load_tags_file(folder.write("t", ""))->empty());
}

TEST_CASE("tags over the bound are neither read nor written") {
  const Folder folder;
  const Tags large{{"k", std::string(510, 'v')}};
  CHECK(encoded_tags_size(large) == 513);
  CHECK(save_tags_file(folder.path("t"), large).error().kind == ErrorKind::kTooLarge);
  CHECK(files_in(folder) == 0);
  const auto path = folder.write("t", "{\"k\": \"" + std::string(510, 'v') + "\"}");
  CHECK(load_tags_file(path).error().kind == ErrorKind::kTooLarge);
}

TEST_CASE("a tags file that cannot be replaced stays as it was") {
  const Folder folder;
  CHECK_FALSE(save_tags_file(folder.path("no/such/folder/t"), {{"a", "b"}}));
  std::filesystem::create_directory(folder.path("t"));
  folder.write("t/inside", "");
  CHECK_FALSE(save_tags_file(folder.path("t"), {{"a", "b"}}));
  CHECK(files_in(folder) == 1);
}

}  // namespace starling::agent
