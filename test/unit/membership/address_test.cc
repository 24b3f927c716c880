// SPDX-License-Identifier: Apache-2.0
#include "membership/address.h"

#include "test/catch.h"

using starling::membership::Address;

TEST_CASE("addresses read and print in both families") {
  for (const char* text : {"1.2.3.4:7946", "127.0.0.1:1", "[::1]:7946", "[2001:db8::5]:65535"}) {
    INFO(text);
    const auto address = Address::parse(text);
    REQUIRE(address.has_value());
    CHECK(address->to_string() == text);
    const auto again = Address::from_wire(address->wire_ip(), address->port());
    REQUIRE(again.has_value());
    CHECK(*again == *address);
    CHECK(address->wire_ip().size() == (address->is_v4() ? 4 : 16));
  }
}

TEST_CASE("what is not an address is refused") {
  for (const char* text : {"", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:1x",
                           "::1:7946", "host:1", "[::1:7946", "1.2.3:5"}) {
    INFO(text);
    CHECK_FALSE(Address::parse(text).has_value());
  }
  CHECK_FALSE(Address::from_wire("12345", 1).has_value());
  CHECK_FALSE(Address::from_wire("1234", 0).has_value());
  CHECK_FALSE(Address::from_wire("1234", 70000).has_value());
}

TEST_CASE("kinds of addresses are told apart") {
  CHECK(Address::parse("127.9.9.9:1")->is_loopback());
  CHECK(Address::parse("[::1]:1")->is_loopback());
  CHECK_FALSE(Address::parse("10.0.0.1:1")->is_loopback());
  CHECK(Address::parse("0.0.0.0:1")->is_unspecified());
  CHECK(Address::parse("[::]:1")->is_unspecified());
  CHECK_FALSE(Address::parse("1.0.0.0:1")->is_unspecified());
  CHECK(*Address::parse("[::ffff:1.2.3.4]:5") == *Address::parse("1.2.3.4:5"));
}
