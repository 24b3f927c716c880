// SPDX-License-Identifier: Apache-2.0
//
// What a cluster at rest costs: packets and bytes of a member, and the simulator's speed and
// memory.
#include <malloc.h>

#include <chrono>

#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

constexpr Duration kWarm = 60s;  ///< what a join left behind has gone
constexpr Duration kLength = 20s;

struct Cell {
  bool settled = false;
  double messages = 0;
  double bytes = 0;
  double speed = 0;      ///< virtual seconds per second
  double megabytes = 0;  ///< of the simulator's heap
};

double heap_megabytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd) / 1e6;
}

Cell run_cell(const Contender& contender, uint64_t seed, size_t members) {
  Cell cell;
  const double before_memory = heap_megabytes();
  Lab lab(contender, seed, members);
  cell.settled = lab.settle();
  lab.world.run_for(kWarm);
  const Traffic before = lab.traffic();
  const auto begin = std::chrono::steady_clock::now();
  lab.world.run_for(kLength);
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const Traffic sent = lab.traffic() - before;
  const double member_seconds = seconds(kLength) * static_cast<double>(members);
  cell.messages = sent.messages() / member_seconds;
  cell.bytes = sent.bytes() / member_seconds;
  cell.speed = seconds(kLength) / took;
  cell.megabytes = heap_megabytes() - before_memory;
  return cell;
}

}  // namespace

int run_scale(const ExperimentOptions& options) {
  const unsigned seeds = options.seeds > 0 ? options.seeds : 1;
  std::vector<size_t> sizes = options.members;
  if (sizes.empty()) {
    sizes =
        options.quick ? std::vector<size_t>{100, 300} : std::vector<size_t>{100, 1000, 5000, 10000};
  }
  const auto contenders = chosen({serf(), starling()}, options.rows);

  Report report(
      "scale", options, seeds,
      "A cluster at rest, a minute after all have joined; measured for 20 s. Messages and "
      "bytes: sent per member per\nsecond. Speed: virtual seconds per second, on one core; "
      "memory: the simulator's heap with all members in it.\nThe last two depend on the "
      "machine. Runs are made one after the other, whatever --jobs says.");
  std::vector<std::vector<std::string>> rows = {
      {"members", "", "messages/s", "bytes/s", "speed", "memory MB"}};
  BarChart traffic{.title = "Bytes sent at rest", .y_label = "per member per second"};
  BarChart speed{.title = "Speed of the simulation on one core",
                 .y_label = "times real time",
                 .logarithmic = true};
  for (const Contender& contender : contenders) {
    traffic.series.push_back({contender.name, {}});
    speed.series.push_back({contender.name, {}});
  }
  for (const size_t members : sizes) {
    traffic.groups.push_back("N = " + std::to_string(members));
    speed.groups.push_back(traffic.groups.back());
    for (size_t contender = 0; contender < contenders.size(); ++contender) {
      std::vector<double> columns[4];
      bool settled = true;
      run_all("scale", seeds, 1, [&](size_t run) {
        const Cell cell = run_cell(contenders[contender], options.first_seed + run, members);
        settled = settled && cell.settled;
        columns[0].push_back(cell.messages);
        columns[1].push_back(cell.bytes);
        columns[2].push_back(cell.speed);
        columns[3].push_back(cell.megabytes);
      });
      std::vector<std::string> row = {std::to_string(members), contenders[contender].name};
      for (const auto& column : columns) row.push_back(figure(quantile(column, 0.5)));
      row[4] += "x";
      if (!settled) row[1] += " (not agreed)";
      rows.push_back(std::move(row));
      traffic.series[contender].values.push_back(quantile(columns[1], 0.5));
      speed.series[contender].values.push_back(quantile(columns[2], 0.5));
    }
  }
  report.add_table("At rest", rows);
  report.add_chart(std::move(traffic));
  report.add_chart(std::move(speed));
  return report.finish();
}

}  // namespace starling::simulation
