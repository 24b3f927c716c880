// SPDX-License-Identifier: Apache-2.0
//
// starling-sim swarm: many seeds, and what is said about them.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>

#include "test/simulation/tool/commands.h"
#include "test/simulation/tool/shrink.h"
#include "test/simulation/tool/step_words.h"
#include "test/simulation/tool/swarm_run.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

/// A row for each seed only in ranges up to this size.
constexpr uint64_t kRowsMax = 200;
/// Seeds of which the violations are printed, and which are shrunk.
constexpr uint64_t kToldMax = 20;
constexpr uint64_t kShrunkMax = 3;

using Clock = std::chrono::steady_clock;

class SwarmPrinter {
 public:
  SwarmPrinter(const SwarmCommand& command, const SwarmOptions& swarm)
      : command_(command),
        swarm_(swarm),
        count_(command.last - command.first + 1),
        rows_(!command.failures_only && count_ <= kRowsMax),
        terminal_(::isatty(STDERR_FILENO) != 0) {}

  int run();

 private:
  void header() const;
  void row(const Report& report) const;
  bool seed_done(const Report& report);
  void progress(uint64_t done);
  void clear_progress() const {
    if (terminal_) std::fprintf(stderr, "\r\033[K");
  }
  void tell_failure(const Report& report);
  void shrink_failure(const Report& report);
  [[nodiscard]] int end() const;
  [[nodiscard]] double elapsed() const {
    return std::chrono::duration<double>(Clock::now() - begin_).count();
  }

  const SwarmCommand& command_;
  const SwarmOptions& swarm_;
  uint64_t count_;
  bool rows_;
  bool terminal_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point shown_;
  uint64_t failed_ = 0;
  std::vector<Report> to_shrink_;
  double virtual_seconds_ = 0;
  double member_seconds_ = 0;
  Report slowest_;
};

void SwarmPrinter::header() const {
  std::printf("%8s %6s %8s %8s %8s %9s %7s %7s %6s %8s %7s  %s\n", "seed", "nodes", "virtual",
              "wall", "speed", "recovery", "events", "queries", "false", "packets", "peak",
              "result");
}

void SwarmPrinter::row(const Report& r) const {
  const double virtual_time = static_cast<double>(r.virtual_ns) / 1e9;
  std::printf(
      "%8llu %6llu %7.1fs %7.2fs %7.0fx %8.2fs %7llu %7llu %6llu %6.1f/s %5llu/s  %s\n",
      static_cast<unsigned long long>(r.seed), static_cast<unsigned long long>(r.nodes),
      virtual_time, r.wall_seconds, virtual_time / std::max(r.wall_seconds, 1e-6),
      static_cast<double>(r.recovery_ns) / 1e9, static_cast<unsigned long long>(r.events),
      static_cast<unsigned long long>(r.queries), static_cast<unsigned long long>(r.false_failures),
      static_cast<double>(r.datagrams) / std::max(virtual_time, 1e-6) /
          static_cast<double>(std::max<uint64_t>(r.nodes, 1)),
      static_cast<unsigned long long>(r.packets_per_second_max), r.ok() ? "ok" : r.failure.c_str());
}

void SwarmPrinter::tell_failure(const Report& report) {
  const auto seed = static_cast<unsigned long long>(report.seed);
  if (!rows_) std::printf("seed %llu: %s\n", seed, report.failure.c_str());
  if (failed_ > kToldMax) return;
  for (size_t at = 0; at < report.details.size();) {
    const size_t end = std::min(report.details.find('\n', at), report.details.size());
    std::printf("         %s\n", report.details.substr(at, end - at).c_str());
    at = end + 1;
  }
  std::printf("         again: starling-sim replay %llu%s\n", seed, swarm_flags(swarm_).c_str());
}

bool SwarmPrinter::seed_done(const Report& report) {
  const double virtual_time = static_cast<double>(report.virtual_ns) / 1e9;
  virtual_seconds_ += virtual_time;
  member_seconds_ += virtual_time * static_cast<double>(report.nodes);
  if (report.wall_seconds > slowest_.wall_seconds) slowest_ = report;
  if (report.ok() && !rows_) return true;
  clear_progress();
  if (rows_) row(report);
  if (!report.ok()) {
    ++failed_;
    tell_failure(report);
    if (to_shrink_.size() < kShrunkMax) to_shrink_.push_back(report);
  }
  std::fflush(stdout);
  return true;
}

void SwarmPrinter::progress(uint64_t done) {
  if (!terminal_ || (Clock::now() - shown_ < std::chrono::milliseconds(200) && done < count_)) {
    return;
  }
  shown_ = Clock::now();
  const double rate = static_cast<double>(done) / std::max(elapsed(), 1e-6);
  const double left = static_cast<double>(count_ - done) / std::max(rate, 1e-6);
  std::fprintf(stderr, "\r\033[K%llu of %llu seeds, %llu failed, %.0f seeds/s, %s left",
               static_cast<unsigned long long>(done), static_cast<unsigned long long>(count_),
               static_cast<unsigned long long>(failed_), rate,
               show_duration(Duration(static_cast<int64_t>(left * 1e9))).c_str());
  std::fflush(stderr);
}

/// A failing seed as a scenario file with as little in it as possible.
void SwarmPrinter::shrink_failure(const Report& report) {
  if (report.failure == "timeout") {
    std::printf("\nseed %llu is not shrunk: each attempt would take as long\n",
                static_cast<unsigned long long>(report.seed));
    return;
  }
  const Scenario scenario = draw_scenario(report.seed, swarm_);
  std::printf("\nshrinking seed %llu (%s) ...\n", static_cast<unsigned long long>(report.seed),
              report.failure.c_str());
  std::fflush(stdout);
  const double timeout = std::max(5.0, report.wall_seconds * 4);
  const auto fails = [&](const Scenario& candidate) {
    return run_in_sandbox(candidate, timeout).failure == report.failure;
  };
  ShrinkOptions options;
  options.seconds = command_.shrink_seconds;
  const Shrunk shrunk = shrink(scenario, Duration(report.violated_ns), fails, options);
  const std::string path =
      command_.directory + "/starling-sim-seed-" + std::to_string(report.seed) + ".yaml";
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << write_scenario(shrunk.scenario, "What is left of swarm seed " +
                                                std::to_string(report.seed) + swarm_flags(swarm_) +
                                                " and still breaks " + report.failure + '.');
  stream.close();
  std::printf(
      "  from %zu members, %zu steps, %s to %zu members, %zu step%s, %s in %zu attempts%s\n",
      scenario.nodes, scenario.steps.size(), show_duration(scenario.chaos).c_str(),
      shrunk.scenario.nodes, shrunk.scenario.steps.size(),
      shrunk.scenario.steps.size() == 1 ? "" : "s", show_duration(shrunk.scenario.chaos).c_str(),
      shrunk.attempts, shrunk.exhausted ? "; --shrink-seconds allows for more" : "");
  for (const Step& step : shrunk.scenario.steps) {
    std::printf("  %10.3f s  %s\n", seconds(step.at), sentence(step).c_str());
  }
  std::printf("  %10.3f s  everything heals\n", seconds(shrunk.scenario.chaos));
  if (stream) {
    std::printf("  again: starling-sim run %s\n", path.c_str());
  } else {
    std::printf("  %s cannot be written; name another directory with --shrink-to\n", path.c_str());
  }
}

int SwarmPrinter::end() const {
  const double wall = elapsed();
  std::printf(
      "%llu seeds, %llu failed; %.0f s of virtual time in %.1f s, %.1f seeds/s; "
      "slowest %llu (%.1f s)\n",
      static_cast<unsigned long long>(count_), static_cast<unsigned long long>(failed_),
      virtual_seconds_, wall, static_cast<double>(count_) / std::max(wall, 1e-6),
      static_cast<unsigned long long>(slowest_.seed), slowest_.wall_seconds);
  return failed_ == 0 ? 0 : 1;
}

int SwarmPrinter::run() {
  if (rows_) header();
  SwarmRun run;
  run.first = command_.first;
  run.last = command_.last;
  run.jobs = command_.jobs;
  run.timeout_seconds = command_.timeout_seconds;
  run.draw = [this](uint64_t seed) { return draw_scenario(seed, swarm_); };
  run.report = [this](const Report& report) { return seed_done(report); };
  run.progress = [this](uint64_t done) { progress(done); };
  run_swarm(run);
  clear_progress();
  const int status = end();
  if (command_.shrink) {
    for (const Report& report : to_shrink_) shrink_failure(report);
  }
  return status;
}

}  // namespace

std::string swarm_flags(const SwarmOptions& swarm) {
  std::string flags;
  if (swarm.nodes_max != SwarmOptions().nodes_max) {
    flags += " --nodes-max " + std::to_string(swarm.nodes_max);
  }
  if (swarm.hostile) flags += " --hostile";
  return flags;
}

int swarm_seeds(const SwarmCommand& command, const SwarmOptions& swarm) {
  return SwarmPrinter(command, swarm).run();
}

}  // namespace starling::simulation
