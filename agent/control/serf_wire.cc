// SPDX-License-Identifier: Apache-2.0
#include "agent/control/serf_wire.h"

#include <algorithm>

namespace starling::agent {

using control::Reply;
using control::Request;
using msgpack::Value;
using msgpack::Writer;

namespace {

// An agent's replies are trusted further than a client's requests, but not without end.
constexpr msgpack::Limits kLimits = {.bytes = 64U << 20, .values = 4U << 20, .depth = 16};
constexpr std::string_view kNoToken = "Authentication required";
constexpr uint64_t kNanoseconds = 1'000'000;  // of a millisecond
// Serf's default timeouts depend on its profile and its members; the longest is below this.
constexpr uint64_t kLongestDefault_ms = 60'000;

std::string text(const Value& map, std::string_view key) {
  const Value* value = map.find(key);
  const auto* found = value == nullptr ? nullptr : value->get_if<std::string>();
  return found == nullptr ? std::string() : *found;
}

uint64_t number(const Value& map, std::string_view key) {
  const Value* value = map.find(key);
  const auto* found = value == nullptr ? nullptr : value->get_if<uint64_t>();
  return found == nullptr ? 0 : *found;
}

bool boolean(const Value& map, std::string_view key) {
  const Value* value = map.find(key);
  const auto* found = value == nullptr ? nullptr : value->get_if<bool>();
  return found != nullptr && *found;
}

template <typename Pairs>
void read_pairs(const Value* value, Pairs& into) {
  const auto* map = value == nullptr ? nullptr : value->get_if<Value::Map>();
  if (map == nullptr) return;
  for (const msgpack::Pair& each : *map) {
    const auto* key = each.key.get_if<std::string>();
    const auto* said = each.value.get_if<std::string>();
    if (key == nullptr || said == nullptr) continue;
    control::KeyValue& pair = *into.Add();
    pair.set_key(*key);
    pair.set_value(*said);
  }
  std::sort(into.begin(), into.end(),
            [](const auto& a, const auto& b) { return a.key() < b.key(); });
}

template <typename Members>
void read_members(const Value& body, Members& into) {
  const Value* value = body.find("Members");
  const auto* list = value == nullptr ? nullptr : value->get_if<Value::Array>();
  if (list == nullptr) return;
  for (const Value& each : *list) {
    control::Member& member = *into.Add();
    member.set_name(text(each, "Name"));
    member.set_address(text(each, "Addr"));
    member.set_port(static_cast<uint32_t>(number(each, "Port")));
    member.set_status(text(each, "Status"));
    read_pairs(each.find("Tags"), *member.mutable_tags());
    member.set_protocol_min(static_cast<uint32_t>(number(each, "DelegateMin")));
    member.set_protocol_max(static_cast<uint32_t>(number(each, "DelegateMax")));
    member.set_round_trip_us(-1);
  }
  std::sort(into.begin(), into.end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
}

void read_info(const Value& body, control::InfoReply& info) {
  const auto* sections = body.get_if<Value::Map>();
  if (sections == nullptr) return;
  for (const msgpack::Pair& each : *sections) {
    const auto* name = each.key.get_if<std::string>();
    if (name == nullptr) continue;
    control::InfoSection& section = *info.add_sections();
    section.set_name(*name);
    read_pairs(&each.value, *section.mutable_values());
  }
}

void read_record(const Value& body, control::MonitorRecord& record) {
  record.set_log(text(body, "Log"));
  record.set_event(text(body, "Event"));
  record.set_name(text(body, "Name"));
  record.set_ltime(number(body, "LTime"));
  record.set_payload(text(body, "Payload"));
  record.set_coalesce(boolean(body, "Coalesce"));
  read_members(body, *record.mutable_members());
}

void read_keys(const Value& body, control::KeysReply& keys) {
  keys.set_members(static_cast<uint32_t>(number(body, "NumNodes")));
  keys.set_answered(static_cast<uint32_t>(number(body, "NumResp")));
  keys.set_failed(static_cast<uint32_t>(number(body, "NumErr")));
  read_pairs(body.find("Messages"), *keys.mutable_messages());
  const Value* value = body.find("Keys");
  const auto* map = value == nullptr ? nullptr : value->get_if<Value::Map>();
  if (map == nullptr) return;
  for (const msgpack::Pair& each : *map) {
    const auto* key = each.key.get_if<std::string>();
    const auto* holders = each.value.get_if<uint64_t>();
    if (key == nullptr || holders == nullptr) continue;
    control::KeyHolders& told = *keys.add_keys();
    told.set_key(*key);
    told.set_members(static_cast<uint32_t>(*holders));
  }
}

double real(const Value& map, std::string_view key) {
  const Value* value = map.find(key);
  const auto* found = value == nullptr ? nullptr : value->get_if<double>();
  return found == nullptr ? 0 : *found;
}

void read_coordinate(const Value& body, control::CoordinateReply& coordinate) {
  coordinate.set_known(boolean(body, "Ok"));
  const Value* coord = body.find("Coord");
  if (coord == nullptr) return;
  coordinate.set_error(real(*coord, "Error"));
  coordinate.set_adjustment(real(*coord, "Adjustment"));
  coordinate.set_height(real(*coord, "Height"));
  const Value* vector = coord->find("Vec");
  const auto* list = vector == nullptr ? nullptr : vector->get_if<Value::Array>();
  if (list == nullptr) return;
  for (const Value& each : *list) {
    if (const auto* part = each.get_if<double>()) coordinate.add_vector(*part);
  }
}

/// True when it was the last one.
bool read_answer(const Value& body, Reply& reply) {
  const std::string type = text(body, "Type");
  if (type == "done") {
    reply.mutable_query_done();
    return true;
  }
  control::QueryAnswer& answer = *reply.mutable_query_answer();
  answer.set_kind(type == "ack" ? control::QueryAnswer::ACK : control::QueryAnswer::RESPONSE);
  answer.set_from(text(body, "From"));
  answer.set_payload(text(body, "Payload"));
  return false;
}

template <typename Pairs>
void write_pairs(Writer& out, const Pairs& pairs) {
  out.map(static_cast<size_t>(pairs.size()));
  for (const control::KeyValue& each : pairs) out.text(each.key()).text(each.value());
}

template <typename Texts>
void write_texts(Writer& out, const Texts& texts) {
  out.array(static_cast<size_t>(texts.size()));
  for (const std::string& each : texts) out.text(each);
}

tl::unexpected<Error> no_words(const std::string& what) {
  return fail(ErrorKind::kInvalid,
              "Serf's RPC has no words for " + what +
                  ": ask the agent over its unix socket, with -control PATH and without -rpc-addr");
}

/// Requests that only our own agents know.
std::string what_it_is(const Request& request) {
  switch (request.body_case()) {
    case Request::kEvents:
      return "the events that an agent holds";
    case Request::kJob:
      return "jobs";
    case Request::kReachability:
      return "who reaches whom";
    case Request::kReload:
      return "a reload";
    default:
      return "this command";
  }
}

}  // namespace

SerfWire::SerfWire(std::string token) : token_(std::move(token)), decoder_(kLimits) {}

// --- out ---------------------------------------------------------------------------------------

Writer& SerfWire::command(Writer& out, std::string_view name, const Sent& sent) {
  sent_[++last_seq_] = sent;
  return out.map(2).text("Command").text(name).text("Seq").number(last_seq_);
}

std::string SerfWire::greeting() {
  Writer out;
  const Sent greeting{.id = kGreetingId, .kind = Kind::kGreeting};
  greetings_ = token_.empty() ? 1 : 2;
  command(out, "handshake", greeting).map(1).text("Version").number(1);
  if (!token_.empty()) command(out, "auth", greeting).map(1).text("AuthKey").text(token_);
  return out.take();
}

Result<void> SerfWire::encode_event(Writer& out, const Request& request) {
  const control::EventRequest& event = request.event();
  if (event.confirm()) return no_words("the confirmation of an event (-confirm)");
  command(out, "event", {.id = request.id()}).map(3).text("Name").text(event.name());
  out.text("Payload").bytes(event.payload());
  out.text("Coalesce").boolean(event.coalesce());
  return {};
}

Result<void> SerfWire::encode_query(Writer& out, const Request& request) {
  const control::QueryRequest& query = request.query();
  if (!query.status().empty() && query.status() != "alive") {
    return no_words("asking members by their status (-status)");
  }
  if (query.limit() > 0) return no_words("a limit of responses (-limit)");
  const uint64_t timeout_ms = query.timeout_ms();
  command(out, "query",
          {.id = request.id(),
           .kind = Kind::kQuery,
           .timeout_ms = timeout_ms == 0 ? kLongestDefault_ms : timeout_ms});
  out.map(7).text("FilterNodes");
  write_texts(out, query.nodes());
  out.text("FilterTags");
  write_pairs(out, query.tags());
  out.text("RequestAck").boolean(query.request_ack()).text("RelayFactor");
  out.number(query.relay_factor()).text("Timeout").number(timeout_ms * kNanoseconds);
  out.text("Name").text(query.name()).text("Payload").bytes(query.payload());
  return {};
}

void SerfWire::encode_keys(Writer& out, const Request& request) {
  const Sent sent{.id = request.id(), .kind = Kind::kKeys};
  const auto with_key = [&](std::string_view name) {
    command(out, name, sent).map(1).text("Key").text(request.keys().key());
  };
  switch (request.keys().operation()) {
    case control::KeysRequest::INSTALL:
      return with_key("install-key");
    case control::KeysRequest::USE:
      return with_key("use-key");
    case control::KeysRequest::REMOVE:
      return with_key("remove-key");
    default:
      command(out, "list-keys", sent);
  }
}

/// Log lines and events are two commands.
void SerfWire::encode_monitor(Writer& out, const Request& request) {
  const control::MonitorRequest& monitor = request.monitor();
  const Sent sent{.id = request.id(), .kind = Kind::kMonitor};
  if (!monitor.log_level().empty()) {
    command(out, "monitor", sent).map(1).text("LogLevel").text(monitor.log_level());
  }
  if (!monitor.event_filter().empty()) {
    command(out, "stream", sent).map(1).text("Type").text(monitor.event_filter());
  }
}

Result<std::string> SerfWire::encode(const Request& request) {
  Writer out;
  const uint64_t id = request.id();
  switch (request.body_case()) {
    case Request::kJoin:
      command(out, "join", {.id = id, .kind = Kind::kJoin}).map(2).text("Existing");
      write_texts(out, request.join().addresses());
      out.text("Replay").boolean(request.join().replay());
      break;
    case Request::kLeave:
      command(out, "leave", {.id = id});
      break;
    case Request::kForceLeave:
      command(out, "force-leave", {.id = id})
          .map(2)
          .text("Node")
          .text(request.force_leave().node());
      out.text("Prune").boolean(request.force_leave().prune());
      break;
    case Request::kMembers:
      if (request.members().degraded()) return no_words("degraded members");
      command(out, "members-filtered", {.id = id, .kind = Kind::kMembers}).map(3);
      out.text("Name").text(request.members().name());
      out.text("Status").text(request.members().status()).text("Tags");
      write_pairs(out, request.members().tags());
      break;
    case Request::kEvent:
      if (auto event = encode_event(out, request); !event) return tl::unexpected(event.error());
      break;
    case Request::kQuery:
      if (auto query = encode_query(out, request); !query) return tl::unexpected(query.error());
      break;
    case Request::kTags:
      command(out, "tags", {.id = id}).map(2).text("Tags");
      write_pairs(out, request.tags().set());
      out.text("DeleteTags");
      write_texts(out, request.tags().remove());
      break;
    case Request::kInfo:
      command(out, "stats", {.id = id, .kind = Kind::kInfo});
      break;
    case Request::kMonitor:
      encode_monitor(out, request);
      break;
    case Request::kKeys:
      encode_keys(out, request);
      break;
    case Request::kCoordinate:
      command(out, "get-coordinate", {.id = id, .kind = Kind::kCoordinate}).map(1).text("Node");
      out.text(request.coordinate().node());
      break;
    default:
      return no_words(what_it_is(request));
  }
  return out.take();
}

// --- in ----------------------------------------------------------------------------------------

Result<void> SerfWire::receive(std::string_view bytes, const OnReply& on_reply) {
  decoder_.add(bytes);
  while (true) {
    const auto value = decoder_.next();
    if (!value) return tl::unexpected(value.error());
    if (!*value || !take(**value, on_reply)) return {};
  }
}

bool SerfWire::take(const Value& value, const OnReply& on_reply) {
  if (awaited_) {
    const Sent sent = *std::exchange(awaited_, std::nullopt);
    return take_body(value, sent, on_reply);
  }
  // What has no Seq is the body behind an error, which says nothing.
  const Value* seq = value.find("Seq");
  const auto* known = seq == nullptr ? nullptr : seq->get_if<uint64_t>();
  return known == nullptr || take_header(value, *known, on_reply);
}

bool SerfWire::take_header(const Value& header, uint64_t seq, const OnReply& on_reply) {
  const auto found = sent_.find(seq);
  if (found == sent_.end()) return true;
  Sent& sent = found->second;
  Reply reply;
  reply.set_id(sent.id);
  reply.set_error(text(header, "Error"));
  const bool failed = !reply.error().empty();
  const bool stream = sent.kind == Kind::kQuery || sent.kind == Kind::kMonitor;
  if (stream && !failed && !sent.started) {
    sent.started = true;
    if (sent.kind == Kind::kQuery) {
      reply.mutable_query_started()->set_timeout_ms(sent.timeout_ms);
    } else {
      reply.mutable_monitor_started();
    }
    return on_reply(reply);
  }
  // The body behind an error tells nothing, but for keys: there it says whose error.
  const bool told = !failed || (sent.kind == Kind::kKeys && reply.error() != kNoToken);
  if (told && sent.kind != Kind::kPlain && sent.kind != Kind::kGreeting) {
    awaited_ = sent;
    awaited_->error = reply.error();
    if (!stream) sent_.erase(found);
    return true;
  }
  const bool more_greetings = sent.kind == Kind::kGreeting && !failed && --greetings_ > 0;
  sent_.erase(found);
  reply.set_done(true);
  return more_greetings || on_reply(reply);
}

bool SerfWire::take_body(const Value& body, const Sent& sent, const OnReply& on_reply) {
  Reply reply;
  reply.set_id(sent.id);
  reply.set_error(sent.error);
  bool done = true;
  switch (sent.kind) {
    case Kind::kJoin:
      reply.mutable_join()->set_contacted(static_cast<uint32_t>(number(body, "Num")));
      break;
    case Kind::kMembers:
      read_members(body, *reply.mutable_members()->mutable_members());
      break;
    case Kind::kInfo:
      read_info(body, *reply.mutable_info());
      break;
    case Kind::kMonitor:
      read_record(body, *reply.mutable_monitor());
      done = false;
      break;
    case Kind::kQuery:
      done = read_answer(body, reply);
      break;
    case Kind::kKeys:
      read_keys(body, *reply.mutable_keys());
      break;
    case Kind::kCoordinate:
      read_coordinate(body, *reply.mutable_coordinate());
      break;
    case Kind::kGreeting:
    case Kind::kPlain:
      break;
  }
  reply.set_done(done);
  return on_reply(reply);
}

}  // namespace starling::agent
