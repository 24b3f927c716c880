// SPDX-License-Identifier: Apache-2.0
#include "agent/control/frame.h"

#include <vector>

#include "proto/control.pb.h"
#include "test/catch.h"

using starling::ErrorKind;
using starling::agent::encode_frame;
using starling::agent::FrameDecoder;
using starling::agent::kMaxFrameBytes;

namespace {

/// Feeds `bytes` in pieces of `piece` bytes.
std::vector<std::string> decode(const std::string& bytes, std::size_t piece) {
  FrameDecoder decoder;
  std::vector<std::string> frames;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const auto taken =
        decoder.receive(std::string_view(bytes).substr(at, piece), [&](std::string_view frame) {
          frames.emplace_back(frame);
          return true;
        });
    REQUIRE(taken);
    CHECK(*taken == std::min(piece, bytes.size() - at));
  }
  CHECK(decoder.buffered() == 0);
  return frames;
}

std::string header(std::size_t length) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>(length >> shift & 0xff));
  }
  return bytes;
}

}  // namespace

TEST_CASE("a frame is the length in big endian and the message") {
  starling::control::Request request;
  request.set_id(300);
  request.mutable_leave();
  const auto frame = encode_frame(request);
  REQUIRE(frame);
  CHECK(*frame == std::string("\0\0\0\5\x08\xac\x02\x1a\0", 9));
}

TEST_CASE("frames arrive whole however the stream is cut") {
  const std::string bytes = header(3) + "one" + header(0) + header(5) + "three";
  const std::vector<std::string> expected = {"one", "", "three"};
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    CAPTURE(piece);
    CHECK(decode(bytes, piece) == expected);
  }
}

TEST_CASE("a header over the limit is refused before its bytes come") {
  FrameDecoder decoder;
  const auto ignore = [](std::string_view) { return true; };
  const auto refused = decoder.receive(header(kMaxFrameBytes + 1), ignore);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kTooLarge);
  CHECK(refused.error().message ==
        "a control message of 4194305 bytes is over the limit of 4194304 bytes");

  FrameDecoder exact;
  CHECK(exact.receive(header(kMaxFrameBytes), ignore));
  CHECK(exact.buffered() == 4);
}

TEST_CASE("what is behind a stopped frame is not taken") {
  FrameDecoder decoder;
  const std::string bytes = header(1) + "a" + header(1) + "b";
  const auto taken = decoder.receive(bytes, [](std::string_view) { return false; });
  REQUIRE(taken);
  CHECK(*taken == 5);
}

TEST_CASE("a message over the limit is not encoded") {
  starling::control::Request request;
  request.mutable_event()->set_payload(std::string(kMaxFrameBytes, 'x'));
  const auto frame = encode_frame(request);
  REQUIRE_FALSE(frame);
  CHECK(frame.error().kind == ErrorKind::kTooLarge);
}
