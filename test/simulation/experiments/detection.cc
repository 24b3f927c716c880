// SPDX-License-Identifier: Apache-2.0
//
// How long a death stays unknown: to the first survivor, and to the last.
#include <algorithm>

#include "test/simulation/experiments/forked.h"
#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

/// Runs per seed and deaths per run: small clusters are run more often. Large ones take minutes to
/// boot: their runs continue from one boot and part there.
struct Plan {
  size_t runs = 1;
  size_t deaths = 8;  ///< half of them silent; at most a tenth of the members
  bool one_boot = false;
};
Plan plan_for(size_t members) {
  if (members <= 50) return {10, 2};
  if (members <= 300) return {5, 4};
  if (members <= 2000) return {2, 8};
  return {1, 8, true};
}

struct Samples {
  std::vector<double> first;
  std::vector<double> last;
};

struct Cell {
  Samples silent;
  Samples killed;
  Traffic rest;
  double member_seconds = 0;
  size_t unknown = 0;  ///< deaths that somebody did not hear of within a minute
};

void kill_one(Lab& lab, NodeIndex victim, StopKind kind, Cell& cell) {
  lab.log.clear();
  const TimePoint death = lab.world.now();
  lab.world.crash(victim, kind);
  size_t survivors = 0;
  for (NodeIndex node = 0; node < lab.world.size(); ++node)
    survivors += lab.world.running(node) ? 1 : 0;
  double first = 0;
  double last = 0;
  size_t seen = 0;
  std::vector<bool> knows(lab.world.size());
  size_t known = 0;
  const bool all = lab.world.run_while_not(
      [&] {
        const auto& failures = lab.log.failures();
        for (; seen < failures.size(); ++seen) {
          if (failures[seen].about != victim || knows[failures[seen].by]) continue;
          knows[failures[seen].by] = true;
          last = seconds(failures[seen].at - death);
          if (++known == 1) first = last;
        }
        return known == survivors;
      },
      90s, 100ms);
  if (!all) ++cell.unknown;
  Samples& samples = kind == StopKind::kHostDown ? cell.silent : cell.killed;
  if (known > 0) samples.first.push_back(first);
  if (all) samples.last.push_back(last);
}

/// A cluster that has settled: rest, then deaths.
Cell observe(Lab& lab) {
  Cell cell;
  const size_t members = lab.members();
  constexpr Duration kRest = 10s;
  const Traffic before = lab.traffic();
  lab.world.run_for(kRest);
  cell.rest = lab.traffic() - before;
  cell.member_seconds = seconds(kRest) * static_cast<double>(members);
  StopKind kind = StopKind::kHostDown;
  for (const NodeIndex victim : lab.draw(plan_for(members).deaths)) {
    lab.world.run_for(3s + lab.random_time(2s));
    kill_one(lab, victim, kind, cell);
    kind = kind == StopKind::kHostDown ? StopKind::kCrash : StopKind::kHostDown;
  }
  return cell;
}

Cell run_cell(const Contender& contender, uint64_t seed, size_t members) {
  Lab lab(contender, seed, members);
  if (lab.settle()) return observe(lab);
  Cell cell;
  ++cell.unknown;
  return cell;
}

constexpr size_t kFieldsOfCell = 6;

std::vector<double> numbers_of(const Cell& cell) {
  std::vector<double> numbers = {cell.rest.datagrams,       cell.rest.datagram_bytes,
                                 cell.rest.stream_messages, cell.rest.stream_bytes,
                                 cell.member_seconds,       static_cast<double>(cell.unknown)};
  for (const Samples* samples : {&cell.silent, &cell.killed}) {
    for (const auto* values : {&samples->first, &samples->last}) {
      numbers.push_back(static_cast<double>(values->size()));
      numbers.insert(numbers.end(), values->begin(), values->end());
    }
  }
  return numbers;
}

Cell cell_of(const std::vector<double>& numbers) {
  Cell cell;
  cell.rest = {numbers.at(0), numbers.at(1), numbers.at(2), numbers.at(3)};
  cell.member_seconds = numbers.at(4);
  cell.unknown = static_cast<size_t>(numbers.at(5));
  size_t at = kFieldsOfCell;
  for (Samples* samples : {&cell.silent, &cell.killed}) {
    for (auto* values : {&samples->first, &samples->last}) {
      const auto size = static_cast<size_t>(numbers.at(at++));
      for (size_t i = 0; i < size; ++i) values->push_back(numbers.at(at++));
    }
  }
  return cell;
}

/// One cell per seed, all from one boot.
std::vector<Cell> run_from_one_boot(const Contender& contender, size_t members, uint64_t first_seed,
                                    size_t seeds, unsigned jobs) {
  Lab lab(contender, first_seed, members);
  if (!lab.settle()) {
    Cell cell;
    ++cell.unknown;
    return {cell};
  }
  const auto results =
      run_forked("detection, " + contender.name + ", " + std::to_string(members) + " members",
                 seeds, jobs, [&](size_t i) {
                   lab.diverge(first_seed + i);
                   lab.world.run_for(lab.random_time(2s));
                   return numbers_of(observe(lab));
                 });
  std::vector<Cell> cells;
  for (const auto& numbers : results) cells.push_back(cell_of(numbers));
  return cells;
}

void append(std::vector<double>& to, const std::vector<double>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/// Adds a run to the sum of its row; what streams carried counts as packets there.
void add(Cell& sum, const Cell& cell) {
  append(sum.silent.first, cell.silent.first);
  append(sum.silent.last, cell.silent.last);
  append(sum.killed.first, cell.killed.first);
  append(sum.killed.last, cell.killed.last);
  sum.rest.datagrams += cell.rest.messages();
  sum.rest.datagram_bytes += cell.rest.bytes();
  sum.member_seconds += cell.member_seconds;
  sum.unknown += cell.unknown;
}

struct Work {
  size_t contender;
  size_t size;
  uint64_t seed;
};

/// The sum of each size and contender: sums[size][contender].
std::vector<std::vector<Cell>> run_cells(const std::vector<Contender>& contenders,
                                         const std::vector<size_t>& sizes, unsigned seeds,
                                         const ExperimentOptions& options) {
  std::vector<std::vector<Cell>> sums(sizes.size(), std::vector<Cell>(contenders.size()));
  std::vector<Work> work;
  for (size_t size = 0; size < sizes.size(); ++size) {
    const Plan plan = plan_for(sizes[size]);
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      for (size_t run = 0; !plan.one_boot && run < seeds * plan.runs; ++run) {
        work.push_back({contender, size, options.first_seed + run});
      }
    }
  }
  std::vector<Cell> cells(work.size());
  run_all("detection", work.size(), options.jobs, [&](size_t i) {
    cells[i] = run_cell(contenders[work[i].contender], work[i].seed, sizes[work[i].size]);
  });
  for (size_t i = 0; i < work.size(); ++i) add(sums[work[i].size][work[i].contender], cells[i]);
  // Alone, for their memory, and because no thread may run while a process is copied.
  for (size_t size = 0; size < sizes.size(); ++size) {
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      if (!plan_for(sizes[size]).one_boot) continue;
      for (const Cell& cell : run_from_one_boot(contenders[contender], sizes[size],
                                                options.first_seed, seeds, options.jobs)) {
        add(sums[size][contender], cell);
      }
    }
  }
  return sums;
}

/// Two rows: silent deaths, with what both have in common, and killed processes.
void add_rows(std::vector<std::vector<std::string>>& rows, size_t members, const std::string& name,
              const Cell& sum) {
  for (const bool silent : {true, false}) {
    const Samples& samples = silent ? sum.silent : sum.killed;
    std::vector<std::string> row = {std::to_string(members), name, silent ? "silent" : "killed",
                                    std::to_string(samples.first.size())};
    for (const auto* values : {&samples.first, &samples.last}) {
      for (const double share : {0.5, 0.99, 0.999}) row.push_back(figure(quantile(*values, share)));
    }
    if (silent) {
      row.push_back(std::to_string(sum.unknown));
      row.push_back(figure(sum.rest.messages() / sum.member_seconds));
      row.push_back(figure(sum.rest.bytes() / sum.member_seconds));
    }
    rows.push_back(std::move(row));
  }
}

std::vector<size_t> sizes_of(const ExperimentOptions& options) {
  if (!options.members.empty()) return options.members;
  if (options.quick) return {30, 100};
  return {30, 100, 1000, 5000, 10000};
}

}  // namespace

int run_detection(const ExperimentOptions& options) {
  const unsigned seeds = options.seeds > 0 ? options.seeds : options.quick ? 2 : 20;
  const std::vector<size_t> sizes = sizes_of(options);
  const auto contenders = chosen({serf(), starling()}, options.rows);
  const auto sums = run_cells(contenders, sizes, seeds, options);

  Report report(
      "detection", options, seeds,
      "LAN links (0.15-0.35 ms one way and jitter), no loss. Members die one after the other: "
      "silently\n(host down), or killed while their host lives on and refuses their port. Small "
      "clusters are run several\ntimes per seed; above 2,000 members the runs of all seeds "
      "continue from one boot. Seconds from the death;\nquantiles over deaths: 'first' until one "
      "survivor tells of it, 'all' until the last does. 'unknown':\ndeaths that somebody had not "
      "heard of within 90 s. Messages and bytes: sent per member per second at rest.");
  std::vector<std::vector<std::string>> rows = {{"members", "", "death", "deaths", "first p50",
                                                 "p99", "p99.9", "all p50", "p99", "p99.9",
                                                 "unknown", "messages/s", "bytes/s"}};
  BarChart first{.title = "First detection of a death, median", .y_label = "seconds"};
  BarChart all{.title = "Known to all, 99th percentile", .y_label = "seconds"};
  for (const char* kind : {"silent", "killed"}) {
    for (const Contender& contender : contenders) {
      first.series.push_back({contender.name + ", " + kind, {}});
      all.series.push_back({contender.name + ", " + kind, {}});
    }
  }
  for (size_t size = 0; size < sizes.size(); ++size) {
    first.groups.push_back("N = " + std::to_string(sizes[size]));
    all.groups.push_back(first.groups.back());
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      const Cell& sum = sums[size][contender];
      add_rows(rows, sizes[size], contenders[contender].name, sum);
      const size_t killed = contenders.size() + contender;
      first.series[contender].values.push_back(quantile(sum.silent.first, 0.5));
      first.series[killed].values.push_back(quantile(sum.killed.first, 0.5));
      all.series[contender].values.push_back(quantile(sum.silent.last, 0.99));
      all.series[killed].values.push_back(quantile(sum.killed.last, 0.99));
    }
  }
  report.add_table("Detection of a death", rows);
  report.add_chart(std::move(first));
  report.add_chart(std::move(all));
  return report.finish();
}

}  // namespace starling::simulation
