// SPDX-License-Identifier: Apache-2.0
//
// The core behind its door. The input is a list of steps: a byte that says what, and for some a
// length (2 bytes) and as many bytes. Some steps take their bytes as a seed and make a message of
// the right shape, so that the parts behind the parser are reached.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "membership/limits.h"
#include "membership/node.h"
#include "test/fuzz/message_maker.h"
#include "test/stand_in_keys.h"

namespace {

using starling::fuzz::MessageMaker;
using starling::membership::Address;
using starling::membership::Node;
using starling::membership::Random;
using starling::membership::TimePoint;

class Steps {
 public:
  Steps(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  bool done() const { return rest_.empty(); }
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  std::string_view bytes() {
    const size_t high = byte();
    const size_t size = std::min<size_t>(high << 8 | byte(), rest_.size());
    const std::string_view result = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return result;
  }
  MessageMaker maker() {
    uint64_t seed = 0;
    for (int i = 0; i < 4; ++i) seed = seed << 8 | byte();
    return {Random(seed), MessageMaker::Claims::kPlausible};
  }

 private:
  std::string_view rest_;
};

void carry_out(Node& node, TimePoint now, uint8_t choice) {
  using namespace starling::membership;  // NOLINT(google-build-using-namespace): a fuzzer's helper
  for (const Action& action : node.take_actions()) {
    if (const auto* datagram = std::get_if<SendDatagram>(&action)) {
      if (datagram->bytes.size() > kMaxPacket) std::abort();
      if (choice == 1) node.datagram_refused(now, datagram->to);
    } else if (const auto* open = std::get_if<OpenStream>(&action)) {
      if (choice == 2) {
        node.stream_opened(now, open->stream);
      } else {
        node.stream_closed(now, open->stream, StreamEnd::kRefused);
      }
    }
  }
}

Node make_node() {
  starling::fuzz::silence_protobuf();
  starling::membership::Identity identity;
  identity.id.bytes.fill(1);
  identity.keys = std::make_shared<starling::test::StandInKeys>(identity.id);
  identity.name = "target";
  identity.address = *Address::parse("127.0.0.1:7946");
  return Node(starling::membership::Options::lan(), identity, Random(7), TimePoint{});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Steps steps(data, size);
  Node node = make_node();
  TimePoint now{};
  const Address from = *Address::parse("127.0.0.2:7946");
  starling::membership::StreamId stream = starling::membership::kFirstAcceptedStream;
  node.stream_accepted(now, stream, from);
  while (!steps.done()) {
    const uint8_t what = steps.byte();
    switch (what % 8) {
      case 0:
        node.receive_datagram(now, from, steps.bytes());
        break;
      case 1:
        node.receive_datagram(now, from, steps.maker().packet());
        break;
      case 2: {
        MessageMaker maker = steps.maker();
        std::string packet = maker.packet();
        maker.damage(packet);
        node.receive_datagram(now, from, packet);
        break;
      }
      case 3:
        node.receive_stream(now, stream, steps.bytes());
        break;
      case 4:
        node.receive_stream(now, stream, steps.maker().stream_message());
        break;
      case 5:
        node.stream_closed(now, stream, starling::membership::StreamEnd::kClosed);
        node.stream_accepted(now, ++stream, from);
        break;
      default:
        now += std::chrono::milliseconds(1 + (what >> 3) * 16);
        node.advance(now);
    }
    carry_out(node, now, what >> 6);
  }
  if (node.self().name != "target") std::abort();
  return 0;
}
