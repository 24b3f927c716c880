// SPDX-License-Identifier: Apache-2.0
//
// What is read: headers and bodies of requests. What is written: serf_codec_write.cc.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "agent/control/serf_codec.h"

namespace starling::agent::serf {

using msgpack::Value;

namespace {

struct CommandRow {
  Command command;
  std::string_view name;
  bool has_body;
};

constexpr double kLargestExact = 9007199254740992.0;  // 2^53

constexpr std::array kCommands = {
    CommandRow{Command::kHandshake, "handshake", true},
    CommandRow{Command::kAuth, "auth", true},
    CommandRow{Command::kEvent, "event", true},
    CommandRow{Command::kForceLeave, "force-leave", true},
    CommandRow{Command::kJoin, "join", true},
    CommandRow{Command::kMembers, "members", false},
    CommandRow{Command::kMembersFiltered, "members-filtered", true},
    CommandRow{Command::kTags, "tags", true},
    CommandRow{Command::kStream, "stream", true},
    CommandRow{Command::kMonitor, "monitor", true},
    CommandRow{Command::kStop, "stop", true},
    CommandRow{Command::kLeave, "leave", false},
    CommandRow{Command::kQuery, "query", true},
    CommandRow{Command::kRespond, "respond", true},
    CommandRow{Command::kInstallKey, "install-key", true},
    CommandRow{Command::kUseKey, "use-key", true},
    CommandRow{Command::kRemoveKey, "remove-key", true},
    CommandRow{Command::kListKeys, "list-keys", false},
    CommandRow{Command::kStats, "stats", false},
    CommandRow{Command::kGetCoordinate, "get-coordinate", true},
};

constexpr int64_t kNanoseconds = 1'000'000;  // of a millisecond

/// The fields of a body. The first wrong one is kept, and asked for at the end.
class Body {
 public:
  explicit Body(const Value& map) : map_(map) {
    if (map.get_if<Value::Map>() == nullptr && !map.is_nil()) error_ = "the body is not a map";
  }

  std::string text(std::string_view key) {
    const Value* value = present(key);
    return value == nullptr ? std::string() : text_of(*value, key);
  }

  bool boolean(std::string_view key) {
    const Value* value = present(key);
    if (value == nullptr) return false;
    if (const bool* flag = value->get_if<bool>()) return *flag;
    wrong(key, "a boolean");
    return false;
  }

  uint64_t number(std::string_view key, uint64_t most = std::numeric_limits<uint64_t>::max()) {
    const Value* value = present(key);
    if (value == nullptr) return 0;
    const auto* number = value->get_if<uint64_t>();
    if (number != nullptr && *number <= most) return *number;
    // JavaScript has no other numbers, and its clients send those above 32 bits as what they are.
    const auto* real = value->get_if<double>();
    if (real != nullptr && *real >= 0 && *real <= kLargestExact && std::trunc(*real) == *real &&
        static_cast<uint64_t>(*real) <= most) {
      return static_cast<uint64_t>(*real);
    }
    wrong(key, "a number from 0 to " + std::to_string(most));
    return 0;
  }

  /// Takes negative ones as well.
  int64_t signed_number(std::string_view key) {
    const Value* value = present(key);
    if (value != nullptr) {
      if (const auto* negative = value->get_if<int64_t>()) return *negative;
    }
    return static_cast<int64_t>(number(key, std::numeric_limits<int64_t>::max()));
  }

  template <typename Add>
  void texts(std::string_view key, const Add& add) {
    const Value* value = present(key);
    if (value == nullptr) return;
    const auto* array = value->get_if<Value::Array>();
    if (array == nullptr) return wrong(key, "a list of strings");
    for (const Value& each : *array) add(text_of(each, key));
  }

  template <typename Pairs>
  void pairs(std::string_view key, Pairs& into) {
    const Value* value = present(key);
    if (value == nullptr) return;
    const auto* map = value->get_if<Value::Map>();
    if (map == nullptr) return wrong(key, "a map of strings");
    for (const msgpack::Pair& each : *map) {
      control::KeyValue& pair = *into.Add();
      pair.set_key(text_of(each.key, key));
      pair.set_value(text_of(each.value, key));
    }
  }

  [[nodiscard]] Result<void> result() const {
    if (error_.empty()) return {};
    return fail(ErrorKind::kInvalid, error_);
  }

 private:
  const Value* present(std::string_view key) const {
    const Value* value = map_.find(key);
    return value == nullptr || value->is_nil() ? nullptr : value;
  }

  std::string text_of(const Value& value, std::string_view key) {
    if (const auto* text = value.get_if<std::string>()) return *text;
    if (!value.is_nil()) wrong(key, "strings");
    return {};
  }

  void wrong(std::string_view key, const std::string& wanted) {
    if (error_.empty()) error_ = std::string(key) + " wants " + wanted;
  }

  const Value& map_;
  std::string error_;
};

void read_query(Body& body, control::QueryRequest& query) {
  query.set_name(body.text("Name"));
  query.set_payload(body.text("Payload"));
  body.texts("FilterNodes", [&](std::string name) { query.add_nodes(std::move(name)); });
  body.pairs("FilterTags", *query.mutable_tags());
  query.set_request_ack(body.boolean("RequestAck"));
  query.set_relay_factor(static_cast<uint32_t>(body.number("RelayFactor", UINT8_MAX)));
  const uint64_t timeout_ns = body.number("Timeout", std::numeric_limits<int64_t>::max());
  query.set_timeout_ms((timeout_ns + kNanoseconds - 1) / kNanoseconds);
}

void read_filter(Body& body, control::MembersRequest& members) {
  members.set_name(body.text("Name"));
  members.set_status(body.text("Status"));
  body.pairs("Tags", *members.mutable_tags());
}

void read_tags(Body& body, control::TagsRequest& tags) {
  body.pairs("Tags", *tags.mutable_set());
  body.texts("DeleteTags", [&](std::string name) { tags.add_remove(std::move(name)); });
}

void read_join(Body& body, control::JoinRequest& join) {
  body.texts("Existing", [&](std::string address) { join.add_addresses(std::move(address)); });
  join.set_replay(body.boolean("Replay"));
}

void read_event(Body& body, control::EventRequest& event) {
  event.set_name(body.text("Name"));
  event.set_payload(body.text("Payload"));
  event.set_coalesce(body.boolean("Coalesce"));
}

void read_stream(Body& body, control::MonitorRequest& stream) {
  stream.set_event_filter(body.text("Type"));
  if (stream.event_filter().empty()) stream.set_event_filter("*");
  stream.set_answers_queries(true);
}

void read_key(Body& body, control::KeysRequest::Operation operation, control::KeysRequest& keys) {
  keys.set_operation(operation);
  keys.set_key(body.text("Key"));
}

void read_body(Command command, Body& body, control::Request& request) {
  switch (command) {
    case Command::kEvent:
      return read_event(body, *request.mutable_event());
    case Command::kForceLeave:
      request.mutable_force_leave()->set_node(body.text("Node"));
      return request.mutable_force_leave()->set_prune(body.boolean("Prune"));
    case Command::kJoin:
      return read_join(body, *request.mutable_join());
    case Command::kMembers:
      request.mutable_members();
      return;
    case Command::kMembersFiltered:
      return read_filter(body, *request.mutable_members());
    case Command::kTags:
      return read_tags(body, *request.mutable_tags());
    case Command::kStream:
      return read_stream(body, *request.mutable_monitor());
    case Command::kMonitor:
      return request.mutable_monitor()->set_log_level(body.text("LogLevel"));
    case Command::kLeave:
      request.mutable_leave();
      return;
    case Command::kQuery:
      return read_query(body, *request.mutable_query());
    case Command::kRespond:
      request.mutable_respond()->set_query(body.number("ID"));
      return request.mutable_respond()->set_payload(body.text("Payload"));
    case Command::kStats:
      request.mutable_info();
      return;
    case Command::kInstallKey:
      return read_key(body, control::KeysRequest::INSTALL, *request.mutable_keys());
    case Command::kUseKey:
      return read_key(body, control::KeysRequest::USE, *request.mutable_keys());
    case Command::kRemoveKey:
      return read_key(body, control::KeysRequest::REMOVE, *request.mutable_keys());
    case Command::kListKeys:
      request.mutable_keys();
      return;
    case Command::kGetCoordinate:
      return request.mutable_coordinate()->set_node(body.text("Node"));
    case Command::kHandshake:
    case Command::kAuth:
    case Command::kStop:
      return;
  }
}

}  // namespace

std::optional<Command> parse_command(std::string_view name) {
  const auto* row = std::ranges::find(kCommands, name, &CommandRow::name);
  if (row == kCommands.end()) return std::nullopt;
  return row->command;
}

std::string_view command_name(Command command) {
  return std::ranges::find(kCommands, command, &CommandRow::command)->name;
}

bool request_has_body(Command command) {
  return std::ranges::find(kCommands, command, &CommandRow::command)->has_body;
}

bool is_stream(Command command) {
  return command == Command::kStream || command == Command::kMonitor || command == Command::kQuery;
}

Result<Header> read_header(const Value& value) {
  if (value.get_if<Value::Map>() == nullptr) {
    return fail(ErrorKind::kInvalid, "a request's header is not a map");
  }
  Body body(value);
  Header header{body.text("Command"), body.number("Seq")};
  if (auto read = body.result(); !read) return tl::unexpected(read.error());
  if (header.command.empty()) return fail(ErrorKind::kInvalid, "a request without a Command");
  return header;
}

Result<int64_t> read_version(const Value& value) {
  Body body(value);
  const int64_t version = body.signed_number("Version");
  if (auto read = body.result(); !read) return tl::unexpected(read.error());
  return version;
}

Result<std::string> read_auth_key(const Value& value) {
  Body body(value);
  std::string key = body.text("AuthKey");
  if (auto read = body.result(); !read) return tl::unexpected(read.error());
  return key;
}

Result<uint64_t> read_stop(const Value& value) {
  Body body(value);
  const uint64_t seq = body.number("Stop");
  if (auto read = body.result(); !read) return tl::unexpected(read.error());
  return seq;
}

Result<control::Request> to_request(Command command, const Value& value) {
  control::Request request;
  Body body(value);
  read_body(command, body, request);
  if (auto read = body.result(); !read) return tl::unexpected(read.error());
  return request;
}

}  // namespace starling::agent::serf
