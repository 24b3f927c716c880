// SPDX-License-Identifier: Apache-2.0
//
// Events under everything at once: a third of all packets is lost, members die and come back, the
// network falls apart and heals. The checker compares with the truth: what was accepted reaches
// everybody who is up at the end, once, in the order of its origin.
#include <algorithm>
#include <map>

#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"
#include "test/simulation/scenario.h"

namespace starling::simulation {

namespace {

constexpr double kLoss = 0.3;
constexpr double kChurn = 0.01;  // of the members, a second
constexpr Duration kLength = 20s;
constexpr Duration kDown = 4s;
constexpr unsigned kEventsPerSecond = 10;

Scenario storm(uint64_t seed, size_t members) {
  Scenario scenario;
  scenario.name = "event-storm-" + std::to_string(seed);
  scenario.nodes = members;
  scenario.world.seed = seed;
  scenario.chaos = kLength;
  scenario.checker.pairs = false;  // about members, and a lot of memory
  Random random(mix64(seed ^ 0x73746f726d));
  const auto member = [&] { return static_cast<NodeIndex>(random.below(members)); };
  const auto time = [&](Duration length) {
    return Duration(static_cast<int64_t>(random.unit() * static_cast<double>(length.count())));
  };
  const auto add = [&](Duration at, StepKind kind, std::vector<NodeIndex> nodes, double amount,
                       Duration length) {
    scenario.steps.push_back({at, kind, std::move(nodes), amount, length});
  };
  add(0s, StepKind::kLoss, {}, kLoss, {});
  const auto deaths = static_cast<size_t>(static_cast<double>(members) * kChurn * seconds(kLength));
  for (size_t i = 0; i < std::max<size_t>(deaths, 1); ++i) {
    const NodeIndex dying = member();
    add(time(kLength), random.chance(0.5) ? StepKind::kCrash : StepKind::kHostDown, {dying}, 0,
        kDown);
    scenario.back.push_back(dying);
  }
  for (size_t i = 0; i < kEventsPerSecond * static_cast<size_t>(seconds(kLength)); ++i) {
    add(time(kLength), StepKind::kEvent, {member()}, 0, {});
  }
  // One partition that heals on the way, one that the end of the storm heals.
  for (const Duration begin : {3s, 13s}) {
    std::vector<NodeIndex> side;
    const double share = 0.1 + random.unit() * 0.4;
    for (NodeIndex node = 0; node < members; ++node) {
      if (random.chance(share)) side.push_back(node);
    }
    add(begin + time(2s), StepKind::kPartition, std::move(side), 0, 2s + time(8s));
  }
  std::ranges::sort(scenario.back);
  scenario.back.erase(std::unique(scenario.back.begin(), scenario.back.end()), scenario.back.end());
  return scenario;
}

struct Cell {
  size_t events = 0;
  double recovery = 0;  // seconds
  std::map<std::string, size_t> broken;
};

bool about_events(const std::string& invariant) {
  return invariant.starts_with("event-");
}

}  // namespace

int run_event_storm(const ExperimentOptions& options) {
  const unsigned seeds = options.seeds > 0 ? options.seeds : options.quick ? 2 : 10;
  const size_t members = !options.members.empty() ? options.members.front()
                         : options.quick          ? 60
                                                  : 1000;
  std::vector<Cell> cells(seeds);
  run_all("event-storm", seeds, options.jobs, [&](size_t i) {
    const uint64_t seed = options.first_seed + i;
    const ScenarioResult result = run_scenario(storm(seed, members));
    cells[i].events = result.events;
    cells[i].recovery = seconds(result.recovery);
    for (const Violation& violation : result.violations) {
      ++cells[i].broken[violation.invariant];
      if (options.verbose || about_events(violation.invariant)) {
        std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed),
                     violation.to_string().c_str());
      }
    }
  });

  Report report("event-storm", options, seeds,
                std::to_string(members) +
                    " members; for 20 s 30 % of all datagrams are lost, every second 1 % of the "
                    "members die (half of them without a\nword) and are back 4 s later with what "
                    "is on their disks, two partitions come and heal, and 10 events a second\nare "
                    "sent by random members. Then everything heals. Each event must be at every "
                    "member that is up at the end,\nonce, in the order of its origin (invariants "
                    "event-delivered, event-once, event-order and the others about events).");
  size_t events = 0;
  size_t clean = 0;
  std::vector<double> recovery;
  std::map<std::string, size_t> broken;  // seeds
  for (const Cell& cell : cells) {
    events += cell.events;
    recovery.push_back(cell.recovery);
    const bool ok = std::ranges::none_of(
        cell.broken, [](const auto& entry) { return about_events(entry.first); });
    clean += ok ? 1 : 0;
    for (const auto& [invariant, times] : cell.broken) ++broken[invariant];
  }
  report.add_table(
      "Events in a storm",
      {{"members", "seeds", "events", "seeds with all events everywhere", "agreed after p50",
        "worst"},
       {std::to_string(members), std::to_string(seeds), count(static_cast<double>(events)),
        std::to_string(clean), figure(quantile(recovery, 0.5)) + " s",
        figure(quantile(recovery, 1)) + " s"}});
  for (const auto& [invariant, number] : broken) {
    report.add_note("invariant " + invariant + ": broken by " + std::to_string(number) + " seeds");
  }
  BarChart chart{.title = "Until all members agree after the storm",
                 .y_label = "seconds",
                 .groups = {"median", "worst"},
                 .series = {{std::to_string(members) + " members",
                             {quantile(recovery, 0.5), quantile(recovery, 1)}}}};
  report.add_chart(std::move(chart));
  const int written = report.finish();
  return clean == cells.size() ? written : 1;
}

}  // namespace starling::simulation
