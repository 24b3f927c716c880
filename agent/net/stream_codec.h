// SPDX-License-Identifier: Apache-2.0
//
// The sealed stream protocol without the socket: handshake, keys, frames. Bytes in, messages out,
// and the other way round. The layout is in docs/wire.md. Single-threaded.
//
// Memory: what is held of the other side's bytes is what has arrived of one frame; a frame's
// length is checked before anything is kept for it, and until the other side has proved to hold a
// key, frames are 20 bytes long.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/net/keyring.h"
#include "membership/limits.h"

namespace starling::agent {

inline constexpr uint8_t kStreamVersion = 1;
inline constexpr size_t kStreamNonceSize = 32;
/// "STRL", version, key id, nonce.
inline constexpr size_t kStreamHelloSize = 4 + 1 + sizeof(Keyring::Id) + kStreamNonceSize;
inline constexpr size_t kFrameLengthSize = 4;
inline constexpr size_t kFrameTagSize = 16;
/// Largest value of a frame's length field.
inline constexpr size_t kMaxFrame = membership::kMaxStreamMessage + kFrameTagSize;

enum class StreamFailure : uint8_t {
  kNone,
  kNotStarling,  ///< the other side speaks something else
  kVersion,
  kUnknownKey,  ///< the other side seals with a key that is not in our ring
  kSelf,        ///< our own bytes came back
  kTooLong,     ///< a frame longer (or shorter) than allowed
  kForged,      ///< a frame that does not open: damaged, replayed, or another key after all
};
/// One line for a log, without the peer's name.
[[nodiscard]] std::string_view stream_failure_text(StreamFailure failure);

class StreamCodec {
 public:
  enum class Role : uint8_t { kOpener, kAccepter };
  enum class Event : uint8_t {
    kNone,         ///< more bytes are needed
    kEstablished,  ///< the other side has proved to hold a key; once
    kMessage,      ///< message() holds one
    kFailed,       ///< failure() says why; the stream is of no more use
  };

  /// `keyring` must live until the stream is established or has failed.
  StreamCodec(const Keyring& keyring, Role role);

  /// The agent's keys have changed during the handshake: the other side may already seal with a new
  /// one. A ring without the key that our hello has named is of no use here, and is left alone.
  /// False: the former ring is still needed.
  bool set_keyring(const Keyring& keyring);

  /// Appends what the handshake wants to send; call after construction and after each next().
  void take_handshake(std::string& out);

  void receive(std::string_view bytes);
  /// What the bytes received so far amount to; call until kNone or kFailed.
  Event next();
  /// Valid until the next receive() or next().
  [[nodiscard]] std::string_view message() const { return message_; }
  [[nodiscard]] StreamFailure failure() const { return failure_; }

  /// The other side's hello has come: seal() may be called.
  [[nodiscard]] bool can_seal() const { return can_seal_; }
  [[nodiscard]] bool established() const { return established_; }
  /// Part of a frame, or of the handshake, is waiting for the rest.
  [[nodiscard]] bool mid_frame() const { return in_.size() > consumed_; }
  /// Appends the frame of one message of at most kMaxStreamMessage bytes.
  void seal(std::string_view message, std::string& out);

 private:
  Event read_hello();
  Event read_frame();
  Event fail_with(StreamFailure failure);
  void agree_on_keys(size_t peer_key);

  const Keyring* keyring_;
  Keyring::Id own_key_{};  // named in our hello
  Role role_;
  std::string hello_;
  std::string peer_hello_;
  std::string handshake_out_;
  std::string in_;
  size_t consumed_ = 0;
  std::string_view message_;
  StreamFailure failure_ = StreamFailure::kNone;
  bool can_seal_ = false;
  bool established_ = false;
  SecretKey send_key_;
  SecretKey receive_key_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

}  // namespace starling::agent
