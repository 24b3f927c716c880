// SPDX-License-Identifier: Apache-2.0
//
// Lifeguard's experiments (Dadgar, Phillips, Currey, arXiv 1707.00788, section V): members whose
// processing of messages stands still now and then, all of them at the same instants.
#include <algorithm>
#include <set>

#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

/// How a member stands still: its messages are blocked while its timers run, as Lifeguard's authors
/// did it, or all of it is frozen (SIGSTOP).
enum class Anomaly : uint8_t { kBlock, kFreeze };

struct Cycle {
  size_t count;  ///< members that stand still together
  Duration still;
  Duration running;  ///< between two stillnesses; zero: there is one only
};

struct Work {
  size_t contender;
  Anomaly anomaly;
  Cycle cycle;
  uint64_t seed;
};

struct Cell {
  size_t false_positives = 0;  ///< failures of healthy members, told anywhere
  size_t at_healthy = 0;       ///< of these, told at healthy members
  size_t victims = 0;          ///< healthy members that somebody declared failed
  std::vector<double> first;   ///< from the beginning of a stillness to the first failure told
  std::vector<double> all;     ///< until all healthy members knew
  double messages = 0;
  double bytes = 0;
  double member_seconds = 0;
};

const char* name_of(Anomaly anomaly) {
  return anomaly == Anomaly::kBlock ? "messages blocked, timers run" : "process frozen";
}

void stand_still(Lab& lab, const std::vector<NodeIndex>& nodes, Anomaly anomaly, bool still) {
  for (const NodeIndex node : nodes) {
    if (anomaly == Anomaly::kBlock) {
      still ? lab.world.block(node) : lab.world.unblock(node);
    } else {
      still ? lab.world.pause(node) : lab.world.resume(node);
    }
  }
}

void count_failures(const Lab& lab, const std::vector<NodeIndex>& anomalous, const Work& work,
                    TimePoint begin, bool verbose, Cell& cell) {
  const std::set<NodeIndex> bad(anomalous.begin(), anomalous.end());
  std::set<NodeIndex> victims;
  std::map<NodeIndex, std::map<NodeIndex, TimePoint>> detections;
  for (const FailureLog::Failure& failure : lab.log.failures()) {
    const bool disturbed = bad.contains(failure.by);
    if (bad.contains(failure.about)) {
      if (!disturbed) detections[failure.about].emplace(failure.by, failure.at);
      continue;
    }
    ++cell.false_positives;
    if (!disturbed) ++cell.at_healthy;
    victims.insert(failure.about);
    if (verbose) {
      std::printf("%zu x %.3f s every %.3f s: ", work.cycle.count, seconds(work.cycle.still),
                  seconds(work.cycle.running));
      print_failure(failure, work.seed, begin, disturbed);
    }
  }
  cell.victims = victims.size();
  for (const auto& [node, by] : detections) {
    std::vector<double> times;
    for (const auto& [observer, at] : by) times.push_back(seconds(at - begin));
    cell.first.push_back(*quantile(times, 0));
    if (by.size() == lab.members() - bad.size()) cell.all.push_back(*quantile(times, 1));
  }
}

Cell run_cell(const Contender& contender, const Work& work, size_t members, Duration length,
              bool verbose) {
  Cell cell;
  Lab lab(contender, work.seed, members);
  if (!lab.settle()) return cell;
  const std::vector<NodeIndex> anomalous = lab.draw(work.cycle.count);
  const TimePoint begin = lab.world.now();
  const Traffic before = lab.traffic();
  do {
    stand_still(lab, anomalous, work.anomaly, true);
    lab.world.run_for(work.cycle.still);
    stand_still(lab, anomalous, work.anomaly, false);
    lab.world.run_for(work.cycle.running);
  } while (work.cycle.running > Duration::zero() && lab.world.now() < begin + length);
  // What was begun may end.
  lab.world.run_until(std::max(lab.world.now(), begin + length) + 15s);
  const Traffic sent = lab.traffic() - before;
  cell.messages = sent.messages();
  cell.bytes = sent.bytes();
  cell.member_seconds = seconds(lab.world.now() - begin) * static_cast<double>(members);
  count_failures(lab, anomalous, work, begin, verbose, cell);
  if (verbose) {
    std::printf("%s, %s, seed %llu, %zu x %.3f s every %.3f s: %zu FP, %.1f messages/s\n",
                contender.name.c_str(), name_of(work.anomaly),
                static_cast<unsigned long long>(work.seed), work.cycle.count,
                seconds(work.cycle.still), seconds(work.cycle.running), cell.false_positives,
                cell.messages / cell.member_seconds);
    std::fflush(stdout);
  }
  return cell;
}

struct Sum {
  double runs = 0;
  Cell cell;
};

Sum sum_of(const std::vector<Work>& work, const std::vector<Cell>& cells, size_t contender,
           Anomaly anomaly) {
  Sum sum;
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i].contender != contender || work[i].anomaly != anomaly) continue;
    ++sum.runs;
    const Cell& cell = cells[i];
    sum.cell.false_positives += cell.false_positives;
    sum.cell.at_healthy += cell.at_healthy;
    sum.cell.victims += cell.victims;
    sum.cell.first.insert(sum.cell.first.end(), cell.first.begin(), cell.first.end());
    sum.cell.all.insert(sum.cell.all.end(), cell.all.begin(), cell.all.end());
    sum.cell.messages += cell.messages;
    sum.cell.bytes += cell.bytes;
    sum.cell.member_seconds += cell.member_seconds;
  }
  return sum;
}

struct Grid {
  std::string name;
  std::string about;
  std::vector<Cycle> cycles;
  unsigned runs;  ///< of each cell
  Duration length;
  bool detections;  ///< whether times of detection mean something
};

int run_grid(const Grid& grid, const ExperimentOptions& options) {
  const unsigned runs = options.seeds > 0 ? options.seeds : options.quick ? 1 : grid.runs;
  const size_t members = options.members.empty() ? 128 : options.members.front();
  std::vector<Contender> contenders = lifeguard_rows();
  for (Contender& row : starling_rows()) contenders.push_back(std::move(row));
  contenders = chosen(std::move(contenders), options.rows);
  std::vector<Work> work;
  for (const Anomaly anomaly : {Anomaly::kBlock, Anomaly::kFreeze}) {
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      // Each run has a seed of its own: what all contenders have in common is the cell and its
      // seed.
      uint64_t seed = options.first_seed;
      for (unsigned run = 0; run < runs; ++run) {
        for (const Cycle& cycle : grid.cycles) work.push_back({contender, anomaly, cycle, seed++});
      }
    }
  }
  std::vector<Cell> cells(work.size());
  run_all(grid.name, work.size(), options.jobs, [&](size_t i) {
    cells[i] =
        run_cell(contenders[work[i].contender], work[i], members, grid.length, options.verbose);
  });

  const auto seeds = static_cast<unsigned>(runs * grid.cycles.size());
  Report report(grid.name, options, seeds, grid.about);
  BarChart chart{.title = "False positives about healthy members, N = " + std::to_string(members),
                 .y_label = "failures told, sum over all runs",
                 .logarithmic = true};
  for (const Contender& contender : contenders) chart.series.push_back({contender.name, {}});
  for (const Anomaly anomaly : {Anomaly::kBlock, Anomaly::kFreeze}) {
    chart.groups.emplace_back(name_of(anomaly));
    std::vector<std::vector<std::string>> rows = {
        {"", "runs", "FP", "FP at healthy", "members", "messages/s", "bytes/s"}};
    if (grid.detections) {
      const std::vector<std::string> more = {"detected", "first p50", "p99",  "p99.9",
                                             "all p50",  "p99",       "p99.9"};
      rows[0].insert(rows[0].end(), more.begin(), more.end());
    }
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      const Sum sum = sum_of(work, cells, contender, anomaly);
      const Cell& cell = sum.cell;
      std::vector<std::string> row = {contenders[contender].name,
                                      count(sum.runs),
                                      count(static_cast<double>(cell.false_positives)),
                                      count(static_cast<double>(cell.at_healthy)),
                                      count(static_cast<double>(cell.victims)),
                                      figure(cell.messages / cell.member_seconds),
                                      figure(cell.bytes / cell.member_seconds)};
      if (grid.detections) {
        row.push_back(count(static_cast<double>(cell.first.size())));
        for (const auto* values : {&cell.first, &cell.all}) {
          for (const double share : {0.5, 0.99, 0.999}) {
            row.push_back(figure(quantile(*values, share)));
          }
        }
      }
      rows.push_back(std::move(row));
      chart.series[contender].values.push_back(static_cast<double>(cell.false_positives));
    }
    report.add_table(name_of(anomaly), rows);
  }
  report.add_chart(std::move(chart));
  return report.finish();
}

constexpr const char* kCounting =
    "Failures are counted where they are told: FP are those of members that never stood still, "
    "told "
    "anywhere;\nof these some at members that never stood still; 'members' is how many members "
    "were "
    "declared failed,\nsummed over runs. Messages and bytes: sent per member per second. N = 128 "
    "unless --members says otherwise.";

}  // namespace

int run_lifeguard_interval(const ExperimentOptions& options) {
  Grid grid{
      .name = "lifeguard-interval",
      .about = std::string("Lifeguard's interval experiment: C members stand still for D, run "
                           "for I, and so on for 120 s, then 15 s\nof rest. C 1 4 8 16 32; D "
                           "0.128 0.512 2.048 8.192 16.384 32.768 s; I 0.001 0.064 1.024 "
                           "4.096 16.384 s.\n") +
               kCounting,
      .cycles = {},
      .runs = 4,
      .length = 120s,
      .detections = false};
  for (const size_t count : {1U, 4U, 8U, 16U, 32U}) {
    for (const Duration still : {128ms, 512ms, 2048ms, 8192ms, 16384ms, 32768ms}) {
      for (const Duration running : {1ms, 64ms, 1024ms, 4096ms, 16384ms}) {
        if (options.quick && (count % 16 != 0 || running > 1024ms)) continue;
        grid.cycles.push_back({count, still, running});
      }
    }
  }
  return run_grid(grid, options);
}

int run_lifeguard_threshold(const ExperimentOptions& options) {
  Grid grid{
      .name = "lifeguard-threshold",
      .about = std::string("Lifeguard's threshold experiment: C members stand still once, for "
                           "D; 75 s from its beginning.\nC 1 4 8 16 32; D 0.128 s to 32.768 "
                           "s, doubling. 'detected': failures of members that stood still, "
                           "as told\nby healthy ones: seconds from the beginning to the first "
                           "of them, and to the last when all told.\n") +
               kCounting,
      .cycles = {},
      .runs = 20,
      .length = 60s,
      .detections = true};
  for (const size_t count : {1U, 4U, 8U, 16U, 32U}) {
    for (Duration still = 128ms; still <= 32768ms; still *= 2) {
      if (options.quick && (count % 16 != 0 || still < 8s)) continue;
      grid.cycles.push_back({count, still, Duration::zero()});
    }
  }
  return run_grid(grid, options);
}

}  // namespace starling::simulation
