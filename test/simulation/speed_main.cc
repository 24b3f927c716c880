// SPDX-License-Identifier: Apache-2.0
//
// starling-sim-speed: how fast the simulator runs a calm cluster. Members join through the first
// one over a few seconds, agree, and then have nothing to do but to probe each other.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "test/simulation/checker.h"
#include "test/simulation/world.h"

namespace starling::simulation {
namespace {

double wall() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Of this process, in MiB.
double resident() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == "VmRSS:" && status >> kib) return kib / 1024;
  }
  return 0;
}

void report(const char* phase, World& world, double begin, TimePoint from, uint64_t packets) {
  const double real = wall() - begin;
  const double virtual_time = seconds(world.now() - from);
  const auto sent = static_cast<double>(world.statistics().datagrams_sent - packets);
  std::printf(
      "%-8s %8.2f s virtual %8.2f s real %8.2fx  %9.0f packets/s  %6.2f us/packet %8.0f MiB\n",
      phase, virtual_time, real, virtual_time / real, sent / virtual_time,
      sent > 0 ? real / sent * 1e6 : 0, resident());
  std::fflush(stdout);
}

int run(size_t members, double length, bool pairs, bool checked) {
  World world{WorldOptions()};
  CheckerOptions options;
  options.pairs = pairs;
  const auto checker = checked ? std::make_unique<Checker>(world, options) : nullptr;
  double begin = wall();
  const double spread = 1 + static_cast<double>(members) / 500;
  for (size_t i = 0; i < members; ++i) {
    const NodeIndex node = world.add_node();
    if (node == 0) continue;
    world.at(kStart + Duration(static_cast<int64_t>(world.random().unit() * spread * 1e9)),
             [&world, node] { world.join(node, {0}); });
  }
  const auto agree = [&] {
    for (NodeIndex node = 0; node < world.size(); ++node) {
      if (world.process(node).alive_count() != members) return false;
    }
    return true;
  };
  const bool agreed = world.run_while_not(agree, 300s, 500ms);
  report(agreed ? "boot" : "no boot", world, begin, kStart, 0);
  world.run_for(10s);
  begin = wall();
  const TimePoint from = world.now();
  const uint64_t packets = world.statistics().datagrams_sent;
  world.run_for(Duration(static_cast<int64_t>(length * 1e9)));
  report("steady", world, begin, from, packets);
  if (checker) std::fputs(checker->report().c_str(), stdout);
  return checker && !checker->violations().empty() ? 1 : 0;
}

}  // namespace
}  // namespace starling::simulation

int main(int argc, char** argv) {
  const std::string mode = argc > 3 ? argv[3] : "pairs";
  if (argc < 2 || (mode != "pairs" && mode != "checked" && mode != "unchecked")) {
    std::fputs("usage: starling-sim-speed MEMBERS [SECONDS [pairs|checked|unchecked]]\n", stderr);
    return 2;
  }
  return starling::simulation::run(std::strtoul(argv[1], nullptr, 10),
                                   argc > 2 ? std::strtod(argv[2], nullptr) : 20, mode == "pairs",
                                   mode != "unchecked");
}
