// SPDX-License-Identifier: Apache-2.0
//
// The stream protocol. The first byte says what the other bytes are: what a stranger sends, what
// follows a good handshake, or messages; and in what portions they arrive.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "agent/net/stream_codec.h"

namespace {

using starling::agent::Keyring;
using starling::agent::StreamCodec;

size_t messages = 0;
size_t message_bytes = 0;

void feed(StreamCodec& codec, std::string_view bytes, size_t portion, std::string& out) {
  while (!bytes.empty()) {
    const size_t size = std::min(portion, bytes.size());
    codec.receive(bytes.substr(0, size));
    bytes.remove_prefix(size);
    for (auto event = codec.next();; event = codec.next()) {
      if (codec.failure() == starling::agent::StreamFailure::kNone) codec.take_handshake(out);
      if (event == StreamCodec::Event::kMessage) {
        ++messages;
        message_bytes += codec.message().size();
      }
      if (event == StreamCodec::Event::kNone) break;
      if (event == StreamCodec::Event::kFailed) return;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Keyring keyring = Keyring::insecure();
  if (size == 0) return 0;
  const size_t mode = data[0] & 3;
  const size_t portion = data[0] < 128 ? 65536 : 1 + (data[0] & 31);
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  messages = message_bytes = 0;
  StreamCodec victim(keyring, StreamCodec::Role::kAccepter);
  std::string from_victim;
  victim.take_handshake(from_victim);
  if (mode == 0) {
    feed(victim, input, portion, from_victim);
    if (victim.established()) std::abort();  // nobody guesses a key
    return 0;
  }
  StreamCodec member(keyring, StreamCodec::Role::kOpener);
  std::string from_member;
  member.take_handshake(from_member);
  feed(member, from_victim, portion, from_member);
  if (mode == 1) {
    from_member += input;
    feed(victim, from_member, portion, from_victim);
    if (!victim.established() || messages != 0) std::abort();
    return 0;
  }
  const size_t half = input.size() / 2;
  member.seal(input.substr(0, half), from_member);
  member.seal(input.substr(half), from_member);
  feed(victim, from_member, portion, from_victim);
  if (messages != 2 || message_bytes != input.size()) std::abort();
  return 0;
}
