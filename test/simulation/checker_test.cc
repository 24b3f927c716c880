// SPDX-License-Identifier: Apache-2.0
//
// Each invariant fires when it is broken, and not otherwise. Over the stand-in protocol: what
// the processes would have asked for is put to the checker by hand.
#include "test/simulation/checker.h"

#include "membership/limits.h"
#include "test/catch.h"

namespace starling::simulation {
namespace {

using membership::EventTiming;
using membership::Member;
using membership::MemberChange;
using membership::MemberEvent;
using membership::MessageId;
using membership::QueryAnswered;
using membership::QueryEnded;
using membership::ReplyKind;
using membership::Status;
using membership::UserEventArrived;

struct Bench {
  explicit Bench(size_t count = 3) : world(WorldOptions()), checker(world, CheckerOptions()) {
    for (size_t i = 0; i < count; ++i) world.add_node();
    world.run_for(100s);
  }
  Member member(NodeIndex node, Status status = Status::kAlive) const {
    Member member = world.node(node).self();
    member.status = status;
    return member;
  }
  void say(NodeIndex at, MemberChange change, Member about,
           const membership::FailureEvidence& evidence = {}) {
    checker.action(at, MemberEvent{change, std::move(about), evidence});
  }
  TimePoint local(NodeIndex node) const { return world.host(node).clock.to_local(world.now()); }
  /// The invariants broken so far, each once, in order.
  std::string broken() const {
    std::string text;
    std::string last;
    for (const Violation& violation : checker.violations()) {
      if (violation.invariant != last) text += (text.empty() ? "" : " ") + violation.invariant;
      last = violation.invariant;
    }
    return text;
  }
  MessageId event(NodeIndex origin, uint64_t sequence) {
    const MessageId id{world.host(origin).id, 7, sequence};
    checker.event_accepted(origin, id, "name", "payload");
    return id;
  }
  void arrive(NodeIndex at, const MessageId& id, uint64_t ltime = 5, bool before_join = false,
              const std::string& payload = "payload") {
    checker.action(at, UserEventArrived{id,
                                        ltime,
                                        "name",
                                        payload,
                                        false,
                                        before_join ? EventTiming::kBeforeJoin : EventTiming::kLive,
                                        {}});
  }

  World world;
  Checker checker;
};

TEST_CASE("a false failure is seen") {
  Bench bench;
  bench.say(0, MemberChange::kJoin, bench.member(1));
  CHECK(bench.broken().empty());
  bench.say(0, MemberChange::kFailed, bench.member(1, Status::kFailed));
  CHECK(bench.broken() == "accuracy");
  CHECK(bench.checker.false_failures() == 1);
}

TEST_CASE("a failure that nobody confirmed is seen") {
  Bench bench(6);
  for (NodeIndex node = 1; node < 6; ++node) bench.world.join(node, {0});
  bench.world.run_for(1s);
  const Member gone = bench.member(1);
  bench.world.crash(1);
  bench.say(0, MemberChange::kJoin, gone);
  const unsigned confirmations = GENERATE(0U, 1U);
  bench.say(0, MemberChange::kFailed, gone, {.suspected = {}, .confirmations = confirmations});
  CHECK(bench.broken() == (confirmations > 0 ? "" : "failure-confirmed"));
}

TEST_CASE("a failure before the time to refute is over is seen") {
  Bench bench;
  const Member gone = bench.member(1);
  bench.world.crash(1);
  bench.say(0, MemberChange::kJoin, gone);
  SECTION("silent") {
    bench.say(0, MemberChange::kFailed, gone, {.suspected = bench.local(0) - 2999ms});
    CHECK(bench.broken() == "failure-not-early");
  }
  SECTION("refused") {
    bench.say(0, MemberChange::kFailed, gone,
              {.suspected = bench.local(0) - 299ms, .refused = true});
    CHECK(bench.broken() == "failure-not-early");
  }
  SECTION("in time") {
    bench.say(0, MemberChange::kFailed, gone,
              {.suspected = bench.local(0) - 300ms, .refused = true});
    CHECK(bench.broken().empty());
  }
}

TEST_CASE("who was gone comes back only with a higher incarnation") {
  Bench bench;
  Member gone = bench.member(1);
  bench.world.crash(1);
  bench.say(0, MemberChange::kJoin, gone);
  gone.status = Status::kFailed;
  bench.say(0, MemberChange::kFailed, gone);
  if (GENERATE(true, false)) bench.say(0, MemberChange::kReap, gone);
  CHECK(bench.broken().empty());
  gone.status = Status::kAlive;
  bench.say(0, MemberChange::kJoin, gone);
  CHECK(bench.broken().starts_with("no-resurrection"));
}

TEST_CASE("a suspicion without end is seen") {
  Bench bench;
  bench.say(0, MemberChange::kJoin, bench.member(1, Status::kSuspect));
  bench.world.run_for(40s);
  bench.say(0, MemberChange::kUpdate, bench.member(1, Status::kSuspect));
  CHECK(bench.broken().empty());
  bench.world.run_for(10s);
  bench.say(0, MemberChange::kUpdate, bench.member(1, Status::kSuspect));
  CHECK(bench.broken() == "suspicion-ends");
}

TEST_CASE("a core that is not what it should be is seen") {
  struct Bad {
    const char* name;
    const char* invariant;
  };
  const Bad bad =
      GENERATE(Bad{"inconsistent", "indices-consistent"}, Bad{"hoarder", "memory-bounds"},
               Bad{"refuter", "refutation-once"}, Bad{"twin", "name-unique"});
  Bench bench;
  CHECK(bench.broken().empty());
  bench.world.add_node(bad.name);
  bench.world.run_for(20s);
  bench.checker.check_quiescence();
  CHECK(bench.broken().find(bad.invariant) != std::string::npos);
}

TEST_CASE("who was disturbed may be taken for failed for a while") {
  Bench bench;
  for (const NodeIndex node : {1U, 2U}) bench.say(0, MemberChange::kJoin, bench.member(node));
  const Duration pause = GENERATE(as<Duration>{}, 2s, 5s);
  bench.world.pause(1);
  bench.world.run_for(pause);
  bench.world.resume(1);
  bench.say(0, MemberChange::kFailed, bench.member(1, Status::kFailed));
  CHECK(bench.broken() == (pause < 2500ms ? "accuracy" : ""));
  bench.world.run_for(70s);
  bench.say(0, MemberChange::kJoin, [&] {
    Member later = bench.member(1);
    later.incarnation = later.incarnation.next();
    return later;
  }());
  const size_t before = bench.checker.violations().size();
  bench.say(0, MemberChange::kFailed, bench.member(2, Status::kFailed));
  CHECK(bench.checker.violations().size() > before);
}

TEST_CASE("a partition excuses only the two sides") {
  Bench bench(4);
  for (const NodeIndex node : {1U, 2U, 3U}) bench.say(0, MemberChange::kJoin, bench.member(node));
  bench.world.partition({{0, 1}});
  bench.world.run_for(10s);
  bench.say(0, MemberChange::kFailed, bench.member(2, Status::kFailed));
  CHECK(bench.broken().empty());
  bench.world.heal();
  bench.world.run_for(10s);
  bench.say(0, MemberChange::kFailed, bench.member(3, Status::kFailed));
  CHECK(bench.broken().empty());
  bench.say(0, MemberChange::kFailed, bench.member(1, Status::kFailed));
  CHECK(bench.broken() == "accuracy");
}

TEST_CASE("heavy loss and many cut links are disturbances") {
  Bench bench(20);
  CHECK(bench.checker.undisturbed(0, 1));
  bench.world.change_links([](Network& network) { network.cut(0, 5); });
  CHECK(bench.checker.undisturbed(0, 1));
  bench.world.change_links([](Network& network) {
    for (NodeIndex node = 6; node < 10; ++node) network.cut(0, node);
  });
  CHECK_FALSE(bench.checker.undisturbed(0, 1));
  CHECK(bench.checker.undisturbed(1, 2));
  bench.world.change_links([](Network& network) { network.mend_all(); });
  bench.world.run_for(70s);
  CHECK(bench.checker.undisturbed(0, 1));
  bench.world.change_links([](Network& network) { network.model().loss = 0.3; });
  CHECK_FALSE(bench.checker.undisturbed(1, 2));
}

TEST_CASE("incarnations that go back or come from nowhere are seen") {
  Bench bench;
  Member later = bench.member(1);
  later.incarnation = later.incarnation.next();
  bench.say(0, MemberChange::kJoin, later);
  CHECK(bench.broken() == "owner-raises-incarnation");
  bench.say(0, MemberChange::kUpdate, bench.member(1));
  CHECK(bench.broken() == "owner-raises-incarnation incarnation-monotone");
}

TEST_CASE("a member that never existed is seen") {
  Bench bench;
  Member ghost = bench.member(1);
  ghost.id.bytes[0] ^= 1;
  bench.say(0, MemberChange::kJoin, ghost);
  CHECK(bench.broken() == "known-members-only");
}

TEST_CASE("member events in an impossible order are seen") {
  const MemberChange change = GENERATE(MemberChange::kUpdate, MemberChange::kReap);
  Bench bench;
  bench.say(0, change, bench.member(1));
  CHECK(bench.broken() == "member-event-order");
  Bench twice;
  twice.say(0, MemberChange::kJoin, twice.member(1));
  twice.say(0, MemberChange::kJoin, twice.member(1));
  CHECK(twice.broken() == "member-event-order");
}

TEST_CASE("a leave that was none is seen and so is a failure after a leave") {
  Bench bench;
  bench.say(0, MemberChange::kJoin, bench.member(1));
  bench.say(0, MemberChange::kLeave, bench.member(1, Status::kLeft));
  CHECK(bench.broken() == "no-false-leave");
  Bench after;
  after.say(0, MemberChange::kJoin, after.member(1));
  const Member gone = after.member(1, Status::kLeft);
  after.world.leave(1);
  after.world.run_for(1s);
  after.say(0, MemberChange::kLeave, gone);
  CHECK(after.broken().empty());
  Member failed = gone;
  failed.status = Status::kFailed;
  after.say(0, MemberChange::kFailed, failed);
  CHECK(after.broken().find("left-stays-left") != std::string::npos);
}

TEST_CASE("an event delivered twice or changed or unknown is seen") {
  Bench bench;
  const MessageId id = bench.event(0, 1);
  bench.arrive(1, id);
  CHECK(bench.broken().empty());
  bench.arrive(1, id);
  CHECK(bench.broken() == "event-once");
  bench.arrive(2, id, 5, false, "something else");
  CHECK(bench.broken() == "event-once event-payload");
  bench.arrive(2, {bench.world.host(0).id, 7, 99});
  CHECK(bench.broken() == "event-once event-payload event-known");
}

TEST_CASE("an event may come again after a restart without state only") {
  const bool with_state = GENERATE(true, false);
  Bench bench;
  const MessageId id = bench.event(0, 1);
  bench.arrive(1, id);
  bench.world.crash(1);
  if (with_state) {
    bench.world.restart(1);
  } else {
    bench.world.restart_fresh(1, {0});
  }
  bench.arrive(1, id);
  CHECK(bench.broken() == (with_state ? "event-once" : ""));
}

TEST_CASE("an event that never arrives is seen at quiescence") {
  Bench bench;
  bench.world.join(1, {0});
  bench.world.run_for(20s);
  const MessageId id = bench.event(0, 1);
  bench.arrive(0, id);
  CHECK_FALSE(bench.checker.event_spread(id));
  bench.checker.check_quiescence();
  CHECK(bench.broken().find("event-delivered") != std::string::npos);
  CHECK(bench.checker.report().find("node-1: event-delivered") != std::string::npos);
  CHECK(bench.checker.report().find("node-2: event-delivered") == std::string::npos);
}

TEST_CASE("an own event that is not later than one heard is seen") {
  Bench bench;
  bench.arrive(1, bench.event(0, 1), 9);
  bench.arrive(1, bench.event(1, 1), 9);
  CHECK(bench.broken() == "lamport-order");
}

TEST_CASE("a clock goes on from what the disk could keep") {
  Bench bench;
  bench.world.fill_disk(1);
  REQUIRE(bench.world.send_event(1, "event", "one"));
  bench.world.run_for(6s);  // it is looked at every five
  REQUIRE(bench.world.node(1).clocks().event == 1);
  bench.world.free_disk(1);
  bench.world.crash(1);
  bench.world.restart(1);
  REQUIRE(bench.world.node(1).clocks().event == 0);
  bench.world.run_for(6s);
  CHECK(bench.broken().empty());
}

TEST_CASE("queries that are answered or end more than once are seen") {
  Bench bench;
  const MessageId id{bench.world.host(0).id, 7, 1};
  bench.checker.query_started(0, {id, 3, 5s});
  const auto answer = [&](const char* from, ReplyKind kind) {
    bench.checker.action(0,
                         QueryAnswered{id, from, kind, "", "", "", 0, {}, kind != ReplyKind::kAck});
  };
  answer("node-1", ReplyKind::kAck);
  answer("node-1", ReplyKind::kResponse);
  CHECK(bench.broken().empty());
  CHECK(bench.checker.query_shortcoming(id) == "not ended; 1 of 3 answered; ");
  answer("node-1", ReplyKind::kNoAnswer);
  CHECK(bench.broken() == "query-answers");
  bench.checker.action(0, QueryEnded{id, false, false, {}});
  CHECK(bench.broken() == "query-answers");
  bench.checker.action(0, QueryEnded{id, false, false, {}});
  CHECK(bench.broken() == "query-answers query-ends-once");
  answer("node-2", ReplyKind::kResponse);
  CHECK(bench.broken() == "query-answers query-ends-once query-answers");
}

TEST_CASE("a query that ends late or never is seen") {
  Bench bench;
  const MessageId late{bench.world.host(0).id, 7, 1};
  const MessageId never{bench.world.host(0).id, 7, 2};
  bench.checker.query_started(0, {late, 3, 5s});
  bench.checker.query_started(0, {never, 3, 5s});
  bench.world.run_for(7s);
  bench.checker.action(0, QueryEnded{late, true, false, {}});
  CHECK(bench.broken() == "query-deadline");
  bench.checker.check_quiescence();
  CHECK(bench.checker.report().find("never ended") != std::string::npos);
}

TEST_CASE("a query may end as late as its asker was paused") {
  Bench bench;
  const MessageId id{bench.world.host(0).id, 7, 1};
  bench.checker.query_started(0, {id, 3, 5s});
  bench.world.run_for(4500ms);
  bench.world.pause(0);
  bench.world.run_for(2s);
  bench.world.resume(0);
  bench.checker.action(0, QueryEnded{id, true, false, {}});
  CHECK(bench.broken().empty());
}

TEST_CASE("a query heard twice is seen") {
  Bench bench;
  const membership::QueryArrived query{{bench.world.host(0).id, 7, 1}, 1, "q", "", "node-0", {}};
  bench.checker.action(1, query);
  CHECK(bench.broken().empty());
  bench.checker.action(1, query);
  CHECK(bench.broken() == "query-once");
}

TEST_CASE("packets that are too large or too many are seen") {
  Bench bench;
  const Address to = address_of(1, 0);
  bench.checker.action(0,
                       membership::SendDatagram{to, std::string(membership::kMaxPacket + 1, 'x')});
  CHECK(bench.broken() == "packet-size");
  for (int i = 0; i < 3000; ++i) bench.checker.action(0, membership::SendDatagram{to, "x"});
  bench.world.run_for(1s);
  bench.checker.action(0, membership::SendDatagram{to, "x"});
  bench.world.run_for(20s);
  CHECK(bench.broken() == "packet-size message-budget");
  bench.checker.action(
      0, membership::SendStream{1, std::string(membership::kMaxStreamMessage + 1, 'x')});
  CHECK(bench.broken() == "packet-size message-budget message-size");
}

TEST_CASE("who stood still may answer all that waited") {
  const bool stood = GENERATE(true, false);
  CAPTURE(stood);
  Bench bench;
  for (uint64_t i = 1; i <= 20; ++i) bench.event(1, i);
  if (stood) bench.world.pause(0);
  bench.world.run_for(30s);
  if (stood) bench.world.resume(0);
  const Address to = address_of(1, 0);
  for (int i = 0; i < 400; ++i) bench.checker.action(0, membership::SendDatagram{to, "x"});
  bench.world.run_for(2s);
  bench.checker.action(0, membership::SendDatagram{to, "x"});
  bench.world.run_for(20s);
  CHECK(bench.broken() == (stood ? "" : "message-budget"));
}

TEST_CASE("members that never agree are seen") {
  Bench bench;
  bench.checker.require_convergence(5s);  // the stand-in shows only itself
  CHECK(bench.broken() == "convergence");
  bench.checker.check_quiescence();
  CHECK(bench.broken() == "convergence agreement");
}

}  // namespace
}  // namespace starling::simulation
