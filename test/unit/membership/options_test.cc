// SPDX-License-Identifier: Apache-2.0
#include "membership/options.h"

#include "test/catch.h"

using namespace std::chrono_literals;
using starling::ErrorKind;
using starling::membership::Options;

TEST_CASE("every profile is valid") {
  for (const char* name : {"lan", "wan", "local", "forgiving"}) {
    INFO(name);
    const auto options = Options::profile(name);
    REQUIRE(options.has_value());
    const auto valid = options->validate();
    CHECK(valid.has_value());
  }
  const auto unknown = Options::profile("moon");
  REQUIRE_FALSE(unknown.has_value());
  CHECK(unknown.error().message == "unknown profile 'moon': use lan, wan, local or forgiving");
}

TEST_CASE("an option out of range is named") {
  Options options;
  options.suspicion_min = 31s;
  const auto valid = options.validate();
  REQUIRE_FALSE(valid.has_value());
  CHECK(valid.error().kind == ErrorKind::kInvalid);
  CHECK(valid.error().message == "option out of range: 0 < suspicion_min <= suspicion_max");

  Options fanout;
  fanout.tree_fanout = 1;
  CHECK_FALSE(fanout.validate().has_value());
  Options size;
  size.user_event_size_limit = (1U << 20) + 1;
  CHECK_FALSE(size.validate().has_value());
}

TEST_CASE("query timeouts grow with the cluster as in Serf") {
  const Options lan = Options::lan();
  CHECK(lan.query_timeout(1) == 3200ms);
  CHECK(lan.query_timeout(9) == 3200ms);
  CHECK(lan.query_timeout(10) == 6400ms);
  CHECK(lan.query_timeout(99) == 6400ms);
  CHECK(lan.query_timeout(100) == 9600ms);
  CHECK(lan.query_timeout(9999) == 12800ms);
  CHECK(Options::wan().query_timeout(5) == 8s);
  CHECK(Options::local().query_timeout(5) == 1600ms);
}
