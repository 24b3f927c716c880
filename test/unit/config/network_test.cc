// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "agent/config/endpoint.h"
#include "test/catch.h"
#include "test/unit/config/support.h"

namespace starling::agent {

namespace {

Environment with_interfaces() {
  auto environment = test_environment();
  environment.interfaces = [] {
    return std::vector<InterfaceAddress>{
        interface_address("lo", "127.0.0.1"),     interface_address("lo", "::1"),
        interface_address("eth0", "169.254.3.4"), interface_address("eth0", "203.0.113.9"),
        interface_address("eth0", "10.1.2.3"),    interface_address("eth1", "fe80::1"),
        interface_address("eth1", "2001:db8::7"), interface_address("eth2", "fe80::2"),
    };
  };
  return environment;
}

std::string bind_of(const std::vector<FlagValue>& flags) {
  const auto config = load_config(flags, with_interfaces());
  return config ? config->bind.to_string() : config.error().message;
}

std::string advertised(std::vector<FlagValue> flags, const Environment& environment) {
  flags.push_back({"encrypt", kTestKey});
  const auto config = load_config(flags, environment);
  if (!config) return config.error().message;
  const auto address = advertise_address(*config, 4711, environment);
  return address ? address->to_string() : address.error().message;
}

constexpr const char* kExposed =
    " is not a loopback address, and without a cluster key whoever reaches it can join and command "
    "this host. Make a key with 'starling keygen' and give every member the same with encrypt_key "
    "(-encrypt), or accept it with insecure: true (-insecure)";

}  // namespace

TEST_CASE("without a key only loopback is bound") {
  CHECK(bind_of({}) == "127.0.0.1:7946");
  CHECK(bind_of({{"encrypt", kTestKey}}) == "0.0.0.0:7946");
  CHECK(bind_of({{"insecure", "true"}}) == "0.0.0.0:7946");
  CHECK(bind_of({{"insecure", "true"}, {"insecure", "false"}}) == "127.0.0.1:7946");
  CHECK(bind_of({{"bind", "127.3.2.1:0"}}) == "127.3.2.1:0");
  CHECK(bind_of({{"bind", "[::1]"}}) == "[::1]:7946");
}

TEST_CASE("an open address without a key is refused where it was written") {
  CHECK(bind_of({{"bind", "0.0.0.0"}}) == std::string("-bind: 0.0.0.0:7946") + kExposed);
  CHECK(bind_of({{"bind", ":7946"}}) == std::string("-bind: 0.0.0.0:7946") + kExposed);
  CHECK(bind_of({{"bind", "::"}}) == std::string("-bind: [::]:7946") + kExposed);
  CHECK(bind_of({{"bind", "10.1.2.3:99"}}) == std::string("-bind: 10.1.2.3:99") + kExposed);
  CHECK(bind_of({{"iface", "eth0"}}) == std::string("-iface: 203.0.113.9:7946") + kExposed);
  CHECK(bind_of({{"advertise", "10.0.0.1"}}) ==
        std::string("-advertise: 10.0.0.1:7946") + kExposed);
  CHECK(OneFile("bind: 192.0.2.1\n").error() ==
        std::string("agent.yaml:1:7: bind: 192.0.2.1:7946") + kExposed);
  CHECK(bind_of({{"bind", "10.1.2.3:99"}, {"insecure", "true"}}) == "10.1.2.3:99");
  CHECK(bind_of({{"bind", "10.1.2.3:99"}, {"encrypt", kTestKey}}) == "10.1.2.3:99");
}

TEST_CASE("an interface gives the address or has it") {
  const FlagValue key{"encrypt", kTestKey};
  CHECK(bind_of({{"iface", "lo"}}) == "127.0.0.1:7946");
  CHECK(bind_of({key, {"iface", "eth0"}}) == "203.0.113.9:7946");
  CHECK(bind_of({key, {"iface", "eth1"}}) == "[2001:db8::7]:7946");
  CHECK(bind_of({key, {"iface", "eth0"}, {"bind", ":99"}}) == "203.0.113.9:99");
  CHECK(bind_of({key, {"iface", "eth0"}, {"bind", "10.1.2.3"}}) == "10.1.2.3:7946");
  CHECK(bind_of({key, {"iface", "eth0"}, {"bind", "10.9.9.9"}}) ==
        "-iface: 'eth0' does not have the bind address 10.9.9.9");
  CHECK(bind_of({key, {"iface", "eth2"}}) == "-iface: 'eth2' has link-local addresses only");
  CHECK(bind_of({key, {"iface", "eth9"}}) ==
        "-iface: 'eth9' is no interface with an address that is up");
}

TEST_CASE("others are told an address that they can reach") {
  const auto environment = with_interfaces();
  CHECK(advertised({}, environment) == "10.1.2.3:4711");
  CHECK(advertised({{"bind", "[::]"}}, environment) == "10.1.2.3:4711");
  CHECK(advertised({{"bind", "10.1.2.3:0"}}, environment) == "10.1.2.3:4711");
  CHECK(advertised({{"advertise", "203.0.113.1"}}, environment) == "203.0.113.1:7946");
  CHECK(advertised({{"advertise", "203.0.113.1:5"}, {"bind", ":6"}}, environment) ==
        "203.0.113.1:5");
  CHECK(advertised({{"advertise", "203.0.113.1"}, {"bind", ":6"}}, environment) == "203.0.113.1:6");
  CHECK(advertised({{"advertise", "203.0.113.1"}, {"bind", ":0"}}, environment) ==
        "203.0.113.1:4711");
  CHECK(advertised({{"advertise", "0.0.0.0"}}, environment) ==
        "-advertise: 0.0.0.0:7946 is no address that others can reach");
  CHECK(advertised({}, test_environment()) ==
        "bound to 0.0.0.0, but this host has no address that others could reach: name one with "
        "advertise (-advertise)");
  auto public_only = test_environment();
  public_only.interfaces = [] {
    return std::vector<InterfaceAddress>{interface_address("lo", "127.0.0.1"),
                                         interface_address("eth0", "203.0.113.9"),
                                         interface_address("eth0", "fd00::1")};
  };
  CHECK(advertised({}, public_only) == "203.0.113.9:4711");
  CHECK(advertised({{"bind", "::"}}, public_only) == "[fd00::1]:4711");
}

TEST_CASE("addresses are read as people write them") {
  using config::Endpoint;
  using config::parse_endpoint;
  const std::pair<const char*, Endpoint> good[] = {
      {"1.2.3.4", {"1.2.3.4", 7}},
      {"1.2.3.4:5", {"1.2.3.4", 5}},
      {":5", {"", 5}},
      {"::1", {"::1", 7}},
      {"[::1]", {"::1", 7}},
      {"[::1]:5", {"::1", 5}},
      {"host", {"host", 7}},
      {"a.b-c.d:0", {"a.b-c.d", 0}},
      {"::", {"::", 7}},
      {"fe80::1:2", {"fe80::1:2", 7}},
  };
  for (const auto& [text, expected] : good) {
    CAPTURE(text);
    const auto endpoint = parse_endpoint(text, 7);
    REQUIRE(endpoint);
    CHECK(*endpoint == expected);
  }
  for (const char* text :
       {"", "[::1", "[::1]5", "[host]:5", "a:b", "a:65536", "a:-1", "a:", "1:2:3", "fe80::1%eth0",
        "[fe80::1%eth0]:5", "a b", "a/b", "a\nb", "[]:5"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_endpoint(text, 7));
  }
  CHECK_FALSE(parse_endpoint(std::string(300, 'a'), 7));
}

TEST_CASE("names resolve and unknown ones are an error with the name") {
  const auto found = config::resolve({"localhost", 5});
  REQUIRE(found);
  CHECK(found->front().is_loopback());
  CHECK(found->front().port() == 5);
  CHECK(config::resolve({"", 5})->front().to_string() == "0.0.0.0:5");
  // An empty label is refused without asking a server.
  const auto unknown = config::resolve({"a..b", 5});
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().message.starts_with("cannot resolve 'a..b': "));
}

TEST_CASE("a seed may name its member") {
  const auto config = OneFile("retry_join: [ada/10.0.0.1:5, 'eve/[::1]:5', plain]\n").load();
  REQUIRE(config);
  CHECK(config->retry_join.at(0) == "ada/10.0.0.1:5");
  CHECK(OneFile("retry_join: ['ada/']\n").error().starts_with("agent.yaml:1:14: retry_join: "));
  CHECK(OneFile("retry_join: [':5']\n").error() ==
        "agent.yaml:1:14: retry_join: ':5' names no host");
}

TEST_CASE("Serf's RPC is offered on loopback unless told otherwise") {
  const auto load = [](const std::string& address) {
    return load_config({{"rpc-addr", address}}, test_environment());
  };
  const auto by_default = load_config({}, test_environment());
  REQUIRE(by_default);
  CHECK(by_default->rpc_addr == membership::Address::parse("127.0.0.1:7373"));
  CHECK_FALSE(by_default->rpc_required);
  const auto other = load("127.0.0.2");
  REQUIRE(other);
  CHECK(other->rpc_addr == membership::Address::parse("127.0.0.2:7373"));
  CHECK(other->rpc_required);
  const auto off = load("none");
  REQUIRE(off);
  CHECK_FALSE(off->rpc_addr.has_value());
  CHECK(off->rpc_socket.empty());
  for (const char* written : {"unix:/tmp/rpc.sock", "unix:///tmp/rpc.sock"}) {
    const auto unix_socket = load(written);
    REQUIRE(unix_socket);
    CHECK(unix_socket->rpc_socket == "/tmp/rpc.sock");
    CHECK_FALSE(unix_socket->rpc_addr.has_value());
  }
  CHECK(error_of(load("unix:")) != "");
  CHECK(error_of(load("127.0.0.1:x")).starts_with("-rpc-addr: "));
}

}  // namespace starling::agent
