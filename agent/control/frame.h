// SPDX-License-Identifier: Apache-2.0
//
// Frames of the control socket: the length of a protobuf message (4 bytes, big endian), then the
// message. Pure, no I/O: the server and the client share it. No threads of its own; one decoder
// belongs to one stream. Invariant: a decoder holds at most one unfinished frame.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "proto/support/result.h"

namespace google::protobuf {
class MessageLite;
}

namespace starling::agent {

inline constexpr std::size_t kFrameHeaderBytes = 4;
/// Longest message in either direction, in bytes.
inline constexpr std::size_t kMaxFrameBytes = 4u << 20;

/// The message as one frame. kTooLarge when it is longer than kMaxFrameBytes.
[[nodiscard]] Result<std::string> encode_frame(const google::protobuf::MessageLite& message);

/// Cuts a byte stream into frames, whatever the pieces in which it arrives.
class FrameDecoder {
 public:
  /// Takes one message; false stops the decoding behind it.
  using OnFrame = std::function<bool(std::string_view message)>;

  explicit FrameDecoder(std::size_t max_frame_bytes = kMaxFrameBytes)
      : max_frame_bytes_(max_frame_bytes) {}

  /// Passes every frame that `bytes` completes to `on_frame`, in order. Returns how many of `bytes`
  /// were taken: all, unless `on_frame` stopped it; pass the rest again later. kTooLarge as soon as
  /// a header announces more than the limit; nothing is reserved for what is only announced. After
  /// an error the stream has no meaning any more: close it.
  [[nodiscard]] Result<std::size_t> receive(std::string_view bytes, const OnFrame& on_frame);

  /// Bytes of the unfinished frame.
  std::size_t buffered() const { return buffer_.size(); }

 private:
  std::size_t max_frame_bytes_;
  std::string buffer_;
};

}  // namespace starling::agent
