// SPDX-License-Identifier: Apache-2.0
#include "agent/net/seal.h"

#include <set>
#include <string>

#include "test/catch.h"

namespace starling::agent {
namespace {

using membership::NodeId;

const std::string kKeyA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const std::string kKeyB = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

NodeId node(uint8_t number) {
  NodeId id;
  id.bytes.fill(number);
  return id;
}

Keyring ring(const std::vector<std::string>& keys) {
  return *Keyring::from_base64(keys);
}

OpenFailure failure(PacketSealer& receiver, std::string_view sealed) {
  const auto plain = receiver.open(sealed);
  REQUIRE_FALSE(plain.has_value());
  return plain.error();
}

TEST_CASE("what is sealed opens and grows by the stated overhead") {
  PacketSealer sender(ring({kKeyA}), node(1), 7);
  PacketSealer receiver(ring({kKeyA}), node(2), 7);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, membership::kMaxPacket}) {
    const std::string plain(size, 'x');
    const std::string sealed = sender.seal(plain);
    CHECK(sealed.size() == size + kSealOverhead);
    const auto opened = receiver.open(sealed);
    REQUIRE(opened.has_value());
    CHECK(*opened == plain);
  }
  CHECK(failure(receiver, sender.seal(std::string(membership::kMaxPacket + 1, 'x'))) ==
        OpenFailure::kTooLong);
}

TEST_CASE("every flipped bit and every cut is refused") {
  PacketSealer sender(ring({kKeyA}), node(1), 7);
  PacketSealer receiver(ring({kKeyA}), node(2), 7);
  const std::string sealed = sender.seal("some plain text");
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    std::string flipped = sealed;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    CAPTURE(bit);
    const OpenFailure why = failure(receiver, flipped);
    const OpenFailure expected = bit < 8    ? OpenFailure::kVersion
                                 : bit < 16 ? OpenFailure::kUnknownKey
                                            : OpenFailure::kForged;
    CHECK(why == expected);
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    const OpenFailure why = failure(receiver, std::string_view(sealed).substr(0, size));
    CHECK(why == (size < kSealOverhead ? OpenFailure::kTooShort : OpenFailure::kForged));
  }
  CHECK(receiver.open(sealed).has_value());  // none of these spoiled the real one
}

TEST_CASE("a packet is opened once") {
  PacketSealer sender(ring({kKeyA}), node(1), 7);
  PacketSealer receiver(ring({kKeyA}), node(2), 7);
  const std::string first = sender.seal("a");
  const std::string second = sender.seal("b");
  CHECK(receiver.open(second).has_value());
  CHECK(receiver.open(first).has_value());  // reordered
  CHECK(failure(receiver, first) == OpenFailure::kReplayed);
  CHECK(failure(receiver, second) == OpenFailure::kReplayed);
}

TEST_CASE("packets further behind than the window are refused") {
  PacketSealer sender(ring({kKeyA}), node(1), 7);
  PacketSealer receiver(ring({kKeyA}), node(2), 7);
  std::vector<std::string> packets;
  for (size_t i = 0; i <= ReplayWindows::kWidth; ++i) packets.push_back(sender.seal("x"));
  CHECK(receiver.open(packets.back()).has_value());
  CHECK(failure(receiver, packets[0]) == OpenFailure::kReplayed);
  CHECK(receiver.open(packets[1]).has_value());
}

TEST_CASE("a restarted sender is heard and its former packets are not") {
  PacketSealer before(ring({kKeyA}), node(1), 7);
  PacketSealer after(ring({kKeyA}), node(1), 8);
  PacketSealer receiver(ring({kKeyA}), node(2), 1);
  CHECK(receiver.open(before.seal("a")).has_value());
  const std::string late = before.seal("late");
  CHECK(receiver.open(after.seal("b")).has_value());
  CHECK(failure(receiver, late) == OpenFailure::kOldBoot);
  CHECK(receiver.open(after.seal("c")).has_value());
}

TEST_CASE("of two processes with one identity and epoch the first keeps its place") {
  PacketSealer first(ring({kKeyA}), node(1), 7);
  PacketSealer copy(ring({kKeyA}), node(1), 7);
  PacketSealer receiver(ring({kKeyA}), node(2), 7);
  CHECK(receiver.open(first.seal("a")).has_value());
  CHECK(failure(receiver, copy.seal("b")) == OpenFailure::kTwin);
  CHECK(receiver.open(first.seal("c")).has_value());
}

TEST_CASE("a node does not hear itself") {
  PacketSealer self(ring({kKeyA}), node(1), 7);
  CHECK(failure(self, self.seal("a")) == OpenFailure::kOwn);
}

TEST_CASE("keys rotate without a gap") {
  PacketSealer old_only(ring({kKeyA}), node(1), 1);
  PacketSealer old_first(ring({kKeyA, kKeyB}), node(2), 1);
  PacketSealer new_first(ring({kKeyB, kKeyA}), node(3), 1);
  PacketSealer new_only(ring({kKeyB}), node(4), 1);
  CHECK(old_only.open(old_first.seal("x")).has_value());
  CHECK(old_first.open(old_only.seal("x")).has_value());
  CHECK(old_first.open(new_first.seal("x")).has_value());
  CHECK(new_first.open(old_first.seal("x")).has_value());
  CHECK(new_first.open(old_only.seal("x")).has_value());
  CHECK(new_only.open(new_first.seal("x")).has_value());
  CHECK(failure(new_only, old_first.seal("x")) == OpenFailure::kUnknownKey);
  CHECK(failure(old_only, new_first.seal("x")) == OpenFailure::kUnknownKey);
}

TEST_CASE("members with a key and members without refuse each other") {
  PacketSealer with_key(ring({kKeyA}), node(1), 1);
  PacketSealer without(Keyring::insecure(), node(2), 1);
  PacketSealer also_without(Keyring::insecure(), node(3), 1);
  CHECK(failure(with_key, without.seal("x")) == OpenFailure::kUnknownKey);
  CHECK(failure(without, with_key.seal("x")) == OpenFailure::kUnknownKey);
  CHECK(also_without.open(without.seal("x")).has_value());
}

TEST_CASE("no nonce is used twice") {
  PacketSealer sender(ring({kKeyA}), node(1), 7);
  PacketSealer restarted(ring({kKeyA}), node(1), 7);  // even if the epoch should not have risen
  std::set<std::string> nonces;
  for (int i = 0; i < 1000; ++i) {
    for (PacketSealer* sealer : {&sender, &restarted}) {
      nonces.insert(sealer->seal("x").substr(2, kPacketNonceSize));
    }
  }
  CHECK(nonces.size() == 2000);
}

TEST_CASE("the replay window keeps exact account of 256 counters") {
  ReplayWindows windows(4);
  CHECK(windows.accept(1, 1, 1, 1000).has_value());
  for (uint64_t counter = 999; counter > 744; --counter) {
    CHECK(windows.accept(1, 1, 1, counter).has_value());
    CHECK_FALSE(windows.accept(1, 1, 1, counter).has_value());
  }
  CHECK_FALSE(windows.accept(1, 1, 1, 744).has_value());
  // Moving on by a few forgets what fell out and nothing else.
  CHECK(windows.accept(1, 1, 1, 1003).has_value());
  CHECK(windows.accept(1, 1, 1, 1001).has_value());
  CHECK(windows.accept(1, 1, 1, 1002).has_value());
  for (uint64_t counter = 700; counter <= 1003; ++counter) {
    CHECK_FALSE(windows.accept(1, 1, 1, counter).has_value());
  }
  // A jump forgets all: nothing of before is accepted.
  CHECK(windows.accept(1, 1, 1, uint64_t{1} << 60).has_value());
  CHECK_FALSE(windows.accept(1, 1, 1, 1004).has_value());
  CHECK(windows.accept(1, 1, 1, (uint64_t{1} << 60) - 255).has_value());
  CHECK(windows.accept(1, 1, 1, UINT64_MAX).has_value());
  CHECK_FALSE(windows.accept(1, 1, 1, UINT64_MAX).has_value());
}

TEST_CASE("the sender heard least recently is forgotten first") {
  ReplayWindows windows(3);
  for (uint64_t sender = 1; sender <= 3; ++sender) {
    CHECK(windows.accept(sender, 1, 1, 1).has_value());
  }
  CHECK_FALSE(windows.accept(1, 1, 1, 1).has_value());  // also makes 1 the newest
  CHECK(windows.accept(4, 1, 1, 1).has_value());        // pushes 2 out
  CHECK(windows.senders() == 3);
  CHECK_FALSE(windows.accept(1, 1, 1, 1).has_value());
  CHECK_FALSE(windows.accept(3, 1, 1, 1).has_value());
  CHECK_FALSE(windows.accept(4, 1, 1, 1).has_value());
  CHECK(windows.accept(2, 1, 1, 1).has_value());
  CHECK(windows.senders() == 3);
}

}  // namespace
}  // namespace starling::agent
