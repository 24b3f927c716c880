// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/routes.h"

#include <map>
#include <set>

#include "membership/limits.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::address_of;
using test::member_record;
using test::node_id;

namespace {

struct Bench : test::Parts {
  explicit Bench(uint32_t others = 3) {
    for (uint32_t i = 1; i <= others; ++i) {
      members.apply(member_record(i, Incarnation::at(1, 5)), Heard::kSynced);
    }
  }
  Route only() {
    const auto list = routes.list();
    REQUIRE(list.size() == 1);
    return list[0];
  }
  Routes routes{context, table};
};

}  // namespace

TEST_CASE("a member that answers itself leaves no route, but counts as probed") {
  Bench bench;
  CHECK_FALSE(bench.table.find(node_id(1))->answered);
  bench.routes.direct(node_id(1));
  CHECK(bench.table.find(node_id(1))->answered);
  CHECK(bench.routes.size() == 0);
}

TEST_CASE("probes that only helpers or streams answer are counted until it answers itself") {
  Bench bench;
  bench.routes.without_direct(7, node_id(1), ProbeResult::kIndirect);
  bench.routes.indirect(node_id(1), node_id(2));
  bench.context.now += 4s;
  bench.routes.without_direct(8, node_id(1), ProbeResult::kStream);
  bench.context.now += 1s;
  const Route route = bench.only();
  CHECK(route.peer == node_id(1));
  CHECK(route.lost == 2);
  CHECK(route.lost_for == 5s);
  CHECK(route.last == ProbeResult::kStream);
  CHECK(route.helper == node_id(2));
  CHECK_FALSE(route.heard);
  bench.routes.direct(node_id(1));
  CHECK(bench.routes.size() == 0);
}

TEST_CASE("an answer that comes after a helper's counts, whoever it is from") {
  Bench bench;
  bench.routes.without_direct(7, node_id(1), ProbeResult::kStream);
  bench.routes.late_ack(7, node_id(3));
  CHECK(bench.only().helper == node_id(3));
  CHECK(bench.only().lost == 1);
  bench.routes.late_ack(99, node_id(1));  // of a probe that never was
  CHECK(bench.only().lost == 1);
  bench.routes.late_ack(7, node_id(1));
  CHECK(bench.routes.size() == 0);
}

TEST_CASE("what is heard of a member since its first loss is remembered") {
  Bench bench;
  bench.routes.heard(node_id(1));  // all is well: nothing to remember
  CHECK(bench.routes.size() == 0);
  bench.routes.without_direct(7, node_id(1), ProbeResult::kNothing);
  bench.routes.heard(node_id(1));
  bench.context.now += 3s;
  CHECK(bench.only().heard == 3s);
  bench.routes.refused(address_of(1));
  CHECK(bench.only().refused);
}

TEST_CASE("streams that fail leave a route until one opens") {
  Bench bench;
  bench.routes.direct(node_id(1));
  bench.routes.stream_failed(address_of(1), StreamEnd::kUnreachable, false);
  bench.routes.stream_failed(address_of(1), StreamEnd::kClosed, true);
  CHECK(bench.routes.size() == 0);  // neither says anything
  bench.routes.stream_failed(address_of(1), StreamEnd::kUnreachable, true);
  bench.context.now += 2s;
  bench.routes.stream_failed(address_of(1), StreamEnd::kRefused, false);
  Route route = bench.only();
  CHECK(route.streams_failed == 2);
  CHECK(route.streams_failed_for == 2s);
  CHECK(route.stream == StreamResult::kRefused);
  CHECK(route.lost == 0);
  bench.routes.stream_failed(address_of(1), StreamEnd::kProtocol, false);
  CHECK(bench.only().stream == StreamResult::kProtocol);
  bench.routes.stream_failed(address_of(99), StreamEnd::kRefused, true);  // nobody's
  bench.routes.stream_opened(address_of(1));
  CHECK(bench.routes.size() == 0);
}

TEST_CASE("streams are tried at every tenth probe, and at most every five seconds in trouble") {
  Bench bench;
  std::map<StreamCheck, int> checks;
  for (int i = 0; i < 1000; ++i) ++checks[bench.routes.check_stream(node_id(1))];
  CHECK(checks[StreamCheck::kNone] == 900);
  CHECK(checks[StreamCheck::kConnect] == 90);
  CHECK(checks[StreamCheck::kHandshake] == 10);
  bench.routes.without_direct(7, node_id(2), ProbeResult::kIndirect);
  CHECK(bench.routes.check_stream(node_id(2)) == StreamCheck::kHandshake);
  CHECK(bench.routes.check_stream(node_id(2)) == StreamCheck::kNone);
  bench.context.now += 5s;
  CHECK(bench.routes.check_stream(node_id(2)) == StreamCheck::kHandshake);
}

TEST_CASE("members that start together do not all shake hands in one round") {
  std::set<int> rounds;
  for (uint32_t number = 0; number < 10; ++number) {
    test::Parts parts;
    parts.context.identity.id = node_id(number);
    Routes routes{parts.context, parts.table};
    int round = 0;
    while (routes.check_stream(node_id(99)) != StreamCheck::kHandshake) ++round;
    rounds.insert(round);
  }
  CHECK(rounds.size() == 10);
}

TEST_CASE("routes of members that are gone are not listed, and routes are bounded") {
  Bench bench(kMaxRoutes + 10);
  for (uint32_t i = 1; i <= kMaxRoutes + 10; ++i) {
    bench.routes.without_direct(i, node_id(i), ProbeResult::kNothing);
  }
  CHECK(bench.routes.size() == kMaxRoutes);
  CHECK(bench.context.statistics.dropped_routes == 10);
  bench.table.erase(node_id(1));
  CHECK(bench.routes.list().size() == kMaxRoutes - 1);
  for (int i = 0; i < 256; ++i) bench.routes.check_stream(node_id(2));
  CHECK(bench.routes.size() == kMaxRoutes - 1);
}
