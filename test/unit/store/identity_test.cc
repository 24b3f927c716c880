// SPDX-License-Identifier: Apache-2.0
#include "agent/store/identity.h"

#include <sodium.h>
#include <sys/stat.h>

#include "agent/store/file.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

TEST_CASE("a node key is made once and kept") {
  const Scratch scratch;
  const auto first = load_node_key(scratch.path());
  REQUIRE(first);
  CHECK(first->created);
  const auto second = load_node_key(scratch.path());
  REQUIRE(second);
  CHECK_FALSE(second->created);
  CHECK_FALSE(second->exposed);
  CHECK(second->public_key == first->public_key);
  CHECK(second->id == first->id);

  struct stat status = {};
  REQUIRE(::stat((scratch / "node.key").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("the node id is the hash of the public key") {
  const Scratch scratch;
  // RFC 8032 section 7.1, test 1.
  spill(scratch / "node.key",
        "starling-node-key-v1 9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n");
  const auto key = load_node_key(scratch.path());
  REQUIRE(key);
  char digits[65];
  CHECK(std::string(sodium_bin2hex(digits, sizeof digits, key->public_key.data(), 32)) ==
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  unsigned char hash[32];
  crypto_generichash(hash, sizeof hash, key->public_key.data(), 32, nullptr, 0);
  CHECK(std::equal(key->id.bytes.begin(), key->id.bytes.end(), hash));
}

TEST_CASE("two directories are two members") {
  const Scratch one;
  const Scratch two;
  const auto a = load_node_key(one.path());
  const auto b = load_node_key(two.path());
  REQUIRE(a);
  REQUIRE(b);
  CHECK(a->id != b->id);
}

TEST_CASE("a damaged key is refused and not replaced") {
  const Scratch scratch;
  for (const char* text :
       {"", "starling-node-key-v1 ", "starling-node-key-v1 zz\n",
        "starling-node-key-v2 "
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n",
        "starling-node-key-v1 "
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f6000\n"}) {
    CAPTURE(text);
    spill(scratch / "node.key", text);
    const auto key = load_node_key(scratch.path());
    REQUIRE_FALSE(key);
    CHECK(key.error().kind == ErrorKind::kInvalid);
    CHECK(key.error().message.find("restore it from a backup") != std::string::npos);
    CHECK(slurp(scratch / "node.key") == text);
  }
}

TEST_CASE("a key that others can read is noticed") {
  const Scratch scratch;
  REQUIRE(load_node_key(scratch.path()));
  REQUIRE(::chmod((scratch / "node.key").c_str(), 0644) == 0);
  const auto key = load_node_key(scratch.path());
  REQUIRE(key);
  CHECK(key->exposed);
}

TEST_CASE("an epoch is never used twice whatever the clock does") {
  const Scratch scratch;
  CHECK(next_epoch(scratch.path(), 1000) == 1000U);
  CHECK(next_epoch(scratch.path(), 1000) == 1001U);
  CHECK(next_epoch(scratch.path(), 5) == 1002U);  // the clock went back
  CHECK(next_epoch(scratch.path(), -5) == 1003U);
  CHECK(next_epoch(scratch.path(), 2000) == 2000U);
  CHECK(slurp(scratch / "epoch") == "2000\n");
}

TEST_CASE("the first epoch is not zero") {
  const Scratch scratch;
  CHECK(next_epoch(scratch.path(), 0) == 1U);
}

TEST_CASE("a damaged epoch or one that has no successor is an error") {
  const Scratch scratch;
  for (const char* text : {"", "x", "12x", "99999999999", "4294967295\n"}) {
    CAPTURE(text);
    spill(scratch / "epoch", text);
    const auto epoch = next_epoch(scratch.path(), 1000);
    REQUIRE_FALSE(epoch);
    CHECK(epoch.error().kind == ErrorKind::kInvalid);
    CHECK(slurp(scratch / "epoch") == text);
  }
  CHECK_FALSE(next_epoch(scratch.path(), int64_t{1} << 33));
}

TEST_CASE("files are replaced at once") {
  const Scratch scratch;
  const std::string path = scratch / "file";
  const auto none = read_file(path, 10);
  REQUIRE(none);
  CHECK_FALSE(none->has_value());
  REQUIRE(write_file(path, "one"));
  REQUIRE(write_file(path, "two"));
  CHECK(**read_file(path, 3) == "two");
  CHECK(read_file(path, 2).error().kind == ErrorKind::kTooLarge);
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
}

TEST_CASE("a place that cannot be written is named") {
  const Scratch scratch;
  spill(scratch / "file", "x");
  const auto made = make_directory(scratch / "file/state");
  REQUIRE_FALSE(made);
  CHECK(made.error().message.find("cannot create the directory " + (scratch / "file/state")) !=
        std::string::npos);
  const auto not_directory = make_directory(scratch / "file");
  REQUIRE_FALSE(not_directory);
  CHECK(not_directory.error().message.find("Not a directory") != std::string::npos);
  CHECK_FALSE(write_file(scratch / "none/file", "x"));
}

}  // namespace
}  // namespace starling::agent
