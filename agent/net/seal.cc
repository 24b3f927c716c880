// SPDX-License-Identifier: Apache-2.0
#include "agent/net/seal.h"

#include <sodium.h>

#include <cstring>

#include "proto/support/assert.h"

namespace starling::agent {

namespace {

static_assert(kPacketNonceSize == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
static_assert(kPacketTagSize == crypto_aead_xchacha20poly1305_ietf_ABYTES);

constexpr std::string_view kKeyLabel = "starling packet key 1";
constexpr std::string_view kLabel = "starling packet 1";  // authenticated with every packet
constexpr size_t kNonceAt = 2;

// Authenticated and not encrypted: the label, then the header.
using Associated = std::array<uint8_t, kLabel.size() + kPacketHeaderSize>;

Associated associated(const uint8_t* header) {
  Associated data;
  std::memcpy(data.data(), kLabel.data(), kLabel.size());
  std::memcpy(data.data() + kLabel.size(), header, kPacketHeaderSize);
  return data;
}

template <typename T>
void put(uint8_t* at, T value) {
  for (size_t i = 0; i < sizeof value; ++i) {
    at[i] = static_cast<uint8_t>(value >> (8 * (sizeof value - 1 - i)));
  }
}

template <typename T>
T get(const uint8_t* at) {
  T value = 0;
  for (size_t i = 0; i < sizeof value; ++i) value = static_cast<T>(value << 8) | at[i];
  return value;
}

uint8_t* raw(std::string& text) {
  return reinterpret_cast<uint8_t*>(text.data());
}
const uint8_t* raw(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

}  // namespace

std::string_view open_failure_name(OpenFailure failure) {
  switch (failure) {
    case OpenFailure::kTooShort:
      return "too short";
    case OpenFailure::kTooLong:
      return "too long";
    case OpenFailure::kVersion:
      return "unknown version";
    case OpenFailure::kUnknownKey:
      return "sealed with another key";
    case OpenFailure::kForged:
      return "forged or damaged";
    case OpenFailure::kOwn:
      return "our own";
    case OpenFailure::kReplayed:
      return "replayed";
    case OpenFailure::kOldBoot:
      return "from before the sender's restart";
    case OpenFailure::kTwin:
      return "from a second process with the sender's identity";
  }
  return "unknown";
}

// --- replay windows ---

void ReplayWindows::unlink(uint32_t index) {
  Window& window = windows_[index];
  (window.newer == kNone ? newest_ : windows_[window.newer].older) = window.older;
  (window.older == kNone ? oldest_ : windows_[window.older].newer) = window.newer;
}

void ReplayWindows::link_newest(uint32_t index) {
  Window& window = windows_[index];
  window.newer = kNone;
  window.older = newest_;
  (newest_ == kNone ? oldest_ : windows_[newest_].newer) = index;
  newest_ = index;
}

ReplayWindows::Window& ReplayWindows::touch(uint64_t sender, bool& created) {
  const auto known = index_.find(sender);
  created = known == index_.end();
  uint32_t index = 0;
  if (!created) {
    index = known->second;
    unlink(index);
  } else {
    if (windows_.size() < max_senders_) {
      index = static_cast<uint32_t>(windows_.size());
      windows_.emplace_back();
    } else {
      index = oldest_;
      unlink(index);
      index_.erase(windows_[index].sender);
    }
    index_.emplace(sender, index);
    windows_[index] = Window{};
    windows_[index].sender = sender;
  }
  link_newest(index);
  return windows_[index];
}

tl::expected<void, OpenFailure> ReplayWindows::accept(uint64_t sender, uint32_t epoch,
                                                      uint32_t salt, uint64_t counter) {
  bool created = false;
  Window& window = touch(sender, created);
  const auto bit = [](uint64_t number) { return uint64_t{1} << (number % 64); };
  const auto word = [&](uint64_t number) -> uint64_t& {
    return window.heard[number % kWidth / 64];
  };
  if (created || epoch > window.epoch) {
    window.epoch = epoch;
    window.salt = salt;
    window.highest = counter;
    window.heard.fill(0);
    word(counter) |= bit(counter);
    return {};
  }
  if (epoch < window.epoch) return tl::unexpected(OpenFailure::kOldBoot);
  if (salt != window.salt) return tl::unexpected(OpenFailure::kTwin);
  if (counter > window.highest) {
    if (counter - window.highest >= kWidth) {
      window.heard.fill(0);
    } else {
      for (uint64_t skipped = window.highest + 1; skipped < counter; ++skipped) {
        word(skipped) &= ~bit(skipped);
      }
    }
    window.highest = counter;
  } else if (window.highest - counter >= kWidth || (word(counter) & bit(counter)) != 0) {
    return tl::unexpected(OpenFailure::kReplayed);
  }
  word(counter) |= bit(counter);
  return {};
}

// --- sealing ---

PacketSealer::PacketSealer(const Keyring& keyring, const membership::NodeId& sender, uint32_t epoch,
                           size_t max_senders)
    : own_hash_(sender.hash()), windows_(max_senders) {
  set_keyring(keyring);
  // The counter starts again with each process. Id, epoch and salt together keep nonces apart even
  // if an epoch should be used twice.
  put(nonce_prefix_.data(), own_hash_);
  put(nonce_prefix_.data() + 8, epoch);
  put(nonce_prefix_.data() + 12, randombytes_random());
}

void PacketSealer::set_keyring(const Keyring& keyring) {
  keys_.clear();
  for (size_t i = 0; i < keyring.size(); ++i) {
    keys_.push_back({keyring.id(i)[0], keyring.derive(i, {kKeyLabel})});
  }
}

void PacketSealer::seal(std::string_view plain, std::string& sealed) {
  const PacketKey& key = keys_.front();
  sealed.resize(plain.size() + kSealOverhead);
  uint8_t* out = raw(sealed);
  out[0] = kPacketVersion;
  out[1] = key.id;
  uint8_t* nonce = out + kNonceAt;
  std::memcpy(nonce, nonce_prefix_.data(), nonce_prefix_.size());
  ++counter_;
  STARLING_ASSERT(counter_ != 0);
  put(nonce + nonce_prefix_.size(), counter_);
  const Associated data = associated(out);
  crypto_aead_xchacha20poly1305_ietf_encrypt(out + kPacketHeaderSize, nullptr, raw(plain),
                                             plain.size(), data.data(), data.size(), nullptr, nonce,
                                             key.key.data());
}

std::string PacketSealer::seal(std::string_view plain) {
  std::string sealed;
  seal(plain, sealed);
  return sealed;
}

bool PacketSealer::decrypt(std::string_view sealed, const PacketKey& key) {
  const uint8_t* in = raw(sealed);
  const Associated data = associated(in);
  plain_.resize(sealed.size() - kSealOverhead);
  return crypto_aead_xchacha20poly1305_ietf_decrypt(
             raw(plain_), nullptr, nullptr, in + kPacketHeaderSize,
             sealed.size() - kPacketHeaderSize, data.data(), data.size(), in + kNonceAt,
             key.key.data()) == 0;
}

tl::expected<std::string_view, OpenFailure> PacketSealer::open(std::string_view sealed) {
  // A version that we don't know says nothing about lengths that we do.
  if (!sealed.empty() && raw(sealed)[0] != kPacketVersion) {
    return tl::unexpected(OpenFailure::kVersion);
  }
  if (sealed.size() < kSealOverhead) return tl::unexpected(OpenFailure::kTooShort);
  if (sealed.size() > kMaxSealedPacket) return tl::unexpected(OpenFailure::kTooLong);
  const uint8_t* nonce = raw(sealed) + kNonceAt;
  const auto sender = get<uint64_t>(nonce);
  bool known_key = false;
  bool authentic = false;
  for (const PacketKey& key : keys_) {  // two keys of a ring seldom share an id
    if (key.id != raw(sealed)[1]) continue;
    known_key = true;
    authentic = decrypt(sealed, key);
    if (authentic) break;
  }
  if (!known_key) return tl::unexpected(OpenFailure::kUnknownKey);
  if (!authentic) return tl::unexpected(OpenFailure::kForged);
  if (sender == own_hash_) return tl::unexpected(OpenFailure::kOwn);
  const auto fresh = windows_.accept(sender, get<uint32_t>(nonce + 8), get<uint32_t>(nonce + 12),
                                     get<uint64_t>(nonce + 16));
  if (!fresh) return tl::unexpected(fresh.error());
  return std::string_view(plain_);
}

}  // namespace starling::agent
