// SPDX-License-Identifier: Apache-2.0
//
// What the experiments are built from; the experiments themselves take hours.
#include "test/simulation/experiments/experiments.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "test/catch.h"
#include "test/simulation/experiments/forked.h"
#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST_CASE("quantiles are nearest ranks") {
  CHECK_FALSE(quantile({}, 0.5));
  CHECK(quantile({3}, 0.999) == 3.0);
  CHECK(quantile({4, 1, 3, 2}, 0.5) == 2.0);
  CHECK(quantile({4, 1, 3, 2}, 0) == 1.0);
  CHECK(quantile({4, 1, 3, 2}, 0.99) == 4.0);
}

TEST_CASE("figures have about three digits") {
  CHECK(figure(0) == "0");
  CHECK(figure(0.1234) == "0.12");
  CHECK(figure(12.34) == "12.3");
  CHECK(figure(1234.5) == "1234");
  CHECK(figure(std::nullopt) == "-");
  CHECK(count(999) == "999");
  CHECK(count(1234567) == "1 234 567");
}

TEST_CASE("a chart escapes its texts and leaves out what was not measured") {
  const std::string svg = svg_of({{.title = "a < b & c",
                                   .y_label = "seconds",
                                   .logarithmic = true,
                                   .groups = {"one", "two"},
                                   .series = {{"x", {1.0, std::nullopt}}, {"y", {0.0, 250.0}}}}});
  CHECK(svg.find("a &lt; b &amp; c") != std::string::npos);
  CHECK(svg.find("x, one: 1") != std::string::npos);
  CHECK(svg.find("x, two") == std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
}

TEST_CASE("copies of a process give their numbers in order, and their death is told") {
  const auto results = run_forked("copies", 5, 2, [](size_t i) {
    return std::vector<double>(i * 1000, static_cast<double>(i) / 3);
  });
  REQUIRE(results.size() == 5);
  for (size_t i = 0; i < results.size(); ++i) {
    CHECK(results[i] == std::vector<double>(i * 1000, static_cast<double>(i) / 3));
  }
  CHECK_THROWS_WITH(run_forked("copies", 2, 1,
                               [](size_t i) -> std::vector<double> {
                                 if (i == 1) throw std::runtime_error("no");
                                 return {};
                               }),
                    "run 1 died");
}

TEST_CASE("clusters continue from one boot, apart by their seeds") {
  const auto run = [](uint64_t seed) {
    Lab lab(starling(), 1, 10);
    REQUIRE(lab.settle());
    return run_forked("clusters", 1, 1, [&](size_t) {
      lab.diverge(seed);
      lab.world.run_for(5s);
      const uint64_t hash = lab.world.trace_hash();
      return std::vector<double>{static_cast<double>(hash >> 32),
                                 static_cast<double>(hash & 0xffff'ffff)};
    });
  };
  CHECK(run(2) == run(2));
  CHECK(run(2) != run(3));
}

TEST_CASE("rows are chosen by their whole name, or by a part of it") {
  CHECK(chosen(starling_rows(), "Starling").size() == 1);
  CHECK(chosen(starling_rows(), "without").size() == starling_rows().size() - 2);
  CHECK(chosen(starling_rows(), "").size() == starling_rows().size());
}

TEST_CASE("clusters of both protocols come to rest, and a death is noted") {
  for (const Contender& contender : {serf(), starling()}) {
    CAPTURE(contender.name);
    Lab lab(contender, 3, 20);
    REQUIRE(lab.settle());
    CHECK(lab.agreed());
    CHECK(lab.log.failures().empty());
    const Traffic before = lab.traffic();
    lab.world.run_for(5s);
    CHECK((lab.traffic() - before).messages() > 100);
    lab.world.crash(7, StopKind::kHostDown);
    lab.world.run_for(20s);
    CHECK(lab.log.failures().size() == 19);
    for (const FailureLog::Failure& failure : lab.log.failures()) CHECK(failure.about == 7);
  }
}

TEST_CASE("an experiment gives the same files again, whatever the number of threads") {
  const std::filesystem::path out =
      std::filesystem::temp_directory_path() / ("starling-results-" + std::to_string(getpid()));
  std::filesystem::create_directories(out);
  ExperimentOptions options{.seeds = 2, .members = {12}, .rows = {}, .out = out.string()};
  CHECK(run_detection(options) == 0);
  const std::string text = text_of(out / "detection.txt");
  const std::string chart = text_of(out / "detection.svg");
  options.jobs = 2;
  CHECK(run_detection(options) == 0);
  CHECK(text_of(out / "detection.txt") == text);
  CHECK(text_of(out / "detection.svg") == chart);
  CHECK(text.find("starling-sim table detection --seeds 2 --members 12\n") == 0);
  std::filesystem::remove_all(out);
  CHECK(run_detection(options) == 1);  // nowhere to write to
}

}  // namespace
}  // namespace starling::simulation
