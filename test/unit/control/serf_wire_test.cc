// SPDX-License-Identifier: Apache-2.0
//
// Our client's words for Serf's RPC, against the door's own codec.
#include "agent/control/serf_wire.h"

#include "agent/control/serf_codec.h"
#include "test/catch.h"

using namespace starling;
using namespace starling::agent;
using control::Reply;
using control::Request;
using msgpack::Value;
using msgpack::Writer;
using serf::Command;

namespace {

/// What the door makes of a request.
struct Heard {
  serf::Header header;
  Request request;
};

std::vector<Heard> door_hears(const std::string& bytes) {
  msgpack::Decoder decoder;
  decoder.add(bytes);
  std::vector<Heard> all;
  while (true) {
    auto value = decoder.next();
    REQUIRE(value);
    if (!*value) return all;
    Heard heard;
    heard.header = *serf::read_header(**value);
    const auto command = serf::parse_command(heard.header.command);
    REQUIRE(command);
    Value body;
    if (serf::request_has_body(*command)) {
      value = decoder.next();
      REQUIRE(value);
      REQUIRE(*value);
      body = std::move(**value);
    }
    auto request = serf::to_request(*command, body);
    REQUIRE(request);
    heard.request = *request;
    all.push_back(std::move(heard));
  }
}

struct Fixture {
  Heard ask(Request request) {
    request.set_id(7);
    const auto bytes = wire.encode(request);
    REQUIRE(bytes);
    auto heard = door_hears(*bytes);
    REQUIRE(heard.size() == 1);
    return heard[0];
  }
  void answer(const std::string& bytes) {
    // In two pieces, as the network may have it.
    const auto keep = [&](const Reply& reply) {
      replies.push_back(reply);
      return true;
    };
    REQUIRE(wire.receive(std::string_view(bytes).substr(0, bytes.size() / 2), keep));
    REQUIRE(wire.receive(std::string_view(bytes).substr(bytes.size() / 2), keep));
  }

  SerfWire wire{""};
  std::vector<Reply> replies;
};

}  // namespace

TEST_CASE("requests survive the way through Serf's protocol") {
  Fixture f;
  Request request;
  request.mutable_join()->add_addresses("a:1");
  request.mutable_join()->set_replay(true);
  CHECK(f.ask(request).request.join().SerializeAsString() == request.join().SerializeAsString());
  request.mutable_event()->set_name("deploy");
  request.mutable_event()->set_payload(std::string("\0v1", 3));
  request.mutable_event()->set_coalesce(true);
  CHECK(f.ask(request).request.event().SerializeAsString() == request.event().SerializeAsString());
  request.mutable_force_leave()->set_node("b");
  request.mutable_force_leave()->set_prune(true);
  CHECK(f.ask(request).request.force_leave().prune());
  control::QueryRequest& query = *request.mutable_query();
  query.set_name("load");
  query.add_nodes("a");
  control::KeyValue& tag = *query.add_tags();
  tag.set_key("role");
  tag.set_value("web");
  query.set_timeout_ms(1500);
  query.set_request_ack(true);
  query.set_relay_factor(2);
  CHECK(f.ask(request).request.query().SerializeAsString() == query.SerializeAsString());
  request.mutable_tags()->add_remove("x");
  CHECK(f.ask(request).request.tags().remove(0) == "x");
  request.mutable_keys()->set_operation(control::KeysRequest::USE);
  request.mutable_keys()->set_key("k");
  CHECK(f.ask(request).request.keys().SerializeAsString() == request.keys().SerializeAsString());
  request.mutable_coordinate()->set_node("a");
  CHECK(f.ask(request).request.coordinate().node() == "a");
  request.mutable_members()->set_degraded(true);
  CHECK_FALSE(f.wire.encode(request));
  request.mutable_reload();
  CHECK(f.wire.encode(request).error().message.find("-control") != std::string::npos);
}

TEST_CASE("what Serf's protocol cannot say is refused and never left out") {
  Fixture f;
  const auto refusal = [&](const Request& request) {
    const auto bytes = f.wire.encode(request);
    REQUIRE_FALSE(bytes);
    CHECK(bytes.error().message.find("-control") != std::string::npos);
    return bytes.error().message;
  };
  Request request;
  request.mutable_event()->set_name("deploy");
  request.mutable_event()->set_timeout_ms(1000);  // of a confirmation that is not asked for
  CHECK(f.wire.encode(request));
  request.mutable_event()->set_confirm(true);
  CHECK(refusal(request).find("-confirm") != std::string::npos);
  request.mutable_query()->set_name("load");
  request.mutable_query()->set_status("alive");
  CHECK(f.wire.encode(request));
  request.mutable_query()->set_status("degraded");
  CHECK(refusal(request).find("-status") != std::string::npos);
  request.mutable_query()->clear_status();
  request.mutable_query()->set_limit(1);
  CHECK(refusal(request).find("-limit") != std::string::npos);
  request.mutable_job()->set_action(control::JobRequest::LIST);
  CHECK(refusal(request).find("jobs") != std::string::npos);
  request.mutable_events();
  CHECK(refusal(request).find("events") != std::string::npos);
  request.mutable_reachability();
  CHECK(refusal(request).find("reaches") != std::string::npos);
}

TEST_CASE("responses become replies") {
  Fixture f;
  Request request;
  request.mutable_members();
  const uint64_t seq = f.ask(request).header.seq;
  Reply told;
  for (const char* name : {"b", "a"}) {
    control::Member& member = *told.mutable_members()->add_members();
    member.set_name(name);
    member.set_address(std::string("\x7f\0\0\1", 4));
    member.set_port(7946);
    member.set_status("alive");
  }
  f.answer(serf::encode_response(Command::kMembersFiltered, seq, told));
  REQUIRE(f.replies.size() == 1);
  CHECK(f.replies[0].id() == 7);
  CHECK(f.replies[0].done());
  REQUIRE(f.replies[0].members().members_size() == 2);
  CHECK(f.replies[0].members().members(0).name() == "a");
  CHECK(f.replies[0].members().members(0).port() == 7946);
  CHECK(f.replies[0].members().members(0).protocol_max() == 5);
}

TEST_CASE("an error comes at once, and the body behind it is passed over") {
  Fixture f;
  Request request;
  request.mutable_join()->add_addresses("a");
  Reply failed;
  failed.set_error("nobody there");
  f.answer(serf::encode_response(Command::kJoin, f.ask(request).header.seq, failed));
  REQUIRE(f.replies.size() == 1);
  CHECK(f.replies[0].error() == "nobody there");
  CHECK(f.replies[0].done());
  f.answer(serf::encode_response(Command::kJoin, f.ask(request).header.seq, {}));
  CHECK(f.replies.size() == 2);
}

TEST_CASE("a failed change of keys names the members") {
  Fixture f;
  Request request;
  request.mutable_keys()->set_operation(control::KeysRequest::REMOVE);
  Reply failed;
  failed.set_error("1/2 nodes reported failure");
  control::KeyValue& said = *failed.mutable_keys()->add_messages();
  said.set_key("b");
  said.set_value("no");
  failed.mutable_keys()->set_members(2);
  const uint64_t seq = f.ask(request).header.seq;
  f.answer(serf::encode_response(Command::kRemoveKey, seq, failed));
  REQUIRE(f.replies.size() == 1);
  CHECK(f.replies[0].error() == failed.error());
  CHECK(f.replies[0].keys().messages(0).value() == "no");
  CHECK(f.replies[0].keys().members() == 2);
  // Who has not shown the token gets no body.
  f.answer(serf::encode_header(f.ask(request).header.seq, "Authentication required"));
  REQUIRE(f.replies.size() == 2);
  CHECK(f.replies[1].done());
}

TEST_CASE("a query's answers, until its end") {
  Fixture f;
  Request request;
  request.mutable_query()->set_name("load");
  const uint64_t seq = f.ask(request).header.seq;
  Reply reply;
  reply.mutable_query_started();
  f.answer(serf::encode_stream_reply(seq, reply));
  REQUIRE(f.replies.size() == 1);
  CHECK(f.replies[0].query_started().timeout_ms() >= 40'000);
  reply.mutable_query_answer()->set_from("a");
  f.answer(serf::encode_stream_reply(seq, reply));
  reply.mutable_query_answer()->set_kind(control::QueryAnswer::RESPONSE);
  reply.mutable_query_answer()->set_payload("fine");
  f.answer(serf::encode_stream_reply(seq, reply));
  reply.mutable_query_done();
  f.answer(serf::encode_stream_reply(seq, reply));
  REQUIRE(f.replies.size() == 4);
  CHECK(f.replies[1].query_answer().kind() == control::QueryAnswer::ACK);
  CHECK(f.replies[2].query_answer().payload() == "fine");
  CHECK_FALSE(f.replies[2].done());
  CHECK(f.replies[3].done());
}

TEST_CASE("log lines and events are two commands of one request") {
  Fixture f;
  Request request;
  request.set_id(7);
  request.mutable_monitor()->set_log_level("INFO");
  request.mutable_monitor()->set_event_filter("*");
  const auto bytes = f.wire.encode(request);
  REQUIRE(bytes);
  const auto heard = door_hears(*bytes);
  REQUIRE(heard.size() == 2);
  CHECK(heard[0].request.monitor().log_level() == "INFO");
  CHECK(heard[1].request.monitor().event_filter() == "*");
  Reply record;
  record.mutable_monitor_started();
  for (const Heard& each : heard) {
    f.answer(serf::encode_stream_reply(each.header.seq, record));
  }
  record.mutable_monitor()->set_log("a line");
  f.answer(serf::encode_stream_reply(heard[0].header.seq, record));
  record.mutable_monitor()->set_log("");
  record.mutable_monitor()->set_event("user");
  record.mutable_monitor()->set_name("deploy");
  f.answer(serf::encode_stream_reply(heard[1].header.seq, record));
  REQUIRE(f.replies.size() == 4);
  CHECK(f.replies[2].monitor().log() == "a line");
  CHECK(f.replies[3].monitor().name() == "deploy");
}

TEST_CASE("the greeting is one reply, whatever it takes") {
  SerfWire wire("secret");
  const std::string greeting = wire.greeting();
  std::vector<Reply> replies;
  const auto keep = [&](const Reply& reply) {
    replies.push_back(reply);
    return true;
  };
  REQUIRE(wire.receive(serf::encode_header(1, ""), keep));
  CHECK(replies.empty());
  REQUIRE(wire.receive(serf::encode_header(2, "Invalid authentication token"), keep));
  REQUIRE(replies.size() == 1);
  CHECK(replies[0].error() == "Invalid authentication token");
}
