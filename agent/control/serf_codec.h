// SPDX-License-Identifier: Apache-2.0
//
// Serf's RPC messages and the control service's, one from the other. Pure, no I/O. docs/serf.md has
// the protocol; names and texts of errors are Serf's where Serf has them.
//
// Serf's wire: a request is a header map {Command, Seq} and, for most commands, a body map. A
// response or record is a header map {Error, Seq} and perhaps a body map.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/control/msgpack.h"
#include "proto/control.pb.h"
#include "proto/support/result.h"

namespace starling::agent::serf {

enum class Command {
  kHandshake,
  kAuth,
  kEvent,
  kForceLeave,
  kJoin,
  kMembers,
  kMembersFiltered,
  kTags,
  kStream,
  kMonitor,
  kStop,
  kLeave,
  kQuery,
  kRespond,
  kInstallKey,
  kUseKey,
  kRemoveKey,
  kListKeys,
  kStats,
  kGetCoordinate,
};

/// None: Serf has no such command.
std::optional<Command> parse_command(std::string_view name);
std::string_view command_name(Command command);
/// Whether a body follows the header of the request.
bool request_has_body(Command command);
/// Whether many responses follow, until the client or a deadline ends them.
bool is_stream(Command command);

struct Header {
  std::string command;
  uint64_t seq = 0;
};

/// kInvalid: not a map, no Command, or Seq is no number.
Result<Header> read_header(const msgpack::Value& value);

/// The bodies that the door itself understands: handshake's Version, auth's AuthKey, stop's Stop.
Result<int64_t> read_version(const msgpack::Value& body);
Result<std::string> read_auth_key(const msgpack::Value& body);
Result<uint64_t> read_stop(const msgpack::Value& body);

/// Any other command, without an id. kInvalid: a field of the body has a type that it cannot have;
/// the message names it. Missing fields and nil are Go's zero values, unknown fields are ignored.
Result<control::Request> to_request(Command command, const msgpack::Value& body);

/// {Error, Seq}.
std::string encode_header(uint64_t seq, std::string_view error);

/// The response to a command that is not a stream: header, and the body where it has one, which is
/// there even after an error.
std::string encode_response(Command command, uint64_t seq, const control::Reply& reply);

/// One reply to a stream: the header that says that it has begun or not, or a record. Empty when
/// Serf has nothing for it.
std::string encode_stream_reply(uint64_t seq, const control::Reply& reply);

}  // namespace starling::agent::serf
