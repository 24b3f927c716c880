// SPDX-License-Identifier: Apache-2.0
//
// How long a death stays unknown: to the first survivor, and to the last.
#include <algorithm>

#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

/// Runs per seed and deaths per run: small clusters are run more often, and large ones, which take
/// minutes to boot, see more deaths each.
struct Plan {
  size_t runs = 1;
  size_t deaths = 8;  ///< half of them silent; at most a tenth of the members
};
Plan plan_for(size_t members) {
  if (members <= 50) return {10, 2};
  if (members <= 300) return {5, 4};
  if (members <= 2000) return {2, 8};
  return {1, 40};
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

Cell run_cell(const Contender& contender, uint64_t seed, size_t members) {
  Cell cell;
  Lab lab(contender, seed, members);
  if (!lab.settle()) {
    ++cell.unknown;
    return cell;
  }
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

void append(std::vector<double>& to, const std::vector<double>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

struct Work {
  size_t contender;
  size_t size;
  uint64_t seed;
};

Cell sum_of(const std::vector<Work>& work, const std::vector<Cell>& cells, size_t contender,
            size_t size) {
  Cell sum;
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i].contender != contender || work[i].size != size) continue;
    append(sum.silent.first, cells[i].silent.first);
    append(sum.silent.last, cells[i].silent.last);
    append(sum.killed.first, cells[i].killed.first);
    append(sum.killed.last, cells[i].killed.last);
    sum.rest.datagrams += cells[i].rest.messages();
    sum.rest.datagram_bytes += cells[i].rest.bytes();
    sum.member_seconds += cells[i].member_seconds;
    sum.unknown += cells[i].unknown;
  }
  return sum;
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
  std::vector<Work> work;
  for (size_t size = 0; size < sizes.size(); ++size) {
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      for (size_t run = 0; run < seeds * plan_for(sizes[size]).runs; ++run) {
        work.push_back({contender, size, options.first_seed + run});
      }
    }
  }
  std::vector<Cell> cells(work.size());
  run_all("detection", work.size(), options.jobs, [&](size_t i) {
    cells[i] = run_cell(contenders[work[i].contender], work[i].seed, sizes[work[i].size]);
  });

  Report report(
      "detection", options, seeds,
      "LAN links (0.15-0.35 ms one way and jitter), no loss. Members die one after the "
      "other: silently\n(host down), or killed while their host lives on and refuses "
      "their port. Small clusters are run several\ntimes per seed. Seconds from the "
      "death; quantiles over deaths: 'first' until one survivor tells of it,\n'all' "
      "until the last does. 'unknown': deaths that somebody had not heard of within 90 s. "
      "Messages and\nbytes: sent per member per second at rest.");
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
      const Cell sum = sum_of(work, cells, contender, size);
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
