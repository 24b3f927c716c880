// SPDX-License-Identifier: Apache-2.0
//
// Rapid's bootstrap (Suresh et al., ATC 2018, section 7.1): a seed, and ten seconds after it all
// others at once; how long until every member counts all of them.
#include <set>

#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

constexpr Duration kHeadStart = 10s;
constexpr Duration kLimit = 300s;

struct Work {
  size_t contender;
  size_t size;
  uint64_t seed;
};

struct Cell {
  std::optional<double> agreed;  ///< seconds after the others' start
  size_t sizes = 0;              ///< different numbers of members that were seen, once per second
  Traffic sent;
};

Cell run_cell(const Contender& contender, uint64_t seed, size_t members) {
  Cell cell;
  Lab lab(contender, seed, 1, false);
  lab.world.run_for(kHeadStart);
  const TimePoint begin = lab.world.now();
  for (size_t i = 1; i < members; ++i) {
    // As quickly as a shell starts processes on as many hosts.
    lab.world.at(begin + lab.random_time(100ms), [&lab] {
      const NodeIndex node = lab.world.add_node();
      lab.world.join(node, {0});
    });
  }
  std::set<size_t> sizes;
  TimePoint next_look = begin;
  const bool agreed = lab.world.run_while_not(
      [&] {
        if (lab.world.now() >= next_look) {
          next_look += 1s;
          for (NodeIndex node = 0; node < lab.world.size(); ++node) {
            sizes.insert(lab.world.process(node).alive_count());
          }
        }
        return lab.world.size() == members && lab.agreed();
      },
      kLimit, 50ms);
  if (agreed) cell.agreed = seconds(lab.world.now() - begin);
  cell.sizes = sizes.size();
  cell.sent = lab.traffic();
  return cell;
}

}  // namespace

int run_bootstrap(const ExperimentOptions& options) {
  const unsigned seeds = options.seeds > 0 ? options.seeds : options.quick ? 2 : 20;
  std::vector<size_t> sizes = options.members;
  if (sizes.empty())
    sizes = options.quick ? std::vector<size_t>{100} : std::vector<size_t>{1000, 2000};
  const auto contenders = chosen({serf(), starling()}, options.rows);
  std::vector<Work> work;
  for (size_t size = 0; size < sizes.size(); ++size) {
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      for (unsigned run = 0; run < seeds; ++run) {
        work.push_back({contender, size, options.first_seed + run});
      }
    }
  }
  std::vector<Cell> cells(work.size());
  run_all("bootstrap", work.size(), options.jobs, [&](size_t i) {
    cells[i] = run_cell(contenders[work[i].contender], work[i].seed, sizes[work[i].size]);
  });

  Report report(
      "bootstrap", options, seeds,
      "A seed starts; 10 s later all others within 0.1 s, each joining through it. "
      "'agree': seconds after that until\nall count all members (at most 300 s). 'sizes': "
      "different numbers of members that were seen, looking at\nall once per second. Sent "
      "per member until then. The time that a processor takes is not in the model.");
  std::vector<std::vector<std::string>> rows = {
      {"members", "", "runs", "agreed", "agree p50", "worst", "sizes p50", "messages", "kB"}};
  BarChart chart{.title = "Bootstrap through one seed: until all agree",
                 .y_label = "seconds, median",
                 .logarithmic = true};
  for (const Contender& contender : contenders) chart.series.push_back({contender.name, {}});
  for (size_t size = 0; size < sizes.size(); ++size) {
    chart.groups.push_back("N = " + std::to_string(sizes[size]));
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      std::vector<double> agreed;
      std::vector<double> seen;
      std::vector<double> messages;
      std::vector<double> bytes;
      const auto members = static_cast<double>(sizes[size]);
      for (size_t i = 0; i < work.size(); ++i) {
        if (work[i].contender != contender || work[i].size != size) continue;
        if (cells[i].agreed) agreed.push_back(*cells[i].agreed);
        seen.push_back(static_cast<double>(cells[i].sizes));
        messages.push_back(cells[i].sent.messages() / members);
        bytes.push_back(cells[i].sent.bytes() / members / 1000);
      }
      rows.push_back({std::to_string(sizes[size]), contenders[contender].name,
                      std::to_string(seen.size()), std::to_string(agreed.size()),
                      figure(quantile(agreed, 0.5)), figure(quantile(agreed, 1)),
                      figure(quantile(seen, 0.5)), figure(quantile(messages, 0.5)),
                      figure(quantile(bytes, 0.5))});
      chart.series[contender].values.push_back(quantile(agreed, 0.5));
    }
  }
  report.add_table("Bootstrap", rows);
  report.add_chart(std::move(chart));
  return report.finish();
}

}  // namespace starling::simulation
