// SPDX-License-Identifier: Apache-2.0
//
// The door for Serf's clients, spoken to in bytes, in front of a service made of one function.
#include "agent/control/serf_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <cstring>
#include <functional>
#include <future>
#include <thread>

#include "agent/control/msgpack.h"
#include "test/catch.h"
#include "test/unit/control/fake_agent.h"

using namespace starling;
using namespace starling::agent;
using msgpack::Value;
using msgpack::Writer;
using test::eventually;

namespace {

using Answer = std::function<void(const std::shared_ptr<Session>&, const control::Request&)>;

/// The server on a thread of its own.
class Door : public RequestHandler {
 public:
  explicit Door(Answer answer, SerfServerOptions options = {}) : answer_(std::move(answer)) {
    if (options.path.empty()) options.address = membership::Address::from_ip("127.0.0.1", 0);
    LogOptions log_options;
    log_options.to_stderr = false;
    log_ = std::move(*Log::open(log_options));
    server_ = std::make_unique<SerfServer>(io_, options, *this, *log_);
    REQUIRE(server_->listen());
    address_ = server_->local_address();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Door() override {
    run([this] { server_->close(); });
    work_.reset();
    thread_.join();
  }
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  template <typename Task>
  std::invoke_result_t<Task> run(Task task) {
    std::packaged_task<std::invoke_result_t<Task>()> packaged(std::move(task));
    auto result = packaged.get_future();
    asio::post(io_, [&] { packaged(); });
    return result.get();
  }
  SerfServerCounters counters() {
    return run([this] { return server_->counters(); });
  }
  size_t connections() {
    return run([this] { return server_->connections(); });
  }
  size_t closed() {
    return run([this] { return closed_; });
  }
  std::vector<control::Request> requests() {
    return run([this] { return requests_; });
  }
  const std::string& address() const { return address_; }
  /// Whether those who asked to leave have gone is known from `gone`.
  void await_leavers(std::chrono::milliseconds within, std::promise<void>& gone) {
    run([&] { server_->when_leavers_gone(within, [&gone] { gone.set_value(); }); });
  }

 private:
  void handle(const std::shared_ptr<Session>& session, const control::Request& request) override {
    requests_.push_back(request);
    answer_(session, request);
  }
  void session_closed(const std::shared_ptr<Session>&) override { ++closed_; }

  Answer answer_;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  std::vector<control::Request> requests_;
  size_t closed_ = 0;
  std::unique_ptr<Log> log_;
  std::unique_ptr<SerfServer> server_;
  std::string address_;
  std::thread thread_;
};

class RawClient {
 public:
  explicit RawClient(const Door& door) {
    const auto address = membership::Address::parse(door.address());
    if (address) {
      fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in name = {};
      name.sin_family = AF_INET;
      name.sin_port = htons(address->port());
      name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
    } else {
      fd_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
      sockaddr_un name = {};
      name.sun_family = AF_UNIX;
      std::memcpy(name.sun_path, door.address().data(), door.address().size());
      REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
    }
    const timeval limit = {10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(const std::string& bytes) {
    REQUIRE(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  void ask(const std::string& command, uint64_t seq, const std::string& body = {}) {
    send(Writer().map(2).text("Command").text(command).text("Seq").number(seq).take() + body);
  }
  void shake() {
    ask("handshake", 0, Writer().map(1).text("Version").number(1).take());
    CHECK(next_error(0) == "");
  }
  /// The next value; none when the server has closed.
  std::optional<Value> next() {
    while (true) {
      auto value = decoder_.next();
      REQUIRE(value);
      if (*value) return std::move(**value);
      char buffer[65536];
      const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
      if (got == 0 || (got < 0 && errno == ECONNRESET)) return std::nullopt;
      REQUIRE(got > 0);
      decoder_.add({buffer, static_cast<size_t>(got)});
    }
  }
  /// The next value must be a header with this Seq: its Error.
  std::string next_error(uint64_t seq) {
    const auto header = next();
    REQUIRE(header);
    REQUIRE(header->find("Seq") != nullptr);
    CHECK(*header->find("Seq")->get_if<uint64_t>() == seq);
    return *header->find("Error")->get_if<std::string>();
  }
  bool is_closed() { return !next().has_value(); }
  int descriptor() const { return fd_; }

 private:
  int fd_ = -1;
  msgpack::Decoder decoder_{{.bytes = 64U << 20, .values = 1U << 24}};
};

std::string body(const std::string& key, const std::string& text) {
  return Writer().map(1).text(key).text(text).take();
}

/// Every request is done at once.
void agree(const std::shared_ptr<Session>& session, const control::Request& request) {
  session->send(test::last_reply(request));
}

}  // namespace

TEST_CASE("the handshake comes first, once, in the right version") {
  Door door(agree);
  {
    RawClient client(door);
    client.ask("members", 5);
    CHECK(client.next_error(5) == "Handshake required");
    CHECK(client.is_closed());
  }
  RawClient client(door);
  client.ask("handshake", 1, Writer().map(1).text("Version").number(2).take());
  CHECK(client.next_error(1) == "Unsupported IPC version");
  client.shake();
  client.ask("handshake", 2, Writer().map(1).text("Version").number(1).take());
  CHECK(client.next_error(2) == "Handshake already performed");
  client.ask("stop", 3, Writer().map(1).text("Stop").number(77).take());
  CHECK(client.next_error(3) == "");
  client.ask("nonsense", 4);
  CHECK(client.next_error(4) == "Unsupported command");
  CHECK(client.is_closed());
  CHECK(door.requests().empty());
}

TEST_CASE("nothing is carried out before the token is shown") {
  SerfServerOptions options;
  options.auth = "secret";
  Door door(agree, options);
  RawClient client(door);
  client.shake();
  client.ask("event", 1, body("Name", "deploy"));
  CHECK(client.next_error(1) == "Authentication required");
  client.ask("members", 2);
  CHECK(client.next_error(2) == "Authentication required");
  client.ask("auth", 3, body("AuthKey", "secre"));
  CHECK(client.next_error(3) == "Invalid authentication token");
  CHECK(door.requests().empty());
  client.ask("auth", 4, body("AuthKey", "secret"));
  CHECK(client.next_error(4) == "");
  client.ask("event", 5, body("Name", "deploy"));
  CHECK(client.next_error(5) == "");
  CHECK(door.requests().size() == 1);
  CHECK(door.counters().denied == 1);

  RawClient guesser(door);
  guesser.shake();
  for (uint64_t i = 0; i < options.wrong_tokens; ++i) {
    guesser.ask("auth", i, body("AuthKey", std::to_string(i)));
    CHECK(guesser.next_error(i) == "Invalid authentication token");
  }
  CHECK(guesser.is_closed());
}

TEST_CASE("without a token, only the empty one is right") {
  Door door(agree);
  RawClient client(door);
  client.shake();
  client.ask("auth", 1, body("AuthKey", "x"));
  CHECK(client.next_error(1) == "Invalid authentication token");
  client.ask("auth", 2, body("AuthKey", ""));
  CHECK(client.next_error(2) == "");
}

TEST_CASE("requests are carried out one after the other") {
  std::vector<std::pair<std::shared_ptr<Session>, control::Request>> waiting;
  Door door([&](const auto& session, const control::Request& request) {
    waiting.emplace_back(session, request);
  });
  RawClient client(door);
  client.shake();
  client.ask("join", 1, Writer().map(1).text("Existing").array(1).text("a:1").take());
  client.ask("event", 2, body("Name", "deploy"));
  REQUIRE(eventually([&] { return door.requests().size() == 1; }));
  CHECK(door.requests()[0].join().addresses(0) == "a:1");
  door.run([&] {
    auto reply = test::last_reply(waiting[0].second);
    reply.mutable_join()->set_contacted(1);
    waiting[0].first->send(reply);
  });
  CHECK(client.next_error(1) == "");
  CHECK(*client.next()->find("Num")->get_if<uint64_t>() == 1);
  REQUIRE(eventually([&] { return door.requests().size() == 2; }));
  CHECK(door.requests()[1].event().name() == "deploy");
  door.run([&] { waiting.clear(); });
}

TEST_CASE("a stream begins, tells, and is stopped") {
  std::shared_ptr<Session> told;
  uint64_t monitor = 0;
  Door door([&](const auto& session, const control::Request& request) {
    control::Reply reply;
    reply.set_id(request.id());
    if (request.has_stop()) {
      reply.set_id(request.stop().monitor());
      reply.set_done(true);
      session->send(reply);
      return agree(session, request);
    }
    told = session;
    monitor = request.id();
    reply.mutable_monitor_started();
    session->send(reply);
  });
  RawClient client(door);
  client.shake();
  client.ask("stream", 7, body("Type", "user:deploy"));
  CHECK(client.next_error(7) == "");
  CHECK(door.requests()[0].monitor().event_filter() == "user:deploy");
  client.ask("stream", 7, body("Type", "*"));
  CHECK(client.next_error(7) == "Stream with given sequence exists");
  door.run([&] {
    control::Reply reply;
    reply.set_id(monitor);
    reply.mutable_monitor()->set_event("user");
    reply.mutable_monitor()->set_name("deploy");
    reply.mutable_monitor()->set_ltime(9);
    CHECK(told->send(reply));
  });
  CHECK(client.next_error(7) == "");
  const auto record = client.next();
  CHECK(*record->find("Name")->get_if<std::string>() == "deploy");
  CHECK(*record->find("LTime")->get_if<uint64_t>() == 9);
  CHECK(record->find("Payload")->is_nil());
  client.ask("stop", 8, Writer().map(1).text("Stop").number(7).take());
  CHECK(client.next_error(8) == "");
  client.ask("stream", 7, body("Type", ""));
  CHECK(client.next_error(7) == "");
  door.run([&] { told.reset(); });
}

TEST_CASE("a wrong field is answered, then the connection is closed") {
  Door door(agree);
  RawClient client(door);
  client.shake();
  client.ask("join", 1, body("Existing", "not a list"));
  CHECK(client.next_error(1) == "join: Existing wants a list of strings");
  CHECK(client.next()->find("Num") != nullptr);
  CHECK(client.is_closed());
  RawClient garbage(door);
  garbage.send("\xc1");
  CHECK(garbage.is_closed());
  RawClient large(door);
  large.send("\xdb\xff\xff\xff\xff");
  CHECK(large.is_closed());
  CHECK(door.counters().malformed == 3);
}

TEST_CASE("a client that does not read is cut off, and is no burden to others") {
  std::shared_ptr<Session> slow;
  uint64_t monitor = 0;
  SerfServerOptions options;
  options.queued_bytes = 1U << 20;
  Door door(
      [&](const auto& session, const control::Request& request) {
        if (!request.has_monitor()) return agree(session, request);
        slow = session;
        monitor = request.id();
        control::Reply reply;
        reply.set_id(monitor);
        reply.mutable_monitor_started();
        session->send(reply);
      },
      options);
  RawClient client(door);
  client.shake();
  client.ask("monitor", 1, body("LogLevel", "debug"));
  CHECK(client.next_error(1) == "");
  const bool cut = door.run([&] {
    control::Reply reply;
    reply.set_id(monitor);
    reply.mutable_monitor()->set_log(std::string(60000, 'x'));
    for (int i = 0; i < 1000; ++i) {
      if (!slow->send(reply)) return true;
    }
    return false;
  });
  CHECK(cut);
  CHECK(eventually([&] { return door.connections() == 0; }));
  CHECK(door.counters().closed_slow == 1);
  CHECK(door.closed() == 1);
  RawClient other(door);
  other.shake();
  door.run([&] { slow.reset(); });
}

TEST_CASE("connections are limited") {
  SerfServerOptions options;
  options.connections = 2;
  Door door(agree, options);
  RawClient first(door);
  RawClient second(door);
  first.shake();
  second.shake();
  RawClient third(door);
  CHECK(third.is_closed());
  CHECK(door.counters().refused == 1);
}

TEST_CASE("who asked the agent to leave is waited for, and nobody else") {
  Door door(agree);
  RawClient other(door);
  other.shake();
  std::promise<void> nobody;
  door.await_leavers(std::chrono::hours(1), nobody);
  nobody.get_future().get();

  auto leaver = std::make_unique<RawClient>(door);
  leaver->shake();
  leaver->ask("leave", 1);
  CHECK(leaver->next_error(1) == "");
  std::promise<void> gone;
  auto is_gone = gone.get_future();
  door.await_leavers(std::chrono::hours(1), gone);
  CHECK(door.connections() == 2);
  CHECK(is_gone.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
  leaver.reset();
  is_gone.get();

  RawClient stays(door);
  stays.shake();
  stays.ask("leave", 1);
  CHECK(stays.next_error(1) == "");
  std::promise<void> late;
  door.await_leavers(std::chrono::milliseconds(1), late);
  late.get_future().get();
  CHECK(door.connections() == 2);
}

TEST_CASE("who does not shake hands in time is closed") {
  SerfServerOptions options;
  options.greeting_seconds = 0;
  Door door(agree, options);
  RawClient client(door);
  CHECK(client.is_closed());
}

TEST_CASE("a unix socket serves as well, and a taken address is a conflict") {
  test::TemporaryDirectory directory;
  SerfServerOptions options;
  options.path = directory.path() + "/rpc.sock";
  Door door(agree, options);
  RawClient client(door);
  client.shake();
  client.ask("leave", 1);
  CHECK(client.next_error(1) == "");

  Door tcp(agree);
  asio::io_context io;
  struct Nobody : RequestHandler {
    void handle(const std::shared_ptr<Session>&, const control::Request&) override {}
    void session_closed(const std::shared_ptr<Session>&) override {}
  } nobody;
  LogOptions quiet;
  quiet.to_stderr = false;
  const auto log = Log::open(quiet);
  SerfServerOptions taken;
  taken.address = membership::Address::parse(tcp.address());
  const auto listening = SerfServer(io, taken, nobody, **log).listen();
  REQUIRE_FALSE(listening);
  CHECK(listening.error().kind == ErrorKind::kConflict);
}
