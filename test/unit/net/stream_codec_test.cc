// SPDX-License-Identifier: Apache-2.0
#include "agent/net/stream_codec.h"

#include <string>
#include <vector>

#include "test/catch.h"

namespace starling::agent {
namespace {

using Event = StreamCodec::Event;
using Role = StreamCodec::Role;

const std::string kKeyA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const std::string kKeyB = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

Keyring ring(const std::vector<std::string>& keys) {
  return *Keyring::from_base64(keys);
}

// One side: its codec and what it has to say and has heard.
struct Side {
  Side(const Keyring& keyring, Role role) : codec(keyring, role) { codec.take_handshake(out); }

  // All that comes of these bytes; the last event is kNone or kFailed.
  Event feed(std::string_view bytes) {
    codec.receive(bytes);
    while (true) {
      const Event event = codec.next();
      codec.take_handshake(out);
      if (event == Event::kEstablished) ++established;
      if (event == Event::kMessage) messages.emplace_back(codec.message());
      if (event == Event::kNone || event == Event::kFailed) return event;
    }
  }
  std::string take() { return std::exchange(out, {}); }

  StreamCodec codec;
  std::string out;
  int established = 0;
  std::vector<std::string> messages;
};

struct Pair {
  explicit Pair(const Keyring& a, const Keyring& b)
      : opener(a, Role::kOpener), accepter(b, Role::kAccepter) {}

  void shake_hands() {
    for (int round = 0; round < 2; ++round) {
      to_accepter += opener.out;
      accepter.feed(opener.take());
      to_opener += accepter.out;
      opener.feed(accepter.take());
    }
  }

  Side opener;
  Side accepter;
  std::string to_accepter;  // all that was sent, as an eavesdropper has it
  std::string to_opener;
};

TEST_CASE("two sides with one key agree and talk both ways") {
  const Keyring keyring = ring({kKeyA});
  Pair pair(keyring, keyring);
  pair.shake_hands();
  CHECK(pair.opener.established == 1);
  CHECK(pair.accepter.established == 1);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1000}, membership::kMaxStreamMessage}) {
    const std::string message(size, 'm');
    std::string frame;
    pair.opener.codec.seal(message, frame);
    CHECK(frame.size() == size + kFrameLengthSize + kFrameTagSize);
    CHECK(pair.accepter.feed(frame) == Event::kNone);
    REQUIRE_FALSE(pair.accepter.messages.empty());
    CHECK(pair.accepter.messages.back() == message);
    frame.clear();
    pair.accepter.codec.seal(message, frame);
    CHECK(pair.opener.feed(frame) == Event::kNone);
    REQUIRE_FALSE(pair.opener.messages.empty());
    CHECK(pair.opener.messages.back() == message);
  }
}

TEST_CASE("bytes may come one at a time or all at once") {
  const Keyring keyring = ring({kKeyA});
  Pair pair(keyring, keyring);
  pair.shake_hands();
  std::string stream;
  for (const char* message : {"one", "two", "", "four"}) pair.opener.codec.seal(message, stream);
  const std::vector<std::string> expected = {"one", "two", "", "four"};
  SECTION("one at a time") {
    for (const char byte : stream) CHECK(pair.accepter.feed({&byte, 1}) == Event::kNone);
  }
  SECTION("all at once") {
    CHECK(pair.accepter.feed(stream) == Event::kNone);
  }
  CHECK(pair.accepter.messages == expected);
  CHECK_FALSE(pair.accepter.codec.mid_frame());
}

TEST_CASE("a handshake in single bytes and one joined to the first message both work") {
  const Keyring keyring = ring({kKeyA});
  Pair pair(keyring, keyring);
  for (const char byte : pair.opener.take()) pair.accepter.feed({&byte, 1});
  for (const char byte : pair.accepter.take()) pair.opener.feed({&byte, 1});
  CHECK(pair.opener.established == 1);
  CHECK(pair.accepter.established == 0);  // the opener has not proved anything yet
  std::string rest = pair.opener.take();
  pair.opener.codec.seal("hello", rest);
  CHECK(pair.accepter.feed(rest) == Event::kNone);
  CHECK(pair.accepter.established == 1);
  CHECK(pair.accepter.messages == std::vector<std::string>{"hello"});
}

TEST_CASE("another key is told apart from noise") {
  const Keyring key_a = ring({kKeyA});
  const Keyring key_b = ring({kKeyB});
  const Keyring insecure = Keyring::insecure();
  SECTION("two keys") {
    Pair pair(key_a, key_b);
    pair.shake_hands();
    CHECK(pair.opener.codec.failure() == StreamFailure::kUnknownKey);
    CHECK(pair.accepter.codec.failure() == StreamFailure::kUnknownKey);
    CHECK(pair.accepter.established == 0);
  }
  SECTION("with and without a key") {
    Pair pair(key_a, insecure);
    pair.shake_hands();
    CHECK(pair.opener.codec.failure() == StreamFailure::kUnknownKey);
    CHECK(pair.accepter.codec.failure() == StreamFailure::kUnknownKey);
  }
  SECTION("another protocol") {
    Side side(key_a, Role::kAccepter);
    CHECK(side.feed("GET / HTTP/1.1\r\n") == Event::kFailed);
    CHECK(side.codec.failure() == StreamFailure::kNotStarling);
  }
  SECTION("another protocol is known by its first byte") {
    Side side(key_a, Role::kAccepter);
    CHECK(side.feed("G") == Event::kFailed);
  }
  SECTION("another version") {
    Side side(key_a, Role::kAccepter);
    CHECK(side.feed("STRL\x02") == Event::kFailed);
    CHECK(side.codec.failure() == StreamFailure::kVersion);
  }
}

TEST_CASE("rings that share keys talk whichever key is primary") {
  const Keyring both = ring({kKeyA, kKeyB});
  const Keyring reversed = ring({kKeyB, kKeyA});
  Pair pair(both, reversed);
  pair.shake_hands();
  CHECK(pair.opener.established == 1);
  CHECK(pair.accepter.established == 1);
}

TEST_CASE("knowing a key's id is not holding the key") {
  const Keyring keyring = ring({kKeyA});
  Side victim(keyring, Role::kAccepter);
  std::string fake = Side(keyring, Role::kOpener).out;  // a genuine hello, of a stream not ours
  CHECK(victim.feed(fake) == Event::kNone);
  const std::string frame = std::string("\0\0\0\x10", 4) + std::string(16, 'x');
  CHECK(victim.feed(frame) == Event::kFailed);
  CHECK(victim.codec.failure() == StreamFailure::kForged);
  CHECK(victim.established == 0);
}

TEST_CASE("a captured stream is worth nothing in another one") {
  const Keyring keyring = ring({kKeyA});
  Pair pair(keyring, keyring);
  pair.shake_hands();
  std::string frame;
  pair.opener.codec.seal("transfer", frame);
  const std::string captured = pair.to_accepter + frame;
  SECTION("replayed to the same kind of side") {
    Side victim(keyring, Role::kAccepter);
    CHECK(victim.feed(captured) == Event::kFailed);
    CHECK(victim.codec.failure() == StreamFailure::kForged);
    CHECK(victim.established == 0);
  }
  SECTION("what the other side said replayed to an opener") {
    Side victim(keyring, Role::kOpener);
    CHECK(victim.feed(pair.to_opener) == Event::kFailed);
    CHECK(victim.established == 0);
  }
  SECTION("a frame twice in its own stream") {
    CHECK(pair.accepter.feed(frame) == Event::kNone);
    CHECK(pair.accepter.feed(frame) == Event::kFailed);
    CHECK(pair.accepter.messages.size() == 1);
  }
  SECTION("a frame left out") {
    std::string next;
    pair.opener.codec.seal("second", next);
    CHECK(pair.accepter.feed(next) == Event::kFailed);
  }
  SECTION("a frame sent back where it came from") {
    CHECK(pair.opener.feed(frame) == Event::kFailed);
  }
}

TEST_CASE("a side that hears itself says so") {
  const Keyring keyring = ring({kKeyA});
  Side side(keyring, Role::kOpener);
  CHECK(side.feed(side.take()) == Event::kFailed);
  CHECK(side.codec.failure() == StreamFailure::kSelf);
}

TEST_CASE("every flipped bit of a frame is refused") {
  const Keyring keyring = ring({kKeyA});
  const size_t frame_size = kFrameLengthSize + kFrameTagSize + 3;
  for (size_t bit = 0; bit < frame_size * 8; ++bit) {
    Pair pair(keyring, keyring);
    pair.shake_hands();
    std::string frame;
    pair.opener.codec.seal("abc", frame);
    pair.opener.codec.seal(std::string(200, 'z'), frame);  // enough for a length that grew a little
    frame[bit / 8] = static_cast<char>(frame[bit / 8] ^ (1 << (bit % 8)));
    pair.accepter.feed(frame);
    CAPTURE(bit);
    CHECK(pair.accepter.messages.empty());
  }
}

TEST_CASE("forbidden lengths are refused before their bytes come") {
  const Keyring keyring = ring({kKeyA});
  const auto length = [](uint32_t size) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(size >> shift);
    return bytes;
  };
  SECTION("in a handshake every frame but the empty one") {
    for (const uint32_t size : {uint32_t{0}, uint32_t{15}, uint32_t{17}, UINT32_MAX}) {
      Side side(keyring, Role::kAccepter);
      side.feed(Side(keyring, Role::kOpener).out);
      CHECK(side.feed(length(size)) == Event::kFailed);
      CHECK(side.codec.failure() == StreamFailure::kTooLong);
    }
  }
  SECTION("later all that no message can have") {
    for (const uint32_t size : {uint32_t{0}, uint32_t{15}, uint32_t{kMaxFrame + 1}, UINT32_MAX}) {
      Pair pair(keyring, keyring);
      pair.shake_hands();
      CHECK(pair.accepter.feed(length(size)) == Event::kFailed);
      CHECK(pair.accepter.codec.failure() == StreamFailure::kTooLong);
    }
    Pair pair(keyring, keyring);
    pair.shake_hands();
    CHECK(pair.accepter.feed(length(kMaxFrame)) == Event::kNone);
    CHECK(pair.accepter.codec.mid_frame());
  }
}

}  // namespace
}  // namespace starling::agent
