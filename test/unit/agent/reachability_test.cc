// SPDX-License-Identifier: Apache-2.0
#include "agent/reachability.h"

#include <map>

#include "test/catch.h"

using namespace starling::agent;  // NOLINT(google-build-using-namespace)
namespace control = starling::control;
namespace proto = starling::proto;
using starling::membership::Address;
using starling::membership::NodeId;
using starling::membership::ProbeResult;
using starling::membership::StreamResult;

namespace {

NodeId id_of(size_t number) {
  NodeId id;
  id.bytes[0] = static_cast<uint8_t>(number + 1);
  return id;
}

Address address_of(size_t number) {
  return *Address::from_ip("10.0.0." + std::to_string(number + 1), 7946);
}

/// Members m0, m1, ... that all reach each other, and what a test breaks.
struct Cluster {
  explicit Cluster(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      ReportingMember member{id_of(i), "m" + std::to_string(i), address_of(i), true, true, {}, 0};
      member.report.emplace();
      member.report->set_direct(static_cast<uint32_t>(count) - 1);
      members.push_back(std::move(member));
    }
  }
  proto::RouteReport& route(size_t from, size_t to) {
    proto::ReachabilityReport& report = *members[from].report;
    for (auto& route : *report.mutable_routes()) {
      if (route.peer() == id_of(to).wire()) return route;
    }
    report.set_direct(report.direct() - 1);
    proto::RouteReport& route = *report.add_routes();
    route.set_peer(std::string(id_of(to).wire()));
    return route;
  }
  /// Datagrams of `from` to `to` get no answer; `through` reaches it.
  proto::RouteReport& silent(size_t from, size_t to, std::optional<size_t> through = {}) {
    proto::RouteReport& one = route(from, to);
    one.set_lost(5);
    one.set_lost_ms(60'000);
    one.set_last(static_cast<uint32_t>(through ? ProbeResult::kIndirect : ProbeResult::kNothing));
    if (through) one.set_helper(std::string(id_of(*through).wire()));
    return one;
  }
  void streams(size_t from, size_t to, StreamResult result) {
    route(from, to).set_stream(static_cast<uint32_t>(result));
    if (result != StreamResult::kOpened) route(from, to).set_streams_failed(3);
  }
  void stranger(size_t at, size_t from, StrangerReason reason, uint64_t age_ms = 1000) {
    proto::StrangerReport& stranger = *members[at].report->add_strangers();
    stranger.set_address(address_of(from).wire_ip());
    stranger.set_port(7946);
    stranger.set_reason(static_cast<uint32_t>(reason));
    stranger.set_count(9);
    stranger.set_age_ms(age_ms);
  }
  /// m`number` failed: it reports nothing, and the others say so.
  void fail(size_t number) {
    members[number].alive = false;
    members[number].report.reset();
    for (size_t i = 0; i < members.size(); ++i) {
      if (i != number && members[i].report) silent(i, number).set_failed(true);
    }
  }
  control::ReachabilityReply ask() {
    control::ReachabilityReply reply;
    diagnose_reachability(members, "m0", reply);
    return reply;
  }
  /// The only finding.
  control::ReachabilityFinding finding() {
    const auto reply = ask();
    for (const auto& one : reply.findings()) INFO(one.cause() << ": " << one.text());
    REQUIRE(reply.findings_size() == 1);
    return reply.findings(0);
  }
  std::vector<ReportingMember> members;
};

}  // namespace

TEST_CASE("nothing is found where all is direct") {
  Cluster cluster(3);
  const auto reply = cluster.ask();
  CHECK(reply.findings_size() == 0);
  REQUIRE(reply.rows_size() == 3);
  CHECK(reply.rows(0).from() == "m0");
  CHECK(reply.rows(0).direct() == 2);
  CHECK(reply.rows(0).ways_size() == 0);
}

TEST_CASE("UDP that is blocked is told by streams that open") {
  Cluster cluster(3);
  cluster.silent(0, 2, 1);
  cluster.silent(2, 0, 1);
  SECTION("in both directions") {
    cluster.streams(0, 2, StreamResult::kOpened);
    CHECK(cluster.finding().cause() == "udp");
    CHECK(cluster.finding().for_ms() == 60'000);
    CHECK(cluster.finding().text() ==
          "m0 <-> m2: not directly, reached through m1; datagrams between them get no answer but "
          "streams open: UDP port 7946 is blocked between them; allow it in both directions");
    const auto reply = cluster.ask();
    CHECK(reply.rows(0).ways(0).reach() == "indirect");
    CHECK(reply.rows(0).ways(0).via() == "m1");
    CHECK(reply.rows(0).ways(0).streams() == "opened");
  }
  SECTION("in one: who hears the other is who is not heard") {
    cluster.streams(0, 2, StreamResult::kOpened);
    cluster.route(2, 0).set_heard(true);
    CHECK(cluster.finding().cause() == "udp");
    CHECK(cluster.finding().from(0) == "m2");
    CHECK(cluster.finding().to(0) == "m0");
  }
  SECTION("not known while no stream was tried") {
    CHECK(cluster.finding().cause() == "unknown");
  }
}

TEST_CASE("a route that is cut, open in one direction, or lossy") {
  Cluster cluster(3);
  cluster.silent(0, 2, 1);
  cluster.silent(2, 0, 1);
  cluster.streams(0, 2, StreamResult::kSilent);
  SECTION("cut") {
    CHECK(cluster.finding().cause() == "cut");
    CHECK(cluster.finding().text().starts_with("m0 <-> m2: not directly, reached through m1; "));
  }
  SECTION("one-way") {
    cluster.route(0, 2).set_heard(true);
    CHECK(cluster.finding().cause() == "one-way");
    CHECK(cluster.finding().text() ==
          "m0 -> m2: not directly, reached through m1; packets from m2 arrive at m0, but nothing "
          "gets from m0 to m2: the way is open in one direction only; look at the routes and "
          "firewalls on the way from m0 to m2");
  }
  SECTION("one-way, by the report of one side only") {
    cluster.members[2].report.reset();
    cluster.route(0, 2).set_heard(true);
    const auto reply = cluster.ask();
    REQUIRE(reply.findings_size() == 2);  // m2 is silent as well
    CHECK(reply.findings(0).cause() == "one-way");
    CHECK(reply.findings(1).cause() == "silent");
  }
  SECTION("lossy") {
    cluster.route(0, 2).set_heard(true);
    cluster.route(2, 0).set_heard(true);
    CHECK(cluster.finding().cause() == "loss");
  }
}

TEST_CASE("TCP that is blocked is told by datagrams that are answered") {
  Cluster cluster(3);
  cluster.streams(0, 2, StreamResult::kSilent);
  SECTION("from one side") {
    CHECK(cluster.finding().cause() == "tcp");
    CHECK(cluster.finding().text() ==
          "m0 -> m2: datagrams are answered but streams from m0 to m2 do not open: TCP to port "
          "7946 of m2 is blocked on the way; allow it in the firewalls between them");
    CHECK(cluster.ask().rows(0).ways(0).reach() == "direct");
  }
  SECTION("from the other") {
    Cluster other(3);
    other.streams(2, 0, StreamResult::kRefused);
    CHECK(other.finding().from(0) == "m2");
    CHECK(other.finding().text().find("streams from m2 to m0 are refused") != std::string::npos);
  }
  SECTION("from both") {
    cluster.streams(2, 0, StreamResult::kSilent);
    CHECK(cluster.finding().text() ==
          "m0 <-> m2: datagrams are answered but streams do not open: TCP port 7946 is blocked "
          "between them; allow it in both directions");
  }
  SECTION("one failure is not enough") {
    cluster.route(0, 2).set_streams_failed(1);
    CHECK(cluster.ask().findings_size() == 0);
  }
}

TEST_CASE("a wrong key is told by packets that nobody can open") {
  Cluster cluster(4);
  SECTION("of a member that failed by it") {
    cluster.fail(3);
    for (size_t i = 0; i < 3; ++i) cluster.stranger(i, 3, StrangerReason::kUnknownKey);
    CHECK(cluster.finding().cause() == "key");
    CHECK(cluster.finding().text() ==
          "m3 -> m0, m1 and m2: packets of m3 arrive, but are sealed with another key than that of "
          "m0, m1 and m2: give m3 the cluster's key (encrypt_key or keyring_file) and restart it");
  }
  SECTION("of the asking agent itself") {
    for (size_t i = 1; i < 4; ++i) {
      cluster.members[i].alive = false;
      cluster.members[i].report.reset();
      cluster.silent(0, i).set_failed(true);
      cluster.stranger(0, i, StrangerReason::kUnknownKey);
    }
    CHECK(cluster.finding().cause() == "key");
    CHECK(cluster.finding().from(0) == "m0");
  }
  SECTION("of a host that is no member") {
    cluster.stranger(1, 77, StrangerReason::kUnknownKey);
    CHECK(cluster.finding().cause() == "key");
    CHECK(cluster.finding().from(0) == "10.0.0.78");
    CHECK(cluster.finding().to(0) == "m1");
  }
  SECTION("of an agent that is alone among strangers") {
    Cluster alone(1);
    alone.stranger(0, 5, StrangerReason::kUnknownKey);
    alone.stranger(0, 6, StrangerReason::kUnknownKey);
    CHECK(alone.finding().from(0) == "m0");
    CHECK(alone.finding().to_size() == 2);
    CHECK(alone.finding().text().find("give m0 the cluster's key") != std::string::npos);
  }
  SECTION("not of what was long ago, or is over") {
    cluster.stranger(0, 3, StrangerReason::kUnknownKey);
    CHECK(cluster.ask().findings_size() == 0);
    cluster.fail(3);
    cluster.members[0].report->mutable_strangers(0)->set_age_ms(600'000);
    CHECK(cluster.finding().cause() == "down");
  }
}

TEST_CASE("clocks: one that was set back over a start, and one that is off") {
  Cluster cluster(4);
  SECTION("packets from before the last start") {
    cluster.fail(3);
    cluster.stranger(0, 3, StrangerReason::kOldBoot);
    CHECK(cluster.finding().cause() == "clock");
    CHECK(
        cluster.finding().text().starts_with("m3 -> m0: packets of m3 arrive, but count as sent "
                                             "before the last start of m3: its clock was set"));
  }
  SECTION("two processes with one identity") {
    cluster.fail(3);
    cluster.stranger(0, 3, StrangerReason::kTwin);
    CHECK(cluster.finding().cause() == "twin");
  }
  SECTION("one is behind") {
    cluster.members[2].clock_ahead_ms = -93'500;
    CHECK(cluster.finding().text() ==
          "m2: its clock is 93 s behind that of m0: set the clocks of both right (NTP)");
  }
  SECTION("a second is nothing") {
    cluster.members[2].clock_ahead_ms = 1500;
    CHECK(cluster.ask().findings_size() == 0);
  }
  SECTION("when most others differ, it is the own one") {
    for (size_t i = 1; i < 4; ++i) cluster.members[i].clock_ahead_ms = 50'000;
    CHECK(cluster.finding().text() ==
          "m0: its clock is 50 s behind that of most members: set it right (NTP)");
  }
  CHECK(clock_ahead_ms(1000, 900, 1100) == 0);
  CHECK(clock_ahead_ms(1200, 900, 1100) == 100);
  CHECK(clock_ahead_ms(700, 900, 1100) == -200);
}

TEST_CASE("members that failed") {
  Cluster cluster(3);
  cluster.fail(2);
  SECTION("silent") {
    CHECK(cluster.finding().cause() == "down");
    CHECK(cluster.finding().text() ==
          "m0 and m1 -> m2: failed; nothing of m2 arrives: its host is down, or cut off from them");
    CHECK(cluster.ask().rows_size() == 2);
    CHECK(cluster.ask().rows(0).ways(0).reach() == "none");
  }
  SECTION("refused") {
    cluster.route(0, 2).set_refused(true);
    CHECK(cluster.finding().text().ends_with("refuses port 7946: start the agent on m2"));
  }
  SECTION("heard") {
    cluster.route(1, 2).set_heard(true);
    CHECK(cluster.finding().cause() == "one-way");
    CHECK(cluster.finding().from(0) == "m1");
  }
}

TEST_CASE("one member with the same trouble everywhere is one sentence") {
  Cluster cluster(100);
  for (size_t i = 0; i < 100; ++i) {
    if (i == 42) continue;
    cluster.silent(42, i, 7 == i ? 8 : 7);
    cluster.silent(i, 42, 7 == i ? 8 : 7);
    cluster.streams(i, 42, StreamResult::kOpened);
  }
  cluster.streams(5, 6, StreamResult::kSilent);  // something else
  const auto reply = cluster.ask();
  REQUIRE(reply.findings_size() == 2);
  CHECK(reply.findings(0).from_size() == 1);
  CHECK(reply.findings(0).to_size() == 99);
  CHECK(reply.findings(0).text().starts_with(
      "m42 <-> m0, m1, m2, m3 and 95 others: not directly, reached through "));
  CHECK(reply.findings(1).cause() == "tcp");
  CHECK(reply.rows(42).ways_size() == 99);
}

TEST_CASE("who does not answer is named") {
  Cluster cluster(3);
  cluster.members[1].report.reset();
  CHECK(cluster.finding().text() ==
        "m0 -> m1: reached, but it does not say how it reaches others: its agent may be older");
  cluster.members[1].answered = false;
  CHECK(cluster.finding().cause() == "silent");
  CHECK(cluster.finding().text().find("no answer came within the time") != std::string::npos);
}

TEST_CASE("strangers are counted by source and reason, and bounded") {
  Strangers strangers;
  const auto start = std::chrono::steady_clock::now();
  strangers.note(address_of(1), StrangerReason::kUnknownKey, start);
  strangers.note(address_of(1), StrangerReason::kUnknownKey, start + std::chrono::seconds(1));
  strangers.note(address_of(1), StrangerReason::kOldBoot, start + std::chrono::seconds(2));
  REQUIRE(strangers.list().size() == 2);
  CHECK(strangers.list()[0].count == 2);
  CHECK(strangers.list()[0].last == start + std::chrono::seconds(1));
  for (size_t i = 0; i < Strangers::kMax - 1; ++i) {
    strangers.note(
        *Address::from_ip("10.9." + std::to_string(i / 250) + "." + std::to_string(i % 250), 1),
        StrangerReason::kTwin, start + std::chrono::seconds(3));
  }
  REQUIRE(strangers.list().size() == Strangers::kMax);
  CHECK(std::ranges::none_of(strangers.list(), [&](const Stranger& stranger) {
    return stranger.from == address_of(1) && stranger.reason == StrangerReason::kUnknownKey;
  }));
}
