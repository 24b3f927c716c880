// SPDX-License-Identifier: Apache-2.0
#include "agent/control/serf_codec.h"

#include <limits>

#include "test/catch.h"

using namespace starling;
using namespace starling::agent;
using msgpack::Value;
using msgpack::Writer;
using serf::Command;

namespace {

/// The values of some bytes.
std::vector<Value> values(const std::string& bytes) {
  msgpack::Decoder decoder;
  decoder.add(bytes);
  std::vector<Value> all;
  while (true) {
    auto value = decoder.next();
    REQUIRE(value);
    if (!*value) break;
    all.push_back(std::move(**value));
  }
  CHECK(decoder.buffered() == 0);
  return all;
}

Result<control::Request> request(Command command, std::string body) {
  const auto read = values(body);
  return serf::to_request(command, read.empty() ? Value{} : read[0]);
}

std::string text(const Value& map, std::string_view key) {
  const Value* value = map.find(key);
  REQUIRE(value != nullptr);
  const auto* found = value->get_if<std::string>();
  return found == nullptr ? "(not a text)" : *found;
}

}  // namespace

TEST_CASE("a response's header is byte for byte that of Serf") {
  CHECK(serf::encode_header(0, "") == std::string("\x82\xa5"
                                                  "Error\xa0\xa3Seq\x00",
                                                  13));
}

TEST_CASE("requests take either kind of text, nil, missing and unknown fields") {
  Writer body;
  body.map(4).text("Name").bytes("deploy").text("Payload").text("v1").text("Coalesce").nil();
  body.text("Unknown").array(1).map(0);
  const auto event = request(Command::kEvent, body.take());
  REQUIRE(event);
  CHECK(event->event().name() == "deploy");
  CHECK(event->event().payload() == "v1");
  CHECK_FALSE(event->event().coalesce());
  REQUIRE(request(Command::kEvent, Writer().map(0).take()));
}

TEST_CASE("a query's fields, and its timeout in nanoseconds") {
  Writer body;
  body.map(7).text("Name").text("load").text("Payload").bytes("x");
  body.text("FilterNodes").array(2).text("a").text("b");
  body.text("FilterTags").map(1).text("role").text("web");
  body.text("RequestAck").boolean(true).text("RelayFactor").number(3);
  body.text("Timeout").signed_number(1'500'000'001);
  const auto query = request(Command::kQuery, body.take());
  REQUIRE(query);
  CHECK(query->query().nodes_size() == 2);
  CHECK(query->query().tags(0).value() == "web");
  CHECK(query->query().timeout_ms() == 1501);
  CHECK(query->query().relay_factor() == 3);
  CHECK(query->query().request_ack());
}

TEST_CASE("a stream without a type is of all events, and may answer queries") {
  const auto stream = request(Command::kStream, Writer().map(1).text("Type").text("").take());
  REQUIRE(stream);
  CHECK(stream->monitor().event_filter() == "*");
  CHECK(stream->monitor().answers_queries());
  const auto monitor = request(Command::kMonitor, Writer().map(1).text("LogLevel").nil().take());
  REQUIRE(monitor);
  CHECK(monitor->monitor().event_filter().empty());
}

TEST_CASE("whole numbers may come as floating point as JavaScript has them") {
  const auto timeout = [](double value) {
    return request(Command::kQuery, Writer().map(1).text("Timeout").real(value).take());
  };
  const auto query = timeout(5e9);
  REQUIRE(query);
  CHECK(query->query().timeout_ms() == 5000);
  for (const double wrong :
       {0.5, -1.0, 1e300, 9007199254740994.0, std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_FALSE(timeout(wrong));
  }
}

TEST_CASE("fields of the wrong type are named") {
  const auto error = [](Command command, Writer& body) {
    const auto read = request(command, body.take());
    REQUIRE_FALSE(read);
    return read.error().message;
  };
  CHECK(error(Command::kQuery, Writer().map(1).text("RelayFactor").number(256)) ==
        "RelayFactor wants a number from 0 to 255");
  CHECK(error(Command::kQuery, Writer().map(1).text("Timeout").signed_number(-1)) ==
        "Timeout wants a number from 0 to 9223372036854775807");
  CHECK(error(Command::kTags, Writer().map(1).text("Tags").array(0)) ==
        "Tags wants a map of strings");
  CHECK(error(Command::kEvent, Writer().map(1).text("Name").number(1)) == "Name wants strings");
  CHECK(error(Command::kEvent, Writer().map(1).text("Coalesce").number(1)) ==
        "Coalesce wants a boolean");
  CHECK(error(Command::kEvent, Writer().text("x")) == "the body is not a map");
}

TEST_CASE("a member as Serf's clients read it") {
  control::Reply reply;
  control::Member& member = *reply.mutable_members()->add_members();
  member.set_name("alpha");
  member.set_address(std::string("\x7f\0\0\1", 4));
  member.set_port(7946);
  member.set_status("alive");
  const auto read = values(serf::encode_response(Command::kMembers, 4, reply));
  REQUIRE(read.size() == 2);
  const Value& told = read[1].find("Members")->get_if<Value::Array>()->front();
  CHECK(text(told, "Addr") == std::string("\x7f\0\0\1", 4));
  CHECK(*told.find("Port")->get_if<uint64_t>() == 7946);
  CHECK(told.find("Tags")->get_if<Value::Map>()->empty());
  CHECK(*told.find("DelegateCur")->get_if<uint64_t>() == 5);
}

TEST_CASE("a response has its body after an error too") {
  control::Reply reply;
  reply.set_error("no");
  for (const auto& [command, key] : {std::pair{Command::kJoin, "Num"},
                                     {Command::kMembersFiltered, "Members"},
                                     {Command::kListKeys, "NumNodes"},
                                     {Command::kGetCoordinate, "Coord"}}) {
    const auto read = values(serf::encode_response(command, 1, reply));
    REQUIRE(read.size() == 2);
    CHECK(text(read[0], "Error") == "no");
    CHECK(read[1].find(key) != nullptr);
  }
  CHECK(values(serf::encode_response(Command::kEvent, 1, reply)).size() == 1);
}

TEST_CASE("records of a query; what Serf has no word for is left out") {
  control::Reply reply;
  control::QueryAnswer& answer = *reply.mutable_query_answer();
  answer.set_from("alpha");
  auto read = values(serf::encode_stream_reply(3, reply));
  REQUIRE(read.size() == 2);
  CHECK(text(read[1], "Type") == "ack");
  CHECK(read[1].find("Payload")->is_nil());
  answer.set_kind(control::QueryAnswer::RESPONSE);
  answer.set_payload("fine");
  read = values(serf::encode_stream_reply(3, reply));
  CHECK(text(read[1], "Payload") == "fine");
  answer.set_kind(control::QueryAnswer::FAILED);
  CHECK(serf::encode_stream_reply(3, reply).empty());
  reply.mutable_query_done();
  read = values(serf::encode_stream_reply(3, reply));
  CHECK(text(read[1], "Type") == "done");
  CHECK(text(read[1], "From").empty());
}
