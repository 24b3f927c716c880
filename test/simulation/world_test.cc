// SPDX-License-Identifier: Apache-2.0
//
// The world's mechanics, over the stand-in protocol of fake_node.cc.
#include "test/simulation/world.h"

#include <algorithm>

#include "test/catch.h"

namespace starling::simulation {
namespace {

using membership::JoinTried;
using membership::UserEventArrived;

struct Recorder : Observer {
  std::vector<JoinTried> joins;
  std::vector<std::pair<NodeIndex, std::string>> events;
  std::vector<std::pair<NodeIndex, StopKind>> stops;

  void action(NodeIndex node, const membership::Action& action) override {
    if (const auto* join = std::get_if<JoinTried>(&action)) joins.push_back(*join);
    if (const auto* event = std::get_if<UserEventArrived>(&action)) {
      events.emplace_back(node, event->payload);
    }
  }
  void process_stopping(NodeIndex node, StopKind kind) override { stops.emplace_back(node, kind); }
};

struct Pair {
  explicit Pair(const WorldOptions& options = {}) : world(options) {
    world.add_observer(&recorder);
    a = world.add_node();
    b = world.add_node();
  }
  void meet() {
    world.join(b, {a});
    world.run_for(10ms);
    REQUIRE(recorder.joins.size() == 1);
    REQUIRE(recorder.joins[0].ok);
  }
  uint64_t received(NodeIndex node) const { return world.node(node).statistics().packets_received; }
  uint64_t refused(NodeIndex node) const { return world.node(node).statistics().probes_failed; }

  World world;
  Recorder recorder;
  NodeIndex a = 0;
  NodeIndex b = 0;
};

TEST_CASE("two processes join over a stream and hear each other") {
  Pair pair;
  pair.meet();
  pair.world.run_for(10s);
  CHECK(pair.received(pair.a) > 90);
  CHECK(pair.received(pair.b) > 90);
  CHECK(pair.world.host(pair.b).joined < kStart + 10ms);
  CHECK(pair.world.open_streams(pair.a) == 0);
  CHECK(pair.world.open_streams(pair.b) == 0);
}

TEST_CASE("joining a dead process is refused and is tried again") {
  Pair pair;
  pair.world.crash(pair.a);
  pair.world.join(pair.b, {pair.a});
  pair.world.run_for(1s);
  REQUIRE(pair.recorder.joins.size() == 1);
  CHECK(pair.recorder.joins[0].error == "refused");
  pair.world.restart(pair.a);
  pair.world.run_for(3s);
  CHECK(pair.recorder.joins.back().ok);
}

TEST_CASE("joining a dead host ends at the time-out") {
  Pair pair;
  pair.world.crash(pair.a, StopKind::kHostDown);
  pair.world.join(pair.b, {pair.a});
  pair.world.run_for(9s);
  CHECK(pair.recorder.joins.empty());
  pair.world.run_for(2s);
  REQUIRE(pair.recorder.joins.size() == 1);
  CHECK(pair.recorder.joins[0].error == "unreachable");
}

TEST_CASE("a join begun in a partition completes when it heals in time") {
  Pair pair;
  pair.world.partition({{pair.a}});
  pair.world.join(pair.b, {pair.a});
  pair.world.run_for(4s);
  pair.world.heal();
  pair.world.run_for(4s);
  REQUIRE(pair.recorder.joins.size() == 1);
  CHECK(pair.recorder.joins[0].ok);
}

TEST_CASE("a crashed process on a live host refuses and a dead host is silent") {
  const bool refusals = GENERATE(true, false);
  const StopKind kind = GENERATE(StopKind::kCrash, StopKind::kHostDown);
  WorldOptions options;
  options.refusals = refusals;
  Pair pair(options);
  pair.meet();
  pair.world.crash(pair.b, kind);
  pair.world.run_for(1s);
  const bool expected = refusals && kind == StopKind::kCrash;
  CHECK((pair.refused(pair.a) >= 6) == expected);
  CHECK((pair.refused(pair.a) == 0) == !expected);
}

TEST_CASE("refusals come six at once and then once a second") {
  Pair pair;
  pair.meet();
  pair.world.crash(pair.b);
  pair.world.run_for(10s);
  CHECK(pair.refused(pair.a) >= 14);
  CHECK(pair.refused(pair.a) <= 16);
}

TEST_CASE("a paused process gets what its socket holds before its timers fire") {
  Pair pair;
  pair.meet();
  pair.world.run_for(1s);
  const uint64_t before = pair.received(pair.b);
  const uint64_t ticks = pair.world.node(pair.b).statistics().probes;
  pair.world.pause(pair.b);
  CHECK_FALSE(pair.world.usable(pair.b));
  pair.world.run_for(5s);
  CHECK(pair.received(pair.b) == before);
  CHECK(pair.world.node(pair.b).statistics().probes == ticks);
  pair.world.resume(pair.b);
  CHECK(pair.received(pair.b) >= before + 49);
  CHECK(pair.world.node(pair.b).statistics().probes == ticks + 1);
  pair.world.run_for(1s);
  CHECK(pair.world.node(pair.b).statistics().probes >= ticks + 10);
}

TEST_CASE("the socket buffer of a paused process is bounded") {
  WorldOptions options;
  options.socket_buffer = 10 * (256 + 4);
  Pair pair(options);
  pair.meet();
  const uint64_t before = pair.received(pair.b);
  pair.world.pause(pair.b);
  pair.world.run_for(5s);
  pair.world.resume(pair.b);
  CHECK(pair.received(pair.b) == before + 10);
  CHECK(pair.world.statistics().datagrams_overflowed > 30);
}

TEST_CASE("a paused process is joined when it goes on") {
  Pair pair;
  pair.world.pause(pair.a);
  pair.world.join(pair.b, {pair.a});
  pair.world.run_for(2s);
  CHECK(pair.recorder.joins.empty());
  pair.world.resume(pair.a);
  pair.world.run_for(10ms);
  REQUIRE(pair.recorder.joins.size() == 1);
  CHECK(pair.recorder.joins[0].ok);
}

TEST_CASE("a restart with state keeps id and disk and a fresh one neither") {
  Pair pair;
  pair.meet();
  REQUIRE(pair.world.send_event(pair.a, "event", "one"));
  pair.world.run_for(1s);
  CHECK(pair.recorder.events.size() == 2);
  const membership::NodeId id = pair.world.host(pair.b).id;
  CHECK(pair.world.host(pair.b).disk.events() == 1);
  CHECK(pair.world.host(pair.b).disk.progress() == 1);
  pair.world.crash(pair.b);
  pair.world.run_for(1s);
  pair.world.restart(pair.b);
  CHECK(pair.world.host(pair.b).id == id);
  CHECK(pair.world.host(pair.b).epoch == 2);
  CHECK(pair.world.node(pair.b).statistics().events_accepted == 1);
  CHECK(pair.world.node(pair.b).clocks().event == 1);
  pair.world.restart_fresh(pair.b, {pair.a});
  CHECK(pair.world.host(pair.b).id != id);
  CHECK(pair.world.node(pair.b).statistics().events_accepted == 0);
  CHECK(pair.world.node(pair.b).clocks().event == 0);
}

TEST_CASE("a moved process is refused at its old address") {
  Pair pair;
  pair.meet();
  pair.world.crash(pair.b);
  pair.world.restart_moved(pair.b);
  CHECK(pair.world.host(pair.b).address == address_of(pair.b, 1));
  const uint64_t before = pair.refused(pair.a);
  pair.world.run_for(1s);
  CHECK(pair.refused(pair.a) >= before + 5);
}

TEST_CASE("a process that left stops and its host stays") {
  Pair pair;
  pair.meet();
  pair.world.leave(pair.b);
  pair.world.run_for(1s);
  CHECK_FALSE(pair.world.running(pair.b));
  CHECK(pair.world.host(pair.b).left);
  CHECK(pair.world.host(pair.b).up);
  REQUIRE(pair.recorder.stops.size() == 1);
  CHECK(pair.recorder.stops[0].second == StopKind::kLeft);
}

TEST_CASE("commands come at their time") {
  Pair pair;
  std::vector<Duration> times;
  pair.world.at(kStart + 30ms, [&] { times.push_back(pair.world.now() - kStart); });
  pair.world.at(kStart + 10ms, [&] { times.push_back(pair.world.now() - kStart); });
  pair.world.run_for(20ms);
  CHECK(times == std::vector<Duration>{10ms});
  CHECK(pair.world.now() == kStart + 20ms);
  pair.world.run_for(20ms);
  CHECK(times == std::vector<Duration>{10ms, 30ms});
}

TEST_CASE("a blocked process neither sends nor receives while its timers run") {
  Pair pair;
  pair.meet();
  pair.world.run_for(1s);
  const uint64_t heard = pair.received(pair.b);
  const uint64_t heard_by_a = pair.received(pair.a);
  const uint64_t ticks = pair.world.node(pair.b).statistics().probes;
  pair.world.block(pair.b);
  CHECK_FALSE(pair.world.usable(pair.b));
  pair.world.run_for(5s);
  CHECK(pair.received(pair.b) == heard);
  CHECK(pair.received(pair.a) <= heard_by_a + 1);
  CHECK(pair.world.node(pair.b).statistics().probes >= ticks + 49);
  pair.world.unblock(pair.b);
  CHECK(pair.received(pair.b) >= heard + 49);
  pair.world.run_for(10ms);
  CHECK(pair.received(pair.a) >= heard_by_a + 49);
  pair.world.block(pair.b);
  pair.world.pause(pair.b);
  pair.world.unblock(pair.b);
  const uint64_t held = pair.received(pair.a);
  pair.world.run_for(5s);
  CHECK(pair.received(pair.a) == held);
  pair.world.resume(pair.b);
  CHECK(pair.world.usable(pair.b));
}

TEST_CASE("a slow process works its inputs off one by one") {
  Pair pair;
  pair.meet();
  pair.world.run_for(1s);
  uint64_t heard = pair.received(pair.b);
  uint64_t ticks = pair.world.node(pair.b).statistics().probes;
  pair.world.slow_down(pair.b, 10ms);  // 20 inputs and timers a second: a fifth of its time
  pair.world.run_for(10s);
  CHECK(pair.received(pair.b) >= heard + 98);
  CHECK(pair.world.node(pair.b).statistics().probes >= ticks + 85);
  heard = pair.received(pair.b);
  ticks = pair.world.node(pair.b).statistics().probes;
  pair.world.slow_down(pair.b, 500ms);  // 10 datagrams a second come, 2 are worked off
  pair.world.run_for(10s);
  CHECK(pair.received(pair.b) <= heard + 21);
  CHECK(pair.received(pair.b) >= heard + 19);
  CHECK(pair.world.node(pair.b).statistics().probes <= ticks + 1);
  pair.world.slow_down(pair.b, 0ms);
  pair.world.run_for(600ms);
  CHECK(pair.received(pair.b) >= heard + 100);
}

TEST_CASE("a fast clock fires more timers and a jump forward makes the next one due") {
  Pair pair;
  pair.world.set_clock_skew(pair.a, 500'000);
  pair.world.set_clock_skew(pair.b, -500'000);
  pair.world.run_for(10s);
  const auto ticks = [&](NodeIndex node) { return pair.world.node(node).statistics().probes; };
  CHECK(ticks(pair.a) >= 147);
  CHECK(ticks(pair.a) <= 150);
  CHECK(ticks(pair.b) >= 48);
  CHECK(ticks(pair.b) <= 50);
  const uint64_t before = ticks(pair.b);
  pair.world.jump_clock(pair.b, 1h);
  pair.world.run_for(1ms);
  CHECK(ticks(pair.b) == before + 1);
  pair.world.run_for(1s);
  CHECK(ticks(pair.b) <= before + 7);
}

TEST_CASE("nothing is kept on a full disk and no process starts on it") {
  Pair pair;
  pair.meet();
  pair.world.fill_disk(pair.b);
  REQUIRE(pair.world.send_event(pair.a, "event", "one"));
  pair.world.run_for(1s);
  CHECK(pair.recorder.events.size() == 2);
  CHECK(pair.world.host(pair.a).disk.events() == 1);
  CHECK(pair.world.host(pair.b).disk.events() == 0);
  pair.world.restart(pair.b);
  pair.world.run_for(10s);
  CHECK_FALSE(pair.world.running(pair.b));
  pair.world.free_disk(pair.b);
  CHECK(pair.world.running(pair.b));
  REQUIRE(pair.world.send_event(pair.b, "event", "two"));
  CHECK(pair.world.host(pair.b).disk.events() == 1);
}

TEST_CASE("a flapping host hears half") {
  Pair pair;
  pair.meet();
  const uint64_t before = pair.received(pair.b);
  pair.world.flap(pair.b, 2s);
  pair.world.run_for(20s);
  CHECK(pair.received(pair.b) >= before + 90);
  CHECK(pair.received(pair.b) <= before + 110);
  pair.world.flap(pair.b, 0s);
  CHECK_FALSE(pair.world.network().wire(pair.b).down);
}

TEST_CASE("a clogged host loses its links one by one and gets them back") {
  World world{WorldOptions()};
  for (int i = 0; i < 9; ++i) world.add_node();
  world.clog(0, 10s);
  uint32_t most = 0;
  for (int i = 0; i < 100; ++i) {
    const uint32_t before = world.network().wire(0).cuts;
    world.run_for(100ms);
    const uint32_t cuts = world.network().wire(0).cuts;
    CHECK(std::max(before, cuts) - std::min(before, cuts) <= 2);
    most = std::max(most, cuts);
  }
  CHECK(most == 16);
  CHECK(world.network().wire(0).cuts == 0);
  world.clog(1, 10s);
  world.run_for(5s);
  world.end_faults();
  world.run_for(10s);
  CHECK(world.network().wire(1).cuts == 0);
  CHECK_FALSE(world.network().wire(1).unsteady);
}

TEST_CASE("zones are kept apart") {
  WorldOptions options;
  options.links = LinkModel::wan();
  World world(options);
  for (int i = 0; i < 20; ++i) world.add_node();
  const Network& network = world.network();
  world.partition_zones();
  for (NodeIndex a = 0; a < 20; ++a) {
    for (NodeIndex b = 0; b < 20; ++b) {
      CHECK(network.passes(a, b) == (network.zone(a) == network.zone(b)));
    }
  }
  world.partition_zone(network.zone(0));
  for (NodeIndex a = 0; a < 20; ++a) {
    CHECK(network.passes(a, 0) == (network.zone(a) == network.zone(0)));
  }
  world.heal();
  CHECK(network.passes(0, 19));
}

/// Says its name to its neighbour every second, and stops when it is told to leave.
class Model : public Process {
 public:
  Model(NodeIndex node, TimePoint now) : peer_(address_of(node ^ 1U, 0)), due_(now + 1s) {}
  void receive_datagram(TimePoint, const Address&, std::string_view) override { ++heard_; }
  void datagram_refused(TimePoint, const Address&) override {}
  void stream_opened(TimePoint, membership::StreamId) override {}
  void stream_accepted(TimePoint, membership::StreamId, const Address&) override {}
  void receive_stream(TimePoint, membership::StreamId, std::string_view) override {}
  void stream_closed(TimePoint, membership::StreamId, membership::StreamEnd) override {}
  void advance(TimePoint now) override {
    due_ = now + 1s;
    actions_.emplace_back(membership::SendDatagram{peer_, "here"});
  }
  [[nodiscard]] TimePoint next_deadline() const override { return due_; }
  [[nodiscard]] membership::Actions take_actions() override { return std::exchange(actions_, {}); }
  void join(TimePoint, const std::vector<Address>&, bool) override {}
  void leave(TimePoint) override { actions_.emplace_back(membership::LeaveDone{}); }
  [[nodiscard]] size_t alive_count() const override { return 1 + heard_; }

 private:
  Address peer_;
  TimePoint due_;
  size_t heard_ = 0;
  membership::Actions actions_;
};

TEST_CASE("a model of another protocol runs in the same world") {
  WorldOptions options;
  options.make_process = [](NodeIndex node, const membership::Options&, const membership::Identity&,
                            Random, TimePoint now, const membership::Restored&) {
    return std::make_unique<Model>(node, now);
  };
  Pair pair(options);
  pair.world.run_for(10500ms);
  CHECK(pair.world.process(pair.a).alive_count() == 11);
  CHECK(pair.world.host(pair.a).node == nullptr);
  CHECK_FALSE(pair.world.send_event(pair.a, "event", "payload"));
  CHECK_FALSE(pair.world.set_tags(pair.a, {}));
  pair.world.leave(pair.b);
  CHECK_FALSE(pair.world.running(pair.b));
}

TEST_CASE("equal seeds give equal traces") {
  const auto trace = [](uint64_t seed) {
    WorldOptions options;
    options.seed = seed;
    options.links.loss = 0.2;
    Pair pair(options);
    pair.world.join(pair.b, {pair.a});
    pair.world.run_for(5s);
    pair.world.pause(pair.a);
    pair.world.run_for(1s);
    pair.world.resume(pair.a);
    pair.world.run_for(5s);
    return pair.world.trace_hash();
  };
  CHECK(trace(1) == trace(1));
  CHECK(trace(1) != trace(2));
}

}  // namespace
}  // namespace starling::simulation
