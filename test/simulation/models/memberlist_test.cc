// SPDX-License-Identifier: Apache-2.0
//
// The memberlist model: its formulas against the values in memberlist's own tests, and its
// behaviour in scripted scenarios.
#include "test/simulation/models/memberlist.h"

#include <numeric>

#include "test/simulation/cluster.h"

namespace starling::simulation {
namespace {

using membership::MemberChange;

WorldOptions memberlist_world(uint64_t seed, size_t known,
                              const MemberlistOptions& options = MemberlistOptions::lan()) {
  WorldOptions world = seeded(seed);
  world.make_process = make_memberlist(options, known);
  return world;
}

/// `count` members that have long known each other.
void start(World& world, size_t count) {
  while (world.size() < count) world.add_node();
}

const Memberlist& model(const World& world, NodeIndex node) {
  return dynamic_cast<const Memberlist&>(world.process(node));
}

/// When each process first said that about the member.
std::map<NodeIndex, TimePoint> told(const MemberWatch& watch, MemberChange change,
                                    NodeIndex member) {
  std::map<NodeIndex, TimePoint> first;
  for (const MemberWatch::Notice& notice : watch.notices()) {
    if (notice.event.change == change && index_of(notice.event.member.address) == member) {
      first.emplace(notice.node, notice.at);
    }
  }
  return first;
}

// --- formulas ---

// suspicion_test.go, TestSuspicion_remainingSuspicionTime.
TEST_CASE("what remains of a suspicion is as memberlist computes it") {
  CHECK(remaining_suspicion_time(0, 3, 0s, 2s, 30s) == 30s);
  CHECK(remaining_suspicion_time(1, 3, 2s, 2s, 30s) == 14s);
  CHECK(remaining_suspicion_time(2, 3, 3s, 2s, 30s) == 4810ms);
  CHECK(remaining_suspicion_time(3, 3, 4s, 2s, 30s) == -2s);
  CHECK(remaining_suspicion_time(4, 3, 5s, 2s, 30s) == -3s);
  CHECK(remaining_suspicion_time(5, 3, 10s, 2s, 30s) == -8s);
}

// suspicion_test.go, TestSuspicion_Timer.
TEST_CASE("confirmations shorten a suspicion as in memberlist") {
  const TimePoint start = kStart + 5s;
  const auto lasts = [&](const std::vector<std::pair<NodeIndex, bool>>& confirmations) {
    Suspicion suspicion(0, 3, 500ms, 2s, start);
    for (const auto& [from, news] : confirmations) CHECK(suspicion.confirm(from, start) == news);
    return suspicion.deadline() - start;
  };
  CHECK(lasts({}) == 2s);
  CHECK(lasts({{0, false}, {1, true}}) == 1250ms);
  CHECK(lasts({{0, false}, {1, true}, {1, false}, {1, false}}) == 1250ms);
  CHECK(lasts({{0, false}, {1, true}, {2, true}}) == 811ms);  // there 810, within 25
  CHECK(lasts({{0, false}, {1, true}, {2, true}, {3, true}}) == 500ms);
  CHECK(lasts({{0, false}, {1, true}, {2, true}, {3, true}, {4, false}}) == 500ms);
  // TestSuspicion_Timer_ZeroK: nobody to wait for.
  Suspicion alone(0, 0, 25ms, 30s, start);
  CHECK(alone.deadline() == start + 25ms);
  CHECK_FALSE(alone.confirm(1, start));
}

// util_test.go: TestSuspicionTimeout, TestRetransmitLimit, TestPushPullScale.
TEST_CASE("the formulas that depend on the number of members are memberlist's") {
  CHECK(suspicion_timeout(3, 5, 1s) == 3s);
  CHECK(suspicion_timeout(3, 10, 1s) == 3s);
  CHECK(suspicion_timeout(3, 50, 1s) == 5094ms);
  CHECK(suspicion_timeout(3, 100, 1s) == 6s);
  CHECK(suspicion_timeout(3, 500, 1s) == 8094ms);
  CHECK(suspicion_timeout(3, 1000, 1s) == 9s);
  CHECK(retransmit_limit(3, 0) == 0);
  CHECK(retransmit_limit(3, 1) == 3);
  CHECK(retransmit_limit(3, 99) == 6);
  for (size_t n = 0; n <= 32; ++n) CHECK(push_pull_scale(1s, n) == 1s);
  for (size_t n = 33; n <= 64; ++n) CHECK(push_pull_scale(1s, n) == 2s);
  for (size_t n = 65; n <= 128; ++n) CHECK(push_pull_scale(1s, n) == 3s);
}

// awareness_test.go, TestAwareness.
TEST_CASE("local health is kept between its bounds and stretches time") {
  Awareness awareness(8);
  const std::pair<int, int> steps[] = {{0, 0},  {-1, 0}, {-10, 0}, {1, 1},  {-1, 0},
                                       {10, 7}, {-1, 6}, {-1, 5},  {-1, 4}, {-1, 3},
                                       {-1, 2}, {-1, 1}, {-1, 0},  {-1, 0}};
  for (const auto& [delta, score] : steps) {
    awareness.apply(delta);
    CHECK(awareness.score() == score);
    CHECK(awareness.scale(1s) == (score + 1) * Duration(1s));
  }
}

TEST_CASE(
    "the queue sends the least sent, then the longest, then the newest, a limited number of "
    "times") {
  const auto about = [](MemberlistKind kind, NodeIndex node, NodeIndex from = 5) {
    return MemberlistMessage{.kind = kind, .node = node, .from = from};
  };
  MemberlistQueue queue;
  queue.add(about(MemberlistKind::kSuspect, 1));
  queue.add(about(MemberlistKind::kAlive, 2));  // longer
  queue.add(about(MemberlistKind::kSuspect, 3));
  std::vector<MemberlistMessage> sent;
  queue.take(2, 1400, 3, &sent);
  REQUIRE(sent.size() == 3);
  CHECK(sent[0].node == 2);
  CHECK(sent[1].node == 3);
  CHECK(sent[2].node == 1);

  queue.add(about(MemberlistKind::kDead, 1));  // takes the place of the suspicion; not sent yet
  CHECK(queue.size() == 3);
  sent.clear();
  queue.take(2, message_size(about(MemberlistKind::kDead, 1)) + 2, 3, &sent);
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].kind == MemberlistKind::kDead);

  sent.clear();
  for (int i = 0; i < 10; ++i) queue.take(2, 1400, 3, &sent);
  CHECK(sent.size() == 2 + 2 + 2);  // each three times in all
  CHECK(queue.empty());
}

// --- behaviour ---

TEST_CASE("a known member takes at most 24 bytes") {
  CHECK(sizeof(MemberlistNode) + sizeof(uint32_t) <= 24);
}

TEST_CASE("at rest nobody is suspected, and two packets per second are sent") {
  World world(memberlist_world(1, 100));
  MemberWatch watch(world);
  start(world, 100);
  world.run_for(120s);
  CHECK(watch.count(MemberChange::kFailed) == 0);
  uint64_t suspicions = 0;
  for (NodeIndex node = 0; node < 100; ++node)
    suspicions += model(world, node).traffic().suspicions;
  CHECK(suspicions == 0);
  const double packets = static_cast<double>(world.statistics().datagrams_sent) / 120 / 100;
  CHECK(packets > 1.9);
  CHECK(packets < 2.1);
}

TEST_CASE("members that join through one seed come to know each other") {
  World world(memberlist_world(2, 0));
  start(world, 60);
  for (NodeIndex node = 1; node < 60; ++node) world.join(node, {0});
  const auto all_know = [&] {
    for (NodeIndex node = 0; node < 60; ++node) {
      if (world.process(node).alive_count() != 60) return false;
    }
    return true;
  };
  CHECK(world.run_while_not(all_know, 60s));
}

TEST_CASE("a crash is detected, and all hear of it soon after") {
  std::vector<double> first;
  for (uint64_t seed = 1; seed <= 11; ++seed) {
    World world(memberlist_world(seed, 100));
    MemberWatch watch(world);
    start(world, 100);
    world.run_for(5s);
    const TimePoint crash = world.now();
    world.crash(7, StopKind::kHostDown);
    REQUIRE(world.run_while_not([&] { return told(watch, MemberChange::kFailed, 7).size() == 99; },
                                60s));
    TimePoint earliest = kNever;
    for (const auto& [node, at] : told(watch, MemberChange::kFailed, 7)) {
      earliest = std::min(earliest, at);
    }
    first.push_back(seconds(earliest - crash));
    CHECK(watch.count(MemberChange::kFailed) == 99);
  }
  // Eight seconds of suspicion, a probe of one, and the wait for it.
  CHECK(percentile(first, 0.5) > 9);
  CHECK(percentile(first, 0.5) < 11.5);
}

TEST_CASE("a suspect that hears of it refutes, and is not declared failed") {
  World world(memberlist_world(3, 20));
  MemberWatch watch(world);
  start(world, 20);
  world.run_for(2s);
  world.pause(4);
  world.run_for(3s);
  world.resume(4);
  world.run_for(60s);
  CHECK(watch.count(MemberChange::kFailed) == 0);
  uint64_t suspicions = 0;
  for (NodeIndex node = 0; node < 20; ++node) {
    suspicions += model(world, node).traffic().suspicions;
    CHECK(model(world, node).suspicion(4) == nullptr);
  }
  CHECK(suspicions > 0);
}

TEST_CASE("a blocked member suspects the one that it was about to probe, when the block ends") {
  World world(memberlist_world(9, 20));
  MemberWatch watch(world);
  start(world, 20);
  world.run_for(5s);
  world.block(4);
  world.run_for(4s);
  // Its suspicions wait with whatever else it has to say.
  CHECK(model(world, 4).traffic().suspicions == 0);
  world.unblock(4);
  world.run_for(100ms);
  CHECK(model(world, 4).traffic().suspicions == 1);
  CHECK(model(world, 4).health_score() >= 3);  // none of those that it asked for nacks could answer
  world.run_for(60s);
  CHECK(watch.count(MemberChange::kFailed) == 0);
}

TEST_CASE("a long pause is a failure, and ends with the member back") {
  World world(memberlist_world(4, 20));
  MemberWatch watch(world);
  start(world, 20);
  world.run_for(2s);
  world.pause(4);
  world.run_for(25s);
  CHECK(told(watch, MemberChange::kFailed, 4).size() == 19);
  world.resume(4);
  world.run_for(30s);
  CHECK(told(watch, MemberChange::kJoin, 4).size() == 19);
}

TEST_CASE("a member that leaves is not taken for failed") {
  World world(memberlist_world(5, 30));
  MemberWatch watch(world);
  start(world, 30);
  world.run_for(2s);
  world.leave(9);
  world.run_for(30s);
  CHECK_FALSE(world.running(9));
  CHECK(told(watch, MemberChange::kLeave, 9).size() == 29);
  CHECK(watch.count(MemberChange::kFailed) == 0);
}

TEST_CASE("Serf's reconnector heals a partition that outlasted memberlist's memory of the dead") {
  World world(memberlist_world(6, 12));
  MemberWatch watch(world);
  start(world, 12);
  world.run_for(2s);
  world.partition({{0, 1, 2, 3, 4, 5}, {6, 7, 8, 9, 10, 11}});
  world.run_for(120s);
  for (NodeIndex node = 0; node < 12; ++node) CHECK(world.process(node).alive_count() == 6);
  world.heal();
  const auto whole = [&] {
    for (NodeIndex node = 0; node < 12; ++node) {
      if (world.process(node).alive_count() != 12) return false;
    }
    return true;
  };
  CHECK(world.run_while_not(whole, 120s));
}

TEST_CASE("the model repeats itself") {
  const auto hash = [](uint64_t seed) {
    World world(memberlist_world(seed, 40));
    start(world, 40);
    world.change_links([](Network& network) { network.model().loss = 0.2; });
    world.run_for(30s);
    return world.trace_hash();
  };
  CHECK(hash(7) == hash(7));
  CHECK(hash(7) != hash(8));
}

}  // namespace
}  // namespace starling::simulation
