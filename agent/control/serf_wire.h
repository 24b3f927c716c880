// SPDX-License-Identifier: Apache-2.0
//
// Serf's RPC as a client speaks it: control requests become Serf's commands, and its responses and
// records become replies. Works with agents of Serf and of Starling. Pure, no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "agent/control/client_wire.h"
#include "agent/control/msgpack.h"

namespace starling::agent {

class SerfWire final : public ClientWire {
 public:
  /// `token`: for agents with rpc_auth; empty: none is shown.
  explicit SerfWire(std::string token);

  std::string greeting() override;
  Result<std::string> encode(const control::Request& request) override;
  Result<void> receive(std::string_view bytes, const OnReply& on_reply) override;

 private:
  enum class Kind {
    kGreeting,
    kPlain,
    kJoin,
    kMembers,
    kInfo,
    kQuery,
    kMonitor,
    kKeys,
    kCoordinate
  };
  /// A command that was sent.
  struct Sent {
    uint64_t id = 0;  ///< of the request
    Kind kind = Kind::kPlain;
    uint64_t timeout_ms = 0;  ///< of a query
    bool started = false;     ///< a query or monitor has been confirmed
    std::string error = {};   ///< whose body is awaited
  };

  msgpack::Writer& command(msgpack::Writer& out, std::string_view name, const Sent& sent);
  Result<void> encode_event(msgpack::Writer& out, const control::Request& request);
  Result<void> encode_query(msgpack::Writer& out, const control::Request& request);
  void encode_keys(msgpack::Writer& out, const control::Request& request);
  void encode_monitor(msgpack::Writer& out, const control::Request& request);

  /// False: stop.
  bool take(const msgpack::Value& value, const OnReply& on_reply);
  bool take_header(const msgpack::Value& header, uint64_t seq, const OnReply& on_reply);
  bool take_body(const msgpack::Value& body, const Sent& sent, const OnReply& on_reply);

  std::string token_;
  msgpack::Decoder decoder_;
  uint64_t last_seq_ = 0;
  std::map<uint64_t, Sent> sent_;  // by Seq
  std::optional<Sent> awaited_;    // whose body comes next
  unsigned greetings_ = 0;         // that have not been answered
};

}  // namespace starling::agent
