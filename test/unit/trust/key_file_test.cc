// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/key_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {

namespace {

constexpr KeyFileCost kCheap{.passes = 1, .memory = uint64_t{1} << 20};

SecretBytes passphrase(std::string_view text) {
  SecretBytes bytes(text.size());
  std::ranges::copy(text, bytes.data());
  return bytes;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc | std::ios::binary) << text;
  ::chmod(path.c_str(), 0600);
}

}  // namespace

TEST_CASE("a key under a passphrase opens with it and with no other") {
  const Scratch scratch;
  const std::string path = scratch.path() + "/alice.key";
  const SigningKey key = SigningKey::generate();
  const SecretBytes right = passphrase("correct horse");
  REQUIRE(write_key_file(path, "alice", key, &right, kCheap));
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);

  const auto file = KeyFile::read(path);
  REQUIRE(file);
  CHECK(file->locked());
  CHECK(file->owner().name == "alice");
  CHECK(file->owner().key == key.public_key());
  const auto opened = file->unlock(&right);
  REQUIRE(opened);
  CHECK(opened->public_key() == key.public_key());

  const SecretBytes wrong = passphrase("correct house");
  CHECK(file->unlock(&wrong).error().message.find("not the passphrase") != std::string::npos);
  CHECK(file->unlock(nullptr).error().message.find("under a passphrase") != std::string::npos);
}

TEST_CASE("a key without a passphrase opens at once and nothing is overwritten") {
  const Scratch scratch;
  const std::string path = scratch.path() + "/bot.key";
  const SigningKey key = SigningKey::generate();
  REQUIRE(write_key_file(path, "bot", key, nullptr));
  const auto file = KeyFile::read(path);
  REQUIRE(file);
  CHECK_FALSE(file->locked());
  CHECK(file->unlock(nullptr)->public_key() == key.public_key());
  CHECK(write_key_file(path, "bot", key, nullptr).error().kind == ErrorKind::kConflict);
}

TEST_CASE("a key file that others may read, or that is damaged, is refused") {
  const Scratch scratch;
  const std::string path = scratch.path() + "/alice.key";
  CHECK(KeyFile::read(path).error().kind == ErrorKind::kNotFound);
  const SecretBytes right = passphrase("x");
  REQUIRE(write_key_file(path, "alice", SigningKey::generate(), &right, kCheap));
  const std::string good = text_of(path);

  ::chmod(path.c_str(), 0640);
  CHECK(KeyFile::read(path).error().message.find("chmod 600") != std::string::npos);

  write(path, "starling-operator 1 abc alice\n");
  CHECK(KeyFile::read(path).error().message.find("no operator's secret key") != std::string::npos);
  for (size_t size = 0; size < good.size() - 1; size += 7) {
    write(path, good.substr(0, size));
    const auto cut = KeyFile::read(path);
    if (cut) CHECK_FALSE(cut->unlock(&right));
  }
  // Costs that nobody would have chosen.
  std::string dear = good;
  dear.replace(dear.find("1048576"), 7, "9999999999999");
  write(path, dear);
  CHECK_FALSE(KeyFile::read(path));
  // The public half of another key.
  const std::string other = scratch.path() + "/other.key";
  REQUIRE(write_key_file(other, "alice", SigningKey::generate(), &right, kCheap));
  const std::string stranger = text_of(other);
  const auto line = [](const std::string& text, const char* word) {
    const size_t at = text.find(word);
    return text.substr(at, text.find('\n', at) - at);
  };
  std::string mixed = good;
  mixed.replace(mixed.find("public "), line(good, "public ").size(), line(stranger, "public "));
  write(path, mixed);
  CHECK(KeyFile::read(path)->unlock(&right).error().message.find("another key") !=
        std::string::npos);
}

}  // namespace starling::agent
