// SPDX-License-Identifier: Apache-2.0
//
// Opening datagrams. The input is opened as it is, and sealed: as the plain bytes of a member.
#include <cstdlib>

#include "agent/net/seal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using starling::agent::Keyring;
  using starling::agent::PacketSealer;
  static const Keyring keyring = Keyring::insecure();
  static PacketSealer sender(keyring, {{1}}, 1);
  static PacketSealer receiver(keyring, {{2}}, 1, 16);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (receiver.open(input)) std::abort();  // it would be a forgery
  if (size > starling::membership::kMaxPacket) return 0;
  const std::string sealed = sender.seal(input);
  const auto plain = receiver.open(sealed);
  if (!plain || *plain != input) std::abort();
  if (receiver.open(sealed)) std::abort();
  return 0;
}
