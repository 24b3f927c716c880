// SPDX-License-Identifier: Apache-2.0
#include "agent/store/identity.h"

#include <sodium.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>

#include "agent/store/file.h"

namespace starling::agent {

namespace {

// "starling-node-key-v1 <64 hexadecimal digits of the Ed25519 seed>\n"
constexpr std::string_view kKeyHeader = "starling-node-key-v1 ";
constexpr size_t kSeedDigits = crypto_sign_SEEDBYTES * 2;
constexpr size_t kSmallFile = 4096;

using Seed = membership::Ed25519Keys::Seed;

NodeKey key_from_seed(const Seed& seed) {
  NodeKey key;
  key.keys = std::make_shared<membership::Ed25519Keys>(seed);
  key.public_key = key.keys->public_key();
  key.id = key.keys->id_of(key.public_key);
  return key;
}

bool read_seed(std::string_view text, Seed& seed) {
  if (!text.starts_with(kKeyHeader)) return false;
  text.remove_prefix(kKeyHeader.size());
  if (text.ends_with('\n')) text.remove_suffix(1);
  size_t size = 0;
  return text.size() == kSeedDigits &&
         sodium_hex2bin(seed.data(), seed.size(), text.data(), text.size(), nullptr, &size,
                        nullptr) == 0 &&
         size == seed.size();
}

Result<NodeKey> create_key(const std::string& path) {
  Seed seed{};
  randombytes_buf(seed.data(), seed.size());
  std::array<char, kSeedDigits + 1> digits{};
  sodium_bin2hex(digits.data(), digits.size(), seed.data(), seed.size());
  std::string text(kKeyHeader);
  text.append(digits.data(), kSeedDigits);
  text += '\n';
  auto written = replace_file(path, text);
  NodeKey key = key_from_seed(seed);
  sodium_memzero(seed.data(), seed.size());
  sodium_memzero(digits.data(), digits.size());
  sodium_memzero(text.data(), text.size());
  if (!written) return tl::unexpected(written.error());
  key.created = true;
  return key;
}

}  // namespace

Result<NodeKey> load_node_key(const std::string& directory) {
  if (sodium_init() < 0) return fail(ErrorKind::kInternal, "libsodium does not start");
  const std::string path = directory + "/node.key";
  auto text = read_file(path, kSmallFile);
  if (!text) return tl::unexpected(text.error());
  if (!*text) return create_key(path);
  Seed seed{};
  const bool valid = read_seed(**text, seed);
  sodium_memzero((*text)->data(), (*text)->size());
  if (!valid) {
    return fail(ErrorKind::kInvalid, path +
                                         " is not a node key: restore it from a backup, or remove "
                                         "it and let this host become a new member");
  }
  NodeKey key = key_from_seed(seed);
  sodium_memzero(seed.data(), seed.size());
  struct stat status = {};
  key.exposed = ::stat(path.c_str(), &status) == 0 && (status.st_mode & 077) != 0;
  return key;
}

Result<uint32_t> next_epoch(const std::string& directory, int64_t unix_now) {
  constexpr int64_t kLast = std::numeric_limits<uint32_t>::max();
  const std::string path = directory + "/epoch";
  auto text = read_file(path, kSmallFile);
  if (!text) return tl::unexpected(text.error());
  uint32_t last = 0;
  if (*text) {
    std::string_view digits = **text;
    if (digits.ends_with('\n')) digits.remove_suffix(1);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), last);
    if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) {
      return fail(ErrorKind::kInvalid,
                  path +
                      " does not hold a number: write one there that is greater than the unix "
                      "time of the last start (date +%s)");
    }
  }
  const int64_t epoch = std::max({unix_now, int64_t{last} + 1, int64_t{1}});
  if (epoch > kLast) {
    return fail(ErrorKind::kInvalid, path + ": no epoch is left after " + std::to_string(last) +
                                         ": set the clock, and remove " + path +
                                         " and node.key beside it");
  }
  if (auto written = replace_file(path, std::to_string(epoch) + "\n"); !written) {
    return tl::unexpected(written.error());
  }
  return static_cast<uint32_t>(epoch);
}

}  // namespace starling::agent
