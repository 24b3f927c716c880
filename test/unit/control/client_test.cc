// SPDX-License-Identifier: Apache-2.0
#include "agent/control/client.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "test/catch.h"
#include "test/unit/control/fake_agent.h"

using starling::ErrorKind;
using starling::agent::Client;
using starling::agent::test::FakeAgent;
using starling::agent::test::last_reply;
using starling::agent::test::TemporaryDirectory;
namespace control = starling::control;

namespace {

control::Request info_request() {
  control::Request request;
  request.mutable_info();
  return request;
}

}  // namespace

TEST_CASE("without an agent the error says how to start one") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/control.sock";
  const auto client = Client::connect(path);
  REQUIRE_FALSE(client);
  CHECK(client.error().kind == ErrorKind::kUnavailable);
  CHECK(client.error().message ==
        "no agent is listening on " + path + "; start one with: starling agent");
}

TEST_CASE("a file that is no socket is named as such") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  std::ofstream(path) << "x";
  const auto client = Client::connect(path);
  REQUIRE_FALSE(client);
  CHECK(client.error().message == path + " is not a socket; give the agent's with -control PATH");
}

TEST_CASE("a missing permission names the mode and the group") {
  if (::geteuid() == 0) return;  // root may do everything
  FakeAgent agent([](const auto&, const auto&) {});
  REQUIRE(::chmod(agent.socket().c_str(), 0) == 0);
  const auto client = Client::connect(agent.socket());
  REQUIRE_FALSE(client);
  CHECK(client.error().message.find("permission denied") != std::string::npos);
  CHECK(client.error().message.find("mode 0000") != std::string::npos);
  CHECK(client.error().message.find("group") != std::string::npos);
}

TEST_CASE("an agent that does not answer is given up") {
  FakeAgent agent([](const auto&, const auto&) {});
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  client->set_timeout(std::chrono::milliseconds(20));
  const auto reply = client->call(info_request());
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == ErrorKind::kTimeout);
  CHECK(reply.error().message == "no answer from the agent on " + agent.socket() + " within 20 ms");
}

TEST_CASE("the timeout is for each reply and can be changed in a stream") {
  FakeAgent agent([](const auto& session, const auto& request) {
    control::Reply first;
    first.set_id(request.id());
    session->send(first);
  });
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  int replies = 0;
  const auto ended = client->call_stream(info_request(), [&](const control::Reply&) {
    ++replies;
    client->set_timeout(std::chrono::milliseconds(1));
    return true;
  });
  CHECK(replies == 1);
  REQUIRE_FALSE(ended);
  CHECK(ended.error().kind == ErrorKind::kTimeout);
}

TEST_CASE("an agent that goes away is noticed") {
  FakeAgent agent(
      [](const auto& session, const auto& request) {
        // An answer that does not fit closes the connection: the quickest way to lose it.
        control::Reply reply = last_reply(request);
        reply.set_error(std::string(2000, 'x'));
        session->send(reply);
      },
      {.queued_bytes = 1000});
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  const auto reply = client->call(info_request());
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == ErrorKind::kUnavailable);
  CHECK(reply.error().message.find("closed the connection before it answered") !=
        std::string::npos);
}

TEST_CASE("replies to an earlier request are passed over") {
  FakeAgent agent([](const auto& session, const auto& request) {
    control::Reply other = last_reply(request);
    other.set_id(request.id() + 7);
    other.set_error("not yours");
    session->send(other);
    session->send(last_reply(request));
  });
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  const auto reply = client->call(info_request());
  REQUIRE(reply);
  CHECK(reply->error().empty());
}

TEST_CASE("a readable interrupt ends the wait") {
  FakeAgent agent([](const auto&, const auto&) {});
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  std::array<int, 2> ends = {};
  REQUIRE(::pipe(ends.data()) == 0);
  REQUIRE(::write(ends[1], "x", 1) == 1);
  client->set_timeout(std::nullopt);
  client->set_interrupt(ends[0]);
  const auto reply = client->call(info_request());
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == ErrorKind::kConflict);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a request over the limit is not sent") {
  FakeAgent agent([](const auto&, const auto&) {});
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  control::Request request;
  request.mutable_event()->set_payload(std::string(5u << 20, 'x'));
  const auto reply = client->call(request);
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == ErrorKind::kTooLarge);
  CHECK(agent.requests().empty());
}
