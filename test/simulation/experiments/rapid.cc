// SPDX-License-Identifier: Apache-2.0
//
// Rapid's scenarios (Suresh et al., ATC 2018, section 7): one member in a hundred has a bad
// network; what becomes of it, and of the others.
#include <set>

#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

constexpr Duration kLength = 300s;
constexpr Duration kFlip = 20s;

enum class Trouble : uint8_t { kDeaf, kFlipFlop, kIngressLoss, kEgressLoss };
constexpr Trouble kTroubles[] = {Trouble::kDeaf, Trouble::kFlipFlop, Trouble::kIngressLoss,
                                 Trouble::kEgressLoss};

const char* name_of(Trouble trouble) {
  switch (trouble) {
    case Trouble::kDeaf:
      return "one-way (ingress 100 %)";
    case Trouble::kFlipFlop:
      return "flip-flop (20 s)";
    case Trouble::kIngressLoss:
      return "ingress loss 80 %";
    case Trouble::kEgressLoss:
      return "egress loss 80 %";
  }
  return "";
}

struct Work {
  size_t contender;
  size_t size;
  Trouble trouble;
  uint64_t seed;
};

struct Cell {
  std::vector<double> removed;  ///< seconds until most of the healthy had removed a faulty one
  size_t faulty = 0;
  size_t faulty_events = 0;   ///< failures of faulty members told at healthy ones
  size_t healthy_events = 0;  ///< failures of healthy members told anywhere
  size_t healthy_at_healthy = 0;
  size_t healthy_members = 0;  ///< of these
  double messages = 0;
  double bytes = 0;
  double member_seconds = 0;
};

void set_trouble(Lab& lab, const std::vector<NodeIndex>& faulty, Trouble trouble, bool on) {
  lab.world.change_links([&](Network& network) {
    for (const NodeIndex node : faulty) {
      if (trouble == Trouble::kEgressLoss) {
        network.set_egress_loss(node, on ? 0.8 : 0);
      } else {
        network.set_ingress_loss(node, on ? (trouble == Trouble::kIngressLoss ? 0.8 : 1) : 0);
      }
    }
  });
}

void count_failures(const Lab& lab, const std::vector<NodeIndex>& faulty, TimePoint begin,
                    bool verbose, uint64_t seed, Cell& cell) {
  const std::set<NodeIndex> bad(faulty.begin(), faulty.end());
  std::map<NodeIndex, std::map<NodeIndex, TimePoint>> removals;
  std::set<NodeIndex> victims;
  for (const FailureLog::Failure& failure : lab.log.failures()) {
    if (bad.contains(failure.about)) {
      if (bad.contains(failure.by)) continue;
      ++cell.faulty_events;
      removals[failure.about].emplace(failure.by, failure.at);
      continue;
    }
    ++cell.healthy_events;
    if (!bad.contains(failure.by)) ++cell.healthy_at_healthy;
    victims.insert(failure.about);
    if (verbose) print_failure(failure, seed, begin, bad.contains(failure.by));
  }
  cell.healthy_members = victims.size();
  cell.faulty = faulty.size();
  for (const auto& [node, by] : removals) {
    if (by.size() * 2 <= lab.members() - bad.size()) continue;
    std::vector<double> times;
    for (const auto& [observer, at] : by) times.push_back(seconds(at - begin));
    cell.removed.push_back(*quantile(times, 0.5));
  }
}

Cell run_cell(const Contender& contender, const Work& work, size_t members, bool verbose) {
  Cell cell;
  Lab lab(contender, work.seed, members);
  if (!lab.settle()) return cell;
  const std::vector<NodeIndex> faulty = lab.draw(std::max<size_t>(members / 100, 1));
  const TimePoint begin = lab.world.now();
  const Traffic before = lab.traffic();
  for (Duration at{}; at < kLength; at += kFlip) {
    const bool on = work.trouble != Trouble::kFlipFlop || (at / kFlip) % 2 == 0;
    set_trouble(lab, faulty, work.trouble, on);
    lab.world.run_until(begin + std::min(at + kFlip, kLength));
  }
  const Traffic sent = lab.traffic() - before;
  cell.messages = sent.messages();
  cell.bytes = sent.bytes();
  cell.member_seconds = seconds(kLength) * static_cast<double>(members);
  count_failures(lab, faulty, begin, verbose, work.seed, cell);
  return cell;
}

/// The cells of one row together; counts are per run.
std::vector<std::string> row_of(const std::string& name, const std::vector<const Cell*>& cells,
                                double* events) {
  std::vector<double> removed;
  std::vector<double> healthy;
  size_t faulty = 0;
  size_t worst = 0;
  Cell sum;
  for (const Cell* cell : cells) {
    removed.insert(removed.end(), cell->removed.begin(), cell->removed.end());
    faulty += cell->faulty;
    healthy.push_back(static_cast<double>(cell->healthy_events));
    worst = std::max(worst, cell->healthy_events);
    sum.faulty_events += cell->faulty_events;
    sum.healthy_events += cell->healthy_events;
    sum.healthy_at_healthy += cell->healthy_at_healthy;
    sum.healthy_members += cell->healthy_members;
    sum.messages += cell->messages;
    sum.bytes += cell->bytes;
    sum.member_seconds += cell->member_seconds;
  }
  const auto runs = static_cast<double>(cells.size());
  *events = static_cast<double>(sum.healthy_events) / runs;
  return {name,
          std::to_string(removed.size()) + "/" + std::to_string(faulty),
          figure(quantile(removed, 0.5)),
          figure(static_cast<double>(sum.faulty_events) / runs),
          figure(*events),
          figure(quantile(healthy, 0.5)),
          std::to_string(worst),
          figure(static_cast<double>(sum.healthy_at_healthy) / runs),
          figure(static_cast<double>(sum.healthy_members) / runs),
          figure(sum.messages / sum.member_seconds),
          figure(sum.bytes / sum.member_seconds)};
}

}  // namespace

int run_rapid(const ExperimentOptions& options) {
  const unsigned seeds = options.seeds > 0 ? options.seeds : options.quick ? 2 : 20;
  std::vector<size_t> sizes = options.members;
  if (sizes.empty())
    sizes = options.quick ? std::vector<size_t>{100} : std::vector<size_t>{200, 1000};
  const auto contenders =
      chosen({serf(),
              {.name = "Lifeguard (a5 b6)", .memberlist = MemberlistOptions::lifeguard()},
              starling()},
             options.rows);
  std::vector<Work> work;
  for (size_t size = 0; size < sizes.size(); ++size) {
    for (const Trouble trouble : kTroubles) {
      for (size_t contender = 0; contender < contenders.size(); ++contender) {
        for (unsigned run = 0; run < seeds; ++run) {
          work.push_back({contender, size, trouble, options.first_seed + run});
        }
      }
    }
  }
  std::vector<Cell> cells(work.size());
  run_all("rapid", work.size(), options.jobs, [&](size_t i) {
    cells[i] =
        run_cell(contenders[work[i].contender], work[i], sizes[work[i].size], options.verbose);
  });

  Report report(
      "rapid", options, seeds,
      "One member in a hundred has a bad network for 300 s: hears nothing; hears nothing "
      "for 20 s out of 40;\nloses 80 % of what comes in; of what goes out. 'removed': "
      "faulty members that most of the others had\nremoved, and the median second at "
      "which one had. Failures are counted where they are told, per run:\nof faulty "
      "members at healthy ones; of healthy members anywhere (mean, median, most), at "
      "healthy ones,\nand how many healthy members it was. Messages and bytes: per member "
      "per second.");
  for (size_t size = 0; size < sizes.size(); ++size) {
    std::vector<std::vector<std::string>> rows = {{"", "removed", "after s", "of faulty",
                                                   "of healthy", "median", "most", "at healthy",
                                                   "members", "messages/s", "bytes/s"}};
    BarChart chart{
        .title = "Failures of healthy members in 300 s, N = " + std::to_string(sizes[size]),
        .y_label = "failures told, mean per run",
        .logarithmic = true};
    for (const Contender& contender : contenders) chart.series.push_back({contender.name, {}});
    for (const Trouble trouble : kTroubles) {
      chart.groups.emplace_back(name_of(trouble));
      for (size_t contender = 0; contender < contenders.size(); ++contender) {
        std::vector<const Cell*> row;
        for (size_t i = 0; i < work.size(); ++i) {
          if (work[i].contender == contender && work[i].size == size && work[i].trouble == trouble)
            row.push_back(&cells[i]);
        }
        double events = 0;
        rows.push_back(row_of(std::string(name_of(trouble)) + ", " + contenders[contender].name,
                              row, &events));
        chart.series[contender].values.push_back(events);
      }
    }
    report.add_table("N = " + std::to_string(sizes[size]), rows);
    report.add_chart(std::move(chart));
  }
  return report.finish();
}

}  // namespace starling::simulation
