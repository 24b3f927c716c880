// SPDX-License-Identifier: Apache-2.0
//
// How a client's requests and an agent's replies look on a connection: our own frames, or Serf's
// RPC. Pure, no I/O; one wire belongs to one connection.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "proto/control.pb.h"
#include "proto/support/result.h"

namespace starling::agent {

class ClientWire {
 public:
  /// Takes one reply; false stops the decoding behind it.
  using OnReply = std::function<bool(const control::Reply& reply)>;

  virtual ~ClientWire() = default;

  /// What a client says first; one reply with kGreetingId answers it. Empty: nothing.
  virtual std::string greeting() { return {}; }
  static constexpr uint64_t kGreetingId = UINT64_MAX;

  /// The bytes of a request, which has an id of its own. kInvalid: this wire has no words for it;
  /// kTooLarge.
  [[nodiscard]] virtual Result<std::string> encode(const control::Request& request) = 0;

  /// Passes on every reply that `bytes` completes. An error means that the stream has no meaning
  /// any more.
  [[nodiscard]] virtual Result<void> receive(std::string_view bytes, const OnReply& on_reply) = 0;
};

}  // namespace starling::agent
