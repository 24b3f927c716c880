// SPDX-License-Identifier: Apache-2.0
#include "agent/net/resolve.h"

#include <array>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <optional>
#include <set>

#include "agent/net/service_records.h"
#include "test/catch.h"

namespace starling::agent {
namespace {

using membership::Address;

Target target(std::string name, std::string host, uint16_t port) {
  return {std::move(name), std::move(host), port};
}

TEST_CASE("what a user may write for an address") {
  CHECK(*parse_target("host") == target("", "host", 7946));
  CHECK(*parse_target("host", 80) == target("", "host", 80));
  CHECK(*parse_target("host.example.org.:80") == target("", "host.example.org.", 80));
  CHECK(*parse_target("web-1/host:80") == target("web-1", "host", 80));
  CHECK(*parse_target("web-1/10.0.0.1") == target("web-1", "10.0.0.1", 7946));
  CHECK(*parse_target("10.0.0.1:65535") == target("", "10.0.0.1", 65535));
  CHECK(*parse_target("[::1]:80") == target("", "::1", 80));
  CHECK(*parse_target("[fd00::1]") == target("", "fd00::1", 7946));
  CHECK(*parse_target("fd00::1") == target("", "fd00::1", 7946));
  CHECK(*parse_target("n/[fd00::1]:1") == target("n", "fd00::1", 1));
  CHECK(*parse_target("::ffff:10.0.0.1") == target("", "::ffff:10.0.0.1", 7946));
}

TEST_CASE("what is not an address is refused with the reason") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "host is empty"},
      {"/host", "name before"},
      {"name/", "host is empty"},
      {":80", "host is empty"},
      {"host:", "port"},
      {"host:0", "port"},
      {"host:65536", "port"},
      {"host:8o", "port"},
      {"host:-1", "port"},
      {"[::1", "without"},
      {"[::1]80", "expected"},
      {"[::1]:", "port"},
      {"[host]:80", "not an IPv6"},
      {"[1.2.3.4]:80", "not an IPv6"},
      {"1:2:3", "not an IPv6"},
      {"fe80::1%eth0", "zones"},
      {"10.0.0.256", "not an IPv4"},
      {"10.0.0", "not an IPv4"},
      {"a b", "character"},
      {"a..b", "empty label"},
      {".", "empty label"},
      {std::string(254, 'a'), "longer"},
      {std::string("a\0b", 3), "character"},
  };
  for (const auto& [text, reason] : cases) {
    CAPTURE(text);
    const auto parsed = parse_target(text);
    REQUIRE_FALSE(parsed.has_value());
    CHECK(parsed.error().kind == ErrorKind::kInvalid);
    CHECK(parsed.error().message.find(reason) != std::string::npos);
    CHECK(parsed.error().message.find("\"" + text + "\"") != std::string::npos);
  }
}

std::optional<Result<std::vector<Address>>> resolve(
    const std::string& text, std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
  asio::io_context io;
  Resolver resolver(io);
  std::optional<Result<std::vector<Address>>> answer;
  resolver.resolve(
      text, [&](Result<std::vector<Address>> result) { answer = std::move(result); }, timeout);
  CHECK_FALSE(answer.has_value());  // never inside the call
  io.run_for(std::chrono::seconds(30));
  return answer;
}

TEST_CASE("addresses resolve to themselves") {
  const auto v4 = resolve("name/127.0.0.1:80");
  REQUIRE(v4.has_value());
  CHECK(v4->value() == std::vector<Address>{*Address::parse("127.0.0.1:80")});
  const auto v6 = resolve("::1");
  REQUIRE(v6.has_value());
  CHECK(v6->value() == std::vector<Address>{*Address::parse("[::1]:7946")});
}

TEST_CASE("localhost resolves to loopback addresses each once") {
  const auto answer = resolve("localhost:80");
  REQUIRE(answer.has_value());
  REQUIRE(answer->has_value());
  CHECK_FALSE((*answer)->empty());
  for (const Address& address : **answer) {
    CHECK(address.is_loopback());
    CHECK(address.port() == 80);
    CHECK(std::count((*answer)->begin(), (*answer)->end(), address) == 1);
  }
}

TEST_CASE("errors of a look-up name the host") {
  const auto wrong = resolve("host:99999");
  REQUIRE(wrong.has_value());
  CHECK(wrong->error().kind == ErrorKind::kInvalid);
  const std::string long_label(70, 'a');  // known to be no name without asking anybody
  const auto unknown = resolve(long_label + ".local");
  REQUIRE(unknown.has_value());
  REQUIRE_FALSE(unknown->has_value());
  CHECK(unknown->error().message.find(long_label) != std::string::npos);
}

TEST_CASE("a look-up whose time is up is answered once") {
  asio::io_context io;
  Resolver resolver(io);
  int answers = 0;
  for (int i = 0; i < 20; ++i) {
    resolver.resolve(
        "localhost",
        [&](const Result<std::vector<Address>>& result) {
          ++answers;
          if (!result) CHECK(result.error().kind == ErrorKind::kTimeout);
        },
        std::chrono::milliseconds(0));
  }
  io.run_for(std::chrono::seconds(30));
  CHECK(answers == 20);
}

/// A DNS server that answers every question with the same records.
class NameServer {
 public:
  NameServer(asio::io_context& io, std::string records, uint16_t count, uint8_t error = 0)
      : socket_(io, {asio::ip::make_address("127.0.0.1"), 0}),
        records_(std::move(records)),
        count_(count),
        error_(error) {
    wait();
  }
  [[nodiscard]] Address address() const {
    return *Address::from_ip("127.0.0.1", socket_.local_endpoint().port());
  }
  /// An SRV record; `host` in DNS's own form.
  static std::string record(uint16_t priority, uint16_t weight, uint16_t port, std::string host) {
    std::string data;
    for (const uint16_t number : {priority, weight, port}) data += two(number);
    data += host;
    return two(0xc00c) + two(33) + two(1) + std::string("\0\0\0\x3c", 4) +
           two(static_cast<uint16_t>(data.size())) + data;
  }

 private:
  static std::string two(uint16_t number) {
    return {static_cast<char>(number >> 8), static_cast<char>(number & 0xff)};
  }
  void wait() {
    socket_.async_receive_from(
        asio::buffer(question_), asker_, [this](const asio::error_code& error, size_t size) {
          if (error) return;
          std::string reply(question_.data(), size);
          reply.replace(2, 2, two(static_cast<uint16_t>(0x8180 | error_)));
          reply.replace(6, 6, two(count_) + std::string(4, '\0'));
          reply.resize(reply.find('\0', 12) + 5);  // without what follows the question
          reply += records_;
          socket_.send_to(asio::buffer(reply), asker_);
          wait();
        });
  }

  asio::ip::udp::socket socket_;
  asio::ip::udp::endpoint asker_;
  std::array<char, 1024> question_{};
  std::string records_;
  uint16_t count_;
  uint8_t error_;
};

Result<std::vector<Address>> service(std::string records, uint16_t count, uint8_t error = 0) {
  asio::io_context io;
  const NameServer server(io, std::move(records), count, error);
  Resolver resolver(io, server.address());
  std::optional<Result<std::vector<Address>>> answer;
  resolver.resolve("_starling._tcp.example.com", [&](const auto& found) { answer = found; });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!answer && std::chrono::steady_clock::now() < deadline) {
    io.run_one_for(std::chrono::milliseconds(20));
  }
  REQUIRE(answer);
  return *answer;
}

const std::string kLocalhost("\x09localhost\0", 11);

TEST_CASE("a service is all of its hosts with their ports") {
  const auto found = service(NameServer::record(20, 5, 7003, kLocalhost) +
                                 NameServer::record(10, 1, 7002, kLocalhost) +
                                 NameServer::record(10, 9, 7001, kLocalhost),
                             3);
  REQUIRE(found);
  std::set<uint16_t> ports;
  for (const Address& address : *found) {
    CHECK(address.is_loopback());
    ports.insert(address.port());
  }
  CHECK(ports == std::set<uint16_t>{7001, 7002, 7003});
}

TEST_CASE("a service that is not there is told from one that nobody knows of") {
  CHECK(service("", 0).error().kind == ErrorKind::kNotFound);
  CHECK(service("", 0, 3).error().kind == ErrorKind::kNotFound);
  CHECK(service(NameServer::record(1, 1, 7001, std::string(1, '\0')), 1).error().kind ==
        ErrorKind::kNotFound);
  CHECK(service("", 0, 2).error().kind == ErrorKind::kUnavailable);
  // Records that end before their time, or point nowhere.
  const std::string whole = NameServer::record(1, 1, 7001, kLocalhost);
  for (size_t size = 1; size < whole.size(); size += 3) {
    CHECK_FALSE(service(whole.substr(0, size), 1));
  }
  CHECK_FALSE(service(NameServer::record(1, 1, 7001, "\xff\xff"), 1));
}

TEST_CASE("what names a service") {
  CHECK(is_service("_starling._tcp.example.com"));
  CHECK(is_service("_serf._udp.local"));
  for (const char* other :
       {"_starling", "_starling.example.com", "starling._tcp.example.com", "_a._tcp", "web1", ""}) {
    CHECK_FALSE(is_service(other));
  }
}

TEST_CASE("a resolver that is gone calls nobody") {
  asio::io_context io;
  bool called = false;
  {
    Resolver resolver(io);
    resolver.resolve("localhost", [&](const auto&) { called = true; });
    resolver.resolve("127.0.0.1", [&](const auto&) { called = true; });
    resolver.resolve("_none._tcp.invalid", [&](const auto&) { called = true; });
  }
  io.run_for(std::chrono::seconds(30));
  CHECK_FALSE(called);
}

TEST_CASE("a bind address is advertised as it is and an unspecified one is not") {
  const Address bound = *Address::parse("127.0.0.1:7946");
  CHECK(advertise_address(bound).value() == bound);
  for (const char* any : {"0.0.0.0:7946", "[::]:7946"}) {
    const auto chosen = advertise_address(*Address::parse(any));
    if (chosen) {
      CHECK_FALSE(chosen->is_unspecified());
      CHECK_FALSE(chosen->is_loopback());
      CHECK(chosen->port() == 7946);
    } else {
      CHECK(chosen.error().message.find("-advertise") != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace starling::agent
