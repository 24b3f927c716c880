// SPDX-License-Identifier: Apache-2.0
#include "agent/control/frame.h"

#include <google/protobuf/message_lite.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace starling::agent {
namespace {

std::size_t announced_bytes(std::string_view header) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kFrameHeaderBytes; ++i) {
    length = length << 8 | static_cast<std::uint8_t>(header[i]);
  }
  return length;
}

tl::unexpected<Error> too_large(std::size_t length, std::size_t limit) {
  return fail(ErrorKind::kTooLarge, "a control message of " + std::to_string(length) +
                                        " bytes is over the limit of " + std::to_string(limit) +
                                        " bytes");
}

}  // namespace

Result<std::string> encode_frame(const google::protobuf::MessageLite& message) {
  const std::size_t length = message.ByteSizeLong();
  if (length > kMaxFrameBytes) return too_large(length, kMaxFrameBytes);
  std::string frame;
  frame.reserve(kFrameHeaderBytes + length);
  for (std::size_t i = 0; i < kFrameHeaderBytes; ++i) {
    frame.push_back(static_cast<char>(length >> (8 * (kFrameHeaderBytes - 1 - i)) & 0xff));
  }
  message.AppendToString(&frame);
  return frame;
}

Result<std::size_t> FrameDecoder::receive(std::string_view bytes, const OnFrame& on_frame) {
  const std::size_t offered = bytes.size();
  while (!bytes.empty()) {
    if (buffer_.size() < kFrameHeaderBytes) {
      const std::size_t take = std::min(kFrameHeaderBytes - buffer_.size(), bytes.size());
      buffer_.append(bytes.substr(0, take));
      bytes.remove_prefix(take);
      if (buffer_.size() < kFrameHeaderBytes) break;
    }
    const std::size_t length = announced_bytes(buffer_);
    if (length > max_frame_bytes_) return too_large(length, max_frame_bytes_);
    const std::size_t missing = kFrameHeaderBytes + length - buffer_.size();
    const std::size_t take = std::min(missing, bytes.size());
    buffer_.append(bytes.substr(0, take));
    bytes.remove_prefix(take);
    if (take < missing) break;
    const std::string frame = std::exchange(buffer_, {});
    if (!on_frame(std::string_view(frame).substr(kFrameHeaderBytes))) break;
  }
  return offered - bytes.size();
}

}  // namespace starling::agent
