// SPDX-License-Identifier: Apache-2.0
//
// Every link loses packets, steadily: nobody is at fault, so nobody should be declared failed.
#include <set>

#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

constexpr Duration kLength = 300s;
constexpr double kLosses[] = {0.05, 0.1, 0.15, 0.2, 0.25, 0.3};

struct Work {
  size_t contender;
  size_t loss;
  uint64_t seed;
};

struct Cell {
  size_t failures = 0;
  size_t members = 0;
  size_t suspicions = 0;
  Traffic sent;
};

Cell run_cell(const Contender& contender, uint64_t seed, size_t members, double loss,
              bool verbose) {
  Cell cell;
  Lab lab(contender, seed, members);
  if (!lab.settle()) return cell;
  const TimePoint begin = lab.world.now();
  const Traffic before = lab.traffic();
  const uint64_t suspicions = lab.suspicions();
  lab.world.change_links([&](Network& network) { network.model().loss = loss; });
  lab.world.run_for(kLength);
  cell.sent = lab.traffic() - before;
  cell.suspicions = lab.suspicions() - suspicions;
  cell.failures = lab.log.failures().size();
  std::set<NodeIndex> failed;
  for (const FailureLog::Failure& failure : lab.log.failures()) {
    failed.insert(failure.about);
    if (verbose) print_failure(failure, seed, begin, false);
  }
  cell.members = failed.size();
  return cell;
}

}  // namespace

int run_loss(const ExperimentOptions& options) {
  const unsigned seeds = options.seeds > 0 ? options.seeds : options.quick ? 2 : 20;
  const size_t members = options.members.empty() ? 100 : options.members.front();
  const auto contenders = chosen({serf(), starling()}, options.rows);
  std::vector<Work> work;
  for (size_t loss = 0; loss < std::size(kLosses); ++loss) {
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      for (unsigned run = 0; run < seeds; ++run) {
        work.push_back({contender, loss, options.first_seed + run});
      }
    }
  }
  std::vector<Cell> cells(work.size());
  run_all("loss", work.size(), options.jobs, [&](size_t i) {
    cells[i] = run_cell(contenders[work[i].contender], work[i].seed, members, kLosses[work[i].loss],
                        options.verbose);
  });

  Report report(
      "loss", options, seeds,
      std::to_string(members) +
          " members for 300 s; every datagram is lost with the given chance, streams are "
          "delayed by as\nmuch. Nobody is at fault. Failures told and the members that they "
          "were about, sum over all runs;\nsuspicions begun per run, where they are counted; "
          "messages and bytes "
          "sent per member per second.");
  std::vector<std::vector<std::string>> rows = {
      {"loss", "", "runs", "failures", "members", "suspicions", "messages/s", "bytes/s"}};
  BarChart chart{.title = "Failures told under steady loss, N = " + std::to_string(members),
                 .y_label = "failures, sum over " + std::to_string(seeds) + " runs of 300 s",
                 .logarithmic = true};
  for (const Contender& contender : contenders) chart.series.push_back({contender.name, {}});
  const double member_seconds = seconds(kLength) * static_cast<double>(members);
  for (size_t loss = 0; loss < std::size(kLosses); ++loss) {
    const std::string name = figure(kLosses[loss] * 100) + " %";
    chart.groups.push_back(name);
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      Cell sum;
      double runs = 0;
      for (size_t i = 0; i < work.size(); ++i) {
        if (work[i].contender != contender || work[i].loss != loss) continue;
        ++runs;
        sum.failures += cells[i].failures;
        sum.members += cells[i].members;
        sum.suspicions += cells[i].suspicions;
        sum.sent.datagrams += cells[i].sent.messages();
        sum.sent.datagram_bytes += cells[i].sent.bytes();
      }
      rows.push_back(
          {name, contenders[contender].name, count(runs), count(static_cast<double>(sum.failures)),
           count(static_cast<double>(sum.members)),
           contenders[contender].memberlist ? count(static_cast<double>(sum.suspicions) / runs)
                                            : "-",
           figure(sum.sent.messages() / member_seconds / runs),
           figure(sum.sent.bytes() / member_seconds / runs)});
      chart.series[contender].values.push_back(static_cast<double>(sum.failures));
    }
  }
  report.add_table("Steady loss", rows);
  report.add_chart(std::move(chart));
  return report.finish();
}

}  // namespace starling::simulation
