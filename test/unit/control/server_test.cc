// SPDX-License-Identifier: Apache-2.0
#include "agent/control/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "agent/control/client.h"
#include "agent/control/frame.h"
#include "test/catch.h"
#include "test/unit/control/fake_agent.h"

using starling::ErrorKind;
using starling::agent::Client;
using starling::agent::RequestHandler;
using starling::agent::Session;
using starling::agent::UnixServer;
using starling::agent::UnixServerLimits;
using starling::agent::test::eventually;
using starling::agent::test::FakeAgent;
using starling::agent::test::last_reply;
using starling::agent::test::TemporaryDirectory;
namespace control = starling::control;

namespace {

struct NoHandler : RequestHandler {
  void handle(const std::shared_ptr<Session>&, const control::Request&) override {}
  void session_closed(const std::shared_ptr<Session>&) override {}
};

/// A client that speaks bytes.
class RawClient {
 public:
  explicit RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const timeval limit = {10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(const std::string& bytes) {
    REQUIRE(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  /// Reads all replies until the server closes; nothing when it did not within ten seconds.
  std::optional<std::vector<control::Reply>> replies_until_close() {
    std::vector<control::Reply> replies;
    starling::agent::FrameDecoder decoder;
    std::string buffer(65536, '\0');
    while (true) {
      const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (got == 0 || (got < 0 && errno == ECONNRESET)) return replies;
      if (got < 0) return std::nullopt;
      const auto taken = decoder.receive(
          std::string_view(buffer.data(), static_cast<std::size_t>(got)), [&](std::string_view m) {
            REQUIRE(replies.emplace_back().ParseFromArray(m.data(), static_cast<int>(m.size())));
            return true;
          });
      REQUIRE(taken);
    }
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

void acknowledge(const std::shared_ptr<Session>& session, const control::Request& request) {
  session->send(last_reply(request));
}

std::string frame_of(std::uint64_t id) {
  control::Request request;
  request.set_id(id);
  request.mutable_info();
  return *starling::agent::encode_frame(request);
}

mode_t mode_of(const std::string& path) {
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777u;
}

}  // namespace

TEST_CASE("a request is answered and the session closed when the client goes") {
  FakeAgent agent(acknowledge);
  {
    auto client = Client::connect(agent.socket());
    REQUIRE(client);
    for (std::uint64_t id = 1; id <= 3; ++id) {
      control::Request request;
      request.mutable_force_leave()->set_node("web");
      const auto reply = client->call(request);
      INFO((reply ? "" : reply.error().message));
      REQUIRE(reply);
      CHECK(reply->done());
      CHECK(reply->id() == id);
    }
    CHECK(agent.connections() == 1);
    CHECK(agent.closed_sessions() == 0);
  }
  CHECK(eventually([&] { return agent.closed_sessions() == 1; }));
  CHECK(agent.connections() == 0);
  REQUIRE(agent.requests().size() == 3);
  CHECK(agent.requests()[2].force_leave().node() == "web");
}

TEST_CASE("the socket and its directory are not for everyone and the socket goes at the end") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/a/b/control.sock";
  asio::io_context io;
  NoHandler handler;
  {
    UnixServer server(io, path, handler);
    REQUIRE(server.listen());
    CHECK(mode_of(path) == 0660);
    CHECK((mode_of(directory.path() + "/a/b") & ~0750u) == 0);
    CHECK_FALSE(server.listen());
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a dead agent's socket is replaced and a living one's is not") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/control.sock";
  {
    const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    ::close(dead);
  }
  asio::io_context io;
  NoHandler handler;
  UnixServer first(io, path, handler);
  REQUIRE(first.listen());
  UnixServer second(io, path, handler);
  const auto refused = second.listen();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kConflict);
  CHECK(refused.error().message == "an agent is already listening on " + path +
                                       "; stop it, or choose another socket with -control");
  second.close();
  CHECK(std::filesystem::exists(path));
  CHECK(Client::connect(path));
}

TEST_CASE("another agent's socket is not removed") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/control.sock";
  asio::io_context io;
  NoHandler handler;
  UnixServer first(io, path, handler);
  REQUIRE(first.listen());
  std::filesystem::remove(path);
  UnixServer second(io, path, handler);
  REQUIRE(second.listen());
  first.close();
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("a path that cannot be a socket is refused") {
  const TemporaryDirectory directory;
  asio::io_context io;
  NoHandler handler;
  const auto error_of = [&](const std::string& path) {
    const auto listening = UnixServer(io, path, handler).listen();
    REQUIRE_FALSE(listening);
    return listening.error();
  };
  const std::string file = directory.path() + "/file";
  std::ofstream(file) << "precious";
  CHECK(error_of(file).kind == ErrorKind::kConflict);
  CHECK(error_of(file).message.find("is not a socket") != std::string::npos);
  CHECK(std::filesystem::file_size(file) == 8);
  CHECK(error_of("").kind == ErrorKind::kInvalid);
  CHECK(error_of("/tmp/" + std::string(103, 'x')).kind == ErrorKind::kInvalid);
  CHECK(error_of(file + "/control.sock").kind == ErrorKind::kUnavailable);
}

TEST_CASE("requests that come together are answered in order") {
  FakeAgent agent(acknowledge);
  RawClient client(agent.socket());
  std::string bytes;
  for (std::uint64_t id = 1; id <= 2000; ++id) bytes += frame_of(id);
  client.send(bytes.substr(0, 7));
  client.send(bytes.substr(7));
  CHECK(eventually([&] { return agent.requests().size() == 2000; }));
  const auto requests = agent.requests();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].id() != i + 1) FAIL("request " << i << " has id " << requests[i].id());
  }
}

TEST_CASE("bytes that are no request close the connection") {
  FakeAgent agent(acknowledge);
  const std::string too_large("\xff\xff\xff\xff", 4);
  const std::string no_message("\0\0\0\3\xff\xff\xff", 7);
  std::uint64_t malformed = 0;
  for (const std::string& bytes : {too_large, no_message}) {
    RawClient client(agent.socket());
    client.send(frame_of(1) + bytes);
    const auto replies = client.replies_until_close();
    REQUIRE(replies);
    CHECK(agent.counters().malformed == ++malformed);
    CHECK(agent.closed_sessions() == malformed);
  }
  CHECK(agent.connections() == 0);
}

TEST_CASE("a client with too many open requests is not read until one is answered") {
  std::vector<std::pair<std::shared_ptr<Session>, control::Request>> open;
  UnixServerLimits limits;
  limits.open_requests = 3;
  FakeAgent agent(
      [&](const auto& session, const auto& request) { open.emplace_back(session, request); },
      limits);
  RawClient client(agent.socket());
  std::string bytes;
  for (std::uint64_t id = 1; id <= 10; ++id) bytes += frame_of(id);
  client.send(bytes);
  REQUIRE(eventually([&] { return agent.requests().size() == 3; }));
  // Each answer lets exactly one more in.
  for (std::size_t answered = 0; answered < 7; ++answered) {
    agent.run([&] { CHECK(open[answered].first->send(last_reply(open[answered].second))); });
    REQUIRE(eventually([&] { return agent.requests().size() == 4 + answered; }));
  }
  agent.run([&] { open.clear(); });
}

TEST_CASE("a client that does not read loses replies and then the connection") {
  std::shared_ptr<Session> session;
  control::Request request;
  UnixServerLimits limits;
  limits.queued_bytes = 1u << 20;
  FakeAgent agent(
      [&](const auto& from, const auto& what) {
        session = from;
        request = what;
      },
      limits);
  RawClient client(agent.socket());
  client.send(frame_of(7));
  REQUIRE(eventually([&] { return agent.requests().size() == 1; }));

  control::Reply record;
  record.set_id(7);
  record.mutable_monitor()->set_log(std::string(100'000, 'x'));
  std::size_t sent = 0;
  agent.run([&] {
    while (session->send(record) && sent < 1000) ++sent;
  });
  // The queue is a mebibyte; the kernel takes a few hundred kilobytes besides.
  CHECK(sent >= 10);
  CHECK(sent < 100);
  CHECK(agent.counters().dropped_replies == 1);
  CHECK(agent.closed_sessions() == 0);
  control::Reply last = last_reply(request);
  last.set_error(std::string(1u << 20, 'x'));
  bool taken = true;
  std::size_t closed_inside = 1;
  agent.run([&] { taken = session->send(last); });
  CHECK_FALSE(taken);
  CHECK(eventually([&] { return agent.closed_sessions() == closed_inside; }));
  CHECK(agent.counters().closed_slow == 1);
  agent.run([&] { CHECK_FALSE(session->send(record)); });
  agent.run([&] { session.reset(); });
}

TEST_CASE("the number of queued replies is bounded too") {
  std::shared_ptr<Session> session;
  UnixServerLimits limits;
  limits.queued_replies = 8;
  FakeAgent agent([&](const auto& from, const auto&) { session = from; }, limits);
  RawClient client(agent.socket());
  client.send(frame_of(1));
  REQUIRE(eventually([&] { return agent.requests().size() == 1; }));
  agent.run([&] {
    control::Reply record;
    record.set_id(1);
    record.mutable_monitor()->set_log(std::string(300'000, 'x'));
    while (session->send(record)) {
    }
    // Small ones do not fit either: it is their number that counts.
    record.mutable_monitor()->set_log("x");
    CHECK_FALSE(session->send(record));
    session.reset();
  });
}

TEST_CASE("what is offered waits until the client has read and is never dropped") {
  constexpr std::size_t kAll = 100;
  UnixServerLimits limits;
  limits.queued_replies = 8;
  std::size_t offered = 0;
  std::size_t waits = 0;
  std::function<void()> go_on;
  FakeAgent agent(
      [&](const auto& session, const auto& request) {
        control::Reply answer;
        answer.set_id(request.id());
        answer.mutable_query_answer()->set_payload(std::string(300'000, 'x'));
        go_on = [&, session, answer, last = last_reply(request)] {
          while (offered < kAll && session->offer(answer)) ++offered;
          if (offered == kAll) {
            CHECK(session->send(last));
            return;
          }
          ++waits;
          session->when_room([&] { go_on(); });
        };
        go_on();
      },
      limits);
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  control::Request request;
  request.mutable_members();
  std::size_t answers = 0;
  const auto ended = client->call_stream(request, [&](const control::Reply& reply) {
    if (reply.query_answer().payload().size() == 300'000) ++answers;
    return true;
  });
  CHECK(ended);
  CHECK(answers == kAll);
  CHECK(waits > 5);
  CHECK(agent.counters().dropped_replies == 0);
  agent.run([&] { go_on = nullptr; });
}

TEST_CASE("a last reply over the limit of a frame becomes an error") {
  FakeAgent agent([](const auto& session, const auto& request) {
    control::Reply reply = last_reply(request);
    reply.mutable_event()->set_id(std::string(starling::agent::kMaxFrameBytes, 'x'));
    CHECK(session->send(reply));
  });
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  control::Request request;
  request.mutable_members();
  const auto reply = client->call(request);
  REQUIRE(reply);
  CHECK(reply->error().find("over the limit of 4194304 bytes") != std::string::npos);
}

TEST_CASE("large replies cross in pieces") {
  FakeAgent agent([](const auto& session, const auto& request) {
    for (int i = 0; i < 5; ++i) {
      control::Reply reply;
      reply.set_id(request.id());
      reply.set_done(i == 4);
      reply.mutable_query_answer()->set_payload(std::string(1u << 20, static_cast<char>('a' + i)));
      CHECK(session->send(reply));
    }
  });
  auto client = Client::connect(agent.socket());
  REQUIRE(client);
  control::Request request;
  request.mutable_query()->set_name("x");
  std::string seen;
  const auto done = client->call_stream(request, [&](const control::Reply& reply) {
    CHECK(reply.query_answer().payload().size() == 1u << 20);
    seen += reply.query_answer().payload().back();
    return true;
  });
  CHECK(done);
  CHECK(seen == "abcde");
}

TEST_CASE("clients over the limit are told so") {
  UnixServerLimits limits;
  limits.connections = 2;
  FakeAgent agent(acknowledge, limits);
  const RawClient first(agent.socket());
  const RawClient second(agent.socket());
  REQUIRE(eventually([&] { return agent.connections() == 2; }));
  auto third = Client::connect(agent.socket());
  REQUIRE(third);
  control::Request request;
  request.mutable_info();
  const auto reply = third->call(request);
  REQUIRE(reply);
  CHECK(reply->error().find("already has 2 control clients") != std::string::npos);
  CHECK(agent.counters().refused == 1);
}

TEST_CASE("the end of the server ends its clients") {
  std::optional<FakeAgent> agent(std::in_place, [](const auto&, const auto&) {});
  RawClient client(agent->socket());
  REQUIRE(eventually([&] { return agent->connections() == 1; }));
  agent.reset();
  CHECK(client.replies_until_close());
}
