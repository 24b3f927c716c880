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
  CHECK((pair.refused(pair.a) >= 9) == expected);
  CHECK((pair.refused(pair.a) == 0) == !expected);
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
  CHECK(pair.refused(pair.a) >= before + 9);
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
