// SPDX-License-Identifier: Apache-2.0
//
// The checker is checked: for each invariant there is a mistake in the core that breaks it, in a
// scenario that is clean without the mistake.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "test/catch.h"
#include "test/simulation/checker.h"
#include "test/simulation/hostile.h"
#include "test/simulation/planted/plant.h"
#include "test/simulation/scenario.h"
#include "test/simulation/world.h"

namespace starling::simulation {
namespace {

using membership::PlantedBug;
using membership::QueryOptions;

using Violations = std::vector<Violation>;

/// A cluster whose members need not agree: with a bug they may never do.
struct Stage {
  explicit Stage(size_t count, const WorldOptions& options = {})
      : world(options), checker(world, CheckerOptions()) {
    for (NodeIndex node = 0; node < count; ++node) {
      world.add_node({}, {{"role", std::string(300, 'r')}});
      if (node > 0) world.join(node, {0});
      world.run_for(50ms);
    }
    world.run_for(12s);  // after this nobody counts as new
  }
  Violations end(Duration bound) {
    checker.require_convergence(bound);
    checker.check_quiescence();
    return checker.violations();
  }

  World world;
  Checker checker;
};

void set_noise(World& world, double loss, double duplication, double reordering) {
  world.change_links([&](Network& network) {
    network.model().loss = loss;
    network.model().duplication = duplication;
    network.model().reordering = reordering;
  });
}

QueryOptions question() {
  QueryOptions query;
  query.name = "status";
  query.payload = "x";
  return query;
}

// --- members ---

/// Each stops for a while, but not for long enough to be taken for failed.
Violations short_pauses() {
  Stage stage(8);
  for (NodeIndex node = 1; node < 4; ++node) {
    stage.world.pause(node);
    stage.world.run_for(2s);
    stage.world.resume(node);
    stage.world.run_for(4s);
  }
  return stage.end(20s);
}

Violations long_pause() {
  Stage stage(8);
  stage.world.pause(3);
  stage.world.run_for(20s);
  stage.world.resume(3);
  return stage.end(30s);
}

/// A member that is only cut off is made to leave.
Violations left_by_others() {
  Stage stage(8);
  stage.world.partition({{3}});
  stage.world.run_for(20s);
  (void)stage.world.force_leave(0, "node-3");
  stage.world.run_for(1s);
  stage.world.heal();
  stage.world.run_for(10s);
  return stage.end(30s);
}

/// Many versions of each member, on a network that repeats and reorders.
Violations many_tags() {
  Stage stage(8);
  set_noise(stage.world, 0, 0.3, 0.3);
  for (int round = 0; round < 20; ++round) {
    for (NodeIndex node = 0; node < 4; ++node) {
      (void)stage.world.set_tags(node, {{"round", std::to_string(round)}});
      stage.world.run_for(5ms);
    }
  }
  stage.world.run_for(5s);
  set_noise(stage.world, 0, 0, 0);
  return stage.end(20s);
}

/// Each half takes the other for failed; then they meet again.
Violations halves() {
  Stage stage(8);
  stage.world.partition({{0, 1, 2, 3}});
  stage.world.run_for(20s);
  stage.world.heal();
  return stage.end(60s);
}

/// Who was cut off tells of a member that has failed meanwhile.
Violations told_of_the_dead() {
  Stage stage(20);
  stage.world.change_links([](Network& network) {
    for (NodeIndex other = 0; other < 19; ++other) {
      network.cut(19, other);
      network.cut(other, 19);
    }
  });
  stage.world.crash(3, StopKind::kCrash);
  const auto noticed = [&] {
    const auto member = stage.world.node(0).member("node-3");
    return member && member->status == membership::Status::kFailed;
  };
  (void)stage.world.run_while_not(noticed, 20s, 1ms);
  // Newcomers hear of it from one who does not know, and tell others.
  for (int i = 0; i < 8; ++i) {
    stage.world.join(stage.world.add_node(), {19, 0});
    stage.world.run_for(100ms);
  }
  stage.world.change_links([](Network& network) { network.mend_all(); });
  return stage.end(30s);
}

/// Many are suspected at once, and refute.
Violations refuted_together() {
  Stage stage(20);
  for (NodeIndex node = 1; node < 10; ++node) stage.world.pause(node);
  stage.world.run_for(2400ms);
  for (NodeIndex node = 1; node < 10; ++node) stage.world.resume(node);
  stage.world.run_for(5s);
  return stage.end(20s);
}

Violations silent_crash() {
  Stage stage(8);
  stage.world.crash(3, StopKind::kHostDown);
  stage.world.run_for(60s);
  return stage.end(10s);
}

/// A member is made to leave while packets that accuse it are still under way.
Violations left_while_suspected() {
  Stage stage(8);
  stage.world.crash(3, StopKind::kHostDown);
  stage.world.change_links([](Network& network) {
    network.model().reordering = 0.2;
    network.model().reorder_delay = 8s;
  });
  const auto noticed = [&] {
    const auto member = stage.world.node(0).member("node-3");
    return member && member->status == membership::Status::kFailed;
  };
  (void)stage.world.run_while_not(noticed, 20s, 1ms);
  set_noise(stage.world, 0, 0, 0);
  (void)stage.world.force_leave(0, "node-3");
  stage.world.run_for(20s);
  return stage.end(10s);
}

/// A member fails, comes back, and is there for longer than failed ones are kept.
Violations back_for_good() {
  WorldOptions options;
  options.node.reconnect_timeout = 30s;
  Stage stage(8, options);
  stage.world.crash(3);
  stage.world.run_for(10s);
  stage.world.restart(3);
  stage.world.run_for(40s);
  return stage.end(10s);
}

/// A member is heard by nobody, and hears others now and then.
Violations unheard() {
  WorldOptions options;
  options.node.guards.deaf = false;  // else what it hears now and then gives the others more time
  Stage stage(8, options);
  stage.world.change_links([](Network& network) { network.set_egress_loss(5, 1.0); });
  stage.world.run_for(60s);
  stage.world.change_links([](Network& network) { network.set_egress_loss(5, 0); });
  return stage.end(60s);
}

/// A member leaves while packets that show it alive are still under way.
Violations left_under_way() {
  Stage stage(8);
  stage.world.change_links([](Network& network) {
    network.model().reordering = 0.3;
    network.model().reorder_delay = 3s;
  });
  (void)stage.world.set_tags(3, {{"round", "last"}});
  stage.world.run_for(20ms);
  stage.world.leave(3);
  stage.world.run_for(1s);
  set_noise(stage.world, 0, 0, 0);
  stage.world.run_for(5s);
  return stage.end(30s);
}

/// One of them lies.
Violations told_lies(const std::vector<Lie>& lies) {
  Stage stage(8);
  membership::Random random(5);
  for (int round = 0; round < 50; ++round) {
    tell_lies(stage.world, 2, lies, random);
    stage.world.run_for(100ms);
  }
  return stage.end(30s);
}

Violations forged_leaves() {
  return told_lies({Lie::kLeft});
}

Violations forged_versions() {
  return told_lies({Lie::kOtherKey});
}

Violations forged_events() {
  return told_lies({Lie::kEvent});
}

Violations last_versions() {
  return told_lies({Lie::kLastVersion});
}

Violations orders_to_leave() {
  return told_lies({Lie::kOrder});
}

Violations twins() {
  Stage stage(5);
  const NodeIndex twin = stage.world.add_node("node-3");
  stage.world.join(twin, {0});
  stage.world.run_for(20s);
  stage.checker.check_quiescence();
  return stage.checker.violations();
}

Violations long_rest() {
  Stage stage(4);
  stage.world.run_for(90s);
  return stage.end(10s);
}

Violations at_rest() {
  Stage stage(8);
  stage.world.run_for(5s);
  return stage.end(10s);
}

// --- events ---

Violations events_under_noise() {
  Stage stage(8);
  set_noise(stage.world, 0.1, 0.3, 0.3);
  for (int i = 0; i < 20; ++i) {
    (void)stage.world.send_event(static_cast<NodeIndex>(i % 3), "name", std::to_string(i));
    stage.world.run_for(100ms);
  }
  set_noise(stage.world, 0, 0, 0);
  return stage.end(20s);
}

Violations events_in_a_burst() {
  Stage stage(8);
  set_noise(stage.world, 0.2, 0.3, 0.3);
  for (int i = 0; i < 40; ++i) {
    (void)stage.world.send_event(static_cast<NodeIndex>(i % 3), "name", std::to_string(i));
  }
  stage.world.run_for(1s);
  set_noise(stage.world, 0, 0, 0);
  return stage.end(20s);
}

Violations events_and_restarts() {
  Stage stage(6);
  for (int i = 0; i < 3; ++i) {
    for (int burst = 0; burst < 3; ++burst) {
      (void)stage.world.send_event(3, "name", "payload");
      stage.world.run_for(100ms);
    }
    stage.world.crash(3);
    stage.world.run_for(100ms);
    stage.world.restart(3);
    stage.world.run_for(5s);
  }
  return stage.end(20s);
}

Violations more_events_than_kept() {
  WorldOptions options;
  options.node.event_retention_count = 5;
  Stage stage(4, options);
  for (int i = 0; i < 10; ++i) (void)stage.world.send_event(1, "name", "payload");
  stage.world.run_for(6s);
  return stage.end(20s);
}

/// Who is down when a member sends its first event.
Violations events_while_down() {
  Stage stage(6);
  stage.world.crash(3);
  stage.world.run_for(5s);
  (void)stage.world.send_event(1, "name", "payload");
  stage.world.run_for(1s);
  stage.world.restart(3);
  stage.world.run_for(10s);
  return stage.end(20s);
}

/// One member is cut off when it sends its first event, while another sends its tenth.
Violations event_of_the_past() {
  WorldOptions options;
  options.sweep_interval = 500ms;
  Stage stage(8, options);
  stage.world.partition({{3}});
  (void)stage.world.send_event(3, "island", "payload");
  for (int i = 0; i < 10; ++i) (void)stage.world.send_event(5, "mainland", "payload");
  stage.world.run_for(2s);
  stage.world.heal();
  stage.world.run_for(10s);
  return stage.end(20s);
}

Violations event_among_three() {
  Stage stage(3);
  (void)stage.world.send_event(1, "name", "payload");
  stage.world.run_for(11s);
  return stage.end(10s);
}

/// A calm network with nothing to help the broadcast tree but what catches up with the lost.
Violations tree_alone() {
  Scenario scenario;
  scenario.nodes = 10;
  scenario.chaos = 1s;
  scenario.world.node.tree_direct_max = 2;
  scenario.world.node.announce_fanout = 0;
  scenario.world.node.sync_after = 10s;
  return run_scenario(scenario).violations;
}

// --- queries ---

Violations query_under_noise() {
  Stage stage(8);
  set_noise(stage.world, 0.1, 0.3, 0.5);
  for (int i = 0; i < 5; ++i) {
    (void)stage.world.send_query(0, question());
    stage.world.run_for(1s);
  }
  set_noise(stage.world, 0, 0, 0);
  stage.world.run_for(10s);
  return stage.end(20s);
}

Violations query_without_answer() {
  Stage stage(5);
  stage.world.set_query_handler([](World&, NodeIndex, const membership::QueryArrived&) {
    return std::optional<HandlerResult>();
  });
  const auto query = stage.world.send_query(0, question());
  if (query) stage.world.run_for(2 * query->timeout + 2s);
  return stage.end(10s);
}

Violations query_with_large_answers() {
  Stage stage(3);
  stage.world.set_query_handler([](World&, NodeIndex, const membership::QueryArrived&) {
    membership::Answer answer;
    answer.payload = std::string(2U << 20, 'z');
    return std::optional<HandlerResult>({1ms, std::move(answer)});
  });
  (void)stage.world.send_query(0, question());
  stage.world.run_for(10s);
  return stage.end(10s);
}

Violations calm() {
  Scenario scenario;
  scenario.nodes = 6;
  scenario.chaos = 1s;
  return run_scenario(scenario).violations;
}

// --- the table ---

struct Case {
  PlantedBug bug;
  const char* invariant;
  Violations (*play)();
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {PlantedBug::kSuspectWithoutTime, "accuracy", short_pauses},
      {PlantedBug::kRefuteWithoutRaising, "accuracy", short_pauses},
      {PlantedBug::kIgnoreAccusations, "accuracy", short_pauses},
      {PlantedBug::kBelieveFailedAtOnce, "accuracy", halves},
      {PlantedBug::kBelieveOneWord, "failure-confirmed", unheard},
      {PlantedBug::kSuspectWithoutTime, "failure-not-early", silent_crash},
      {PlantedBug::kRefuteWithoutRaising, "refutation-once", short_pauses},
      {PlantedBug::kForgetSuspicionTimer, "suspicion-ends", silent_crash},
      {PlantedBug::kNeverProbeAgain, "probe-coverage", long_rest},
      {PlantedBug::kNameClaimedTwice, "name-unique", twins},
      {PlantedBug::kAcceptOlderAlive, "no-resurrection", left_under_way},
      {PlantedBug::kFingerprintNotToggled, "indices-consistent", many_tags},
      {PlantedBug::kKeepForEver, "memory-bounds", more_events_than_kept},
      {PlantedBug::kObeyForceLeave, "self-alive", left_by_others},
      {PlantedBug::kAcceptOlderAlive, "incarnation-monotone", many_tags},
      {PlantedBug::kAliveBeatsFailed, "incarnation-monotone", told_of_the_dead},
      {PlantedBug::kRaiseForOthers, "owner-raises-incarnation", silent_crash},
      {PlantedBug::kCopyHalfOfId, "known-members-only", at_rest},
      {PlantedBug::kAnnounceEveryAlive, "member-event-order", many_tags},
      {PlantedBug::kForgetReapTimer, "member-event-order", back_for_good},
      {PlantedBug::kFailedMeansLeft, "no-false-leave", long_pause},
      {PlantedBug::kBelieveAnySignature, "no-false-leave", forged_leaves},
      {PlantedBug::kBelieveAnySignature, "owner-raises-incarnation", forged_versions},
      {PlantedBug::kBelieveAnyOrigin, "event-known", forged_events},
      {PlantedBug::kBelieveFutureWord, "accuracy", last_versions},
      {PlantedBug::kBelieveForceLeave, "no-false-leave", orders_to_leave},
      {PlantedBug::kFailedBeatsLeft, "left-stays-left", left_while_suspected},
      {PlantedBug::kForgetDedupe, "event-once", events_under_noise},
      {PlantedBug::kSkipGaps, "event-order", events_in_a_burst},
      {PlantedBug::kForgetToSaveProgress, "event-once", events_and_restarts},
      {PlantedBug::kReportIdBeforeCounting, "event-known", events_under_noise},
      {PlantedBug::kSwapStrings, "event-payload", events_under_noise},
      {PlantedBug::kReportIdWithoutEpoch, "event-id-unique", events_and_restarts},
      {PlantedBug::kAdoptHeardClock, "lamport-monotone", event_of_the_past},
      {PlantedBug::kDeafClock, "lamport-order", events_under_noise},
      {PlantedBug::kTickAfterSending, "lamport-order", events_under_noise},
      {PlantedBug::kForgetQuery, "query-once", query_under_noise},
      {PlantedBug::kForgetAcked, "query-answers", query_under_noise},
      {PlantedBug::kForgetQueryDeadline, "query-ends-once", query_without_answer},
      {PlantedBug::kDoubleQueryDeadline, "query-deadline", query_without_answer},
      {PlantedBug::kPiggybackWithoutBudget, "packet-size", refuted_together},
      {PlantedBug::kNoAnswerLimit, "message-size", query_with_large_answers},
      {PlantedBug::kPingOnAck, "message-budget", at_rest},
      {PlantedBug::kLeaveTimerArmed, "timer-budget", event_among_three},
      {PlantedBug::kFingerprintNotToggled, "convergence", many_tags},
      {PlantedBug::kFingerprintNotToggled, "agreement", many_tags},
      {PlantedBug::kNeverProbeAgain, "completeness", silent_crash},
      {PlantedBug::kForgetSuspicionTimer, "completeness", silent_crash},
      {PlantedBug::kTakeProgressForEvents, "event-delivered", events_while_down},
      {PlantedBug::kTreeForgetsRange, "event-in-time", tree_alone},
      {PlantedBug::kAckEndsQuery, "query-complete", calm},
  };
  return list;
}

std::string report(const Violations& violations) {
  std::string text;
  for (const Violation& violation : violations) text += violation.to_string() + '\n';
  return text;
}

TEST_CASE("each planted bug breaks its invariant") {
  for (const Case& row : cases()) {
    const Plant plant(row.bug);
    const Violations violations = row.play();
    INFO(planted_bug_name(row.bug) << " should break " << row.invariant << ":\n"
                                   << report(violations));
    CHECK(std::any_of(violations.begin(), violations.end(), [&](const Violation& violation) {
      return violation.invariant == row.invariant;
    }));
  }
}

TEST_CASE("no invariant is without a planted bug") {
  for (const std::string_view name : invariant_names()) {
    INFO(name);
    CHECK(std::any_of(cases().begin(), cases().end(),
                      [&](const Case& row) { return row.invariant == name; }));
  }
}

TEST_CASE("no planted bug is without an invariant") {
  for (const PlantedBug bug : planted_bugs()) {
    INFO(planted_bug_name(bug));
    CHECK(std::any_of(cases().begin(), cases().end(),
                      [&](const Case& row) { return row.bug == bug; }));
  }
}

TEST_CASE("the same scenarios are clean without a bug") {
  std::set<Violations (*)()> played;
  for (const Case& row : cases()) {
    if (!played.insert(row.play).second) continue;
    INFO("the scenario of " << planted_bug_name(row.bug));
    CHECK(report(row.play()) == "");
  }
}

}  // namespace
}  // namespace starling::simulation
