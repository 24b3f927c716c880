// SPDX-License-Identifier: Apache-2.0
//
// Seals and opens datagrams: XChaCha20-Poly1305 under a key derived from the cluster key, with
// nonces that count, and a window per sender that refuses what was heard before. The layout is in
// docs/wire.md. One object per process and socket: two with the same (id, epoch) differ only in
// the random salt. Single-threaded.
//
// What is refused and why, after a packet proved to be sealed with one of our keys:
//  - a counter heard before, or further behind than the window is wide: replayed;
//  - an older boot epoch than the sender's last one: replayed from before its restart;
//  - the same epoch with another salt. An epoch rises at every start, so this is a copy of the
//    host (same identity twice) or a clock and state that went back; the two cannot be put in
//    order, so the process heard first keeps its place.
// The window is forgotten when its sender is the least recently heard of kMaxSenders, and with the
// process. A packet replayed after that is accepted once: the protocol's versions must make that
// harmless (they do: records are ordered by incarnation, events by sequence).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <unordered_map>
#include <vector>

#include "agent/net/keyring.h"
#include "membership/ids.h"
#include "membership/limits.h"

namespace starling::agent {

inline constexpr uint8_t kPacketVersion = 1;
inline constexpr size_t kPacketNonceSize = 24;
inline constexpr size_t kPacketHeaderSize = 2 + kPacketNonceSize;
inline constexpr size_t kPacketTagSize = 16;
/// Sealed size less plain size.
inline constexpr size_t kSealOverhead = kPacketHeaderSize + kPacketTagSize;
inline constexpr size_t kMaxSealedPacket = membership::kMaxPacket + kSealOverhead;
static_assert(kSealOverhead <= 64);
static_assert(kMaxSealedPacket <= 1232, "1280 (least IPv6 MTU) less IPv6 and UDP headers");

enum class OpenFailure : uint8_t {
  kTooShort,
  kTooLong,
  kVersion,     ///< not a packet of ours, or of another version
  kUnknownKey,  ///< sealed with a key that is not in the ring
  kForged,      ///< claims a key of ours and is not sealed with it, or was changed on its way
  kOwn,         ///< sent by this node
  kReplayed,    ///< heard before, or too old to tell
  kOldBoot,     ///< from before the sender's last restart
  kTwin,        ///< another process with the sender's identity and epoch was heard first
};
[[nodiscard]] std::string_view open_failure_name(OpenFailure failure);

/// Per sender: the highest counter heard, and which of the 256 up to it were.
class ReplayWindows {
 public:
  static constexpr size_t kWidth = 256;

  explicit ReplayWindows(size_t max_senders) : max_senders_(max_senders) {}

  /// Records an authentic packet's nonce. Nothing when it is new, otherwise why it is refused.
  tl::expected<void, OpenFailure> accept(uint64_t sender, uint32_t epoch, uint32_t salt,
                                         uint64_t counter);
  [[nodiscard]] size_t senders() const { return windows_.size(); }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Window {
    uint64_t sender = 0;
    uint64_t highest = 0;
    std::array<uint64_t, kWidth / 64> heard{};  // ring of bits: counter % kWidth
    uint32_t epoch = 0;
    uint32_t salt = 0;
    uint32_t newer = kNone;  // in order of last use
    uint32_t older = kNone;
  };
  Window& touch(uint64_t sender, bool& created);
  void unlink(uint32_t index);
  void link_newest(uint32_t index);

  size_t max_senders_;
  std::vector<Window> windows_;
  std::unordered_map<uint64_t, uint32_t> index_;
  uint32_t newest_ = kNone;
  uint32_t oldest_ = kNone;
};

class PacketSealer {
 public:
  /// Senders remembered; about 100 bytes each, taken as they are heard.
  static constexpr size_t kMaxSenders = membership::kMaxMembers;

  /// `epoch`: the boot epoch, greater at every start of the same `sender`.
  PacketSealer(const Keyring& keyring, const membership::NodeId& sender, uint32_t epoch,
               size_t max_senders = kMaxSenders);

  /// Seals with the new ring's primary key from now on, and opens what any of its keys sealed. The
  /// counter and the replay windows go on: they belong to the process, not to a key.
  void set_keyring(const Keyring& keyring);

  /// Seals `plain` into `sealed`, whose memory is reused. Any size; the caller keeps to kMaxPacket.
  void seal(std::string_view plain, std::string& sealed);
  [[nodiscard]] std::string seal(std::string_view plain);

  /// The plain bytes, valid until the next call, or why there are none.
  [[nodiscard]] tl::expected<std::string_view, OpenFailure> open(std::string_view sealed);

 private:
  struct PacketKey {
    uint8_t id = 0;
    SecretKey key;
  };
  bool decrypt(std::string_view sealed, const PacketKey& key);

  std::vector<PacketKey> keys_;
  std::array<uint8_t, kPacketNonceSize - 8> nonce_prefix_{};
  uint64_t own_hash_ = 0;
  uint64_t counter_ = 0;
  ReplayWindows windows_;
  std::string plain_;
};

}  // namespace starling::agent
