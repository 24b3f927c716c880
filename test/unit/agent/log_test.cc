// SPDX-License-Identifier: Apache-2.0
#include "agent/log.h"

#include <algorithm>
#include <filesystem>
#include <regex>

#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

std::unique_ptr<Log> quiet_log(LogLevel level, const std::string& file = {}) {
  LogOptions options;
  options.level = level;
  options.to_stderr = false;
  options.file = file;
  auto log = Log::open(options);
  REQUIRE(log);
  return std::move(*log);
}

std::vector<std::string> history(Log& log, LogLevel level = LogLevel::kTrace) {
  std::vector<std::string> lines;
  const auto watch = log.watch(level, [&](const std::string& line) { lines.push_back(line); });
  return lines;
}

TEST_CASE("log lines look like those of Serf") {
  auto log = quiet_log(LogLevel::kInfo);
  log->warn("cluster", "text");
  log->error("store", "more");
  const auto lines = history(*log);
  REQUIRE(lines.size() == 2);
  CHECK(std::regex_match(lines[0],
                         std::regex(R"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[WARN\] cluster: text)")));
  CHECK(lines[1].ends_with("[ERR] store: more"));
}

TEST_CASE("log lines below the level are nobody's") {
  auto log = quiet_log(LogLevel::kWarn);
  CHECK_FALSE(log->enabled(LogLevel::kInfo));
  log->info("a", "unheard");
  log->warn("a", "heard");
  CHECK(history(*log).size() == 1);
  log->set_level(LogLevel::kDebug);
  CHECK(log->enabled(LogLevel::kDebug));
  CHECK_FALSE(log->enabled(LogLevel::kTrace));
  log->debug("a", "heard too");
  CHECK(history(*log).size() == 2);
}

TEST_CASE("the log keeps its last lines") {
  auto log = quiet_log(LogLevel::kInfo);
  for (size_t i = 0; i < Log::kHistory + 10; ++i) log->info("n", std::to_string(i));
  const auto lines = history(*log);
  REQUIRE(lines.size() == Log::kHistory);
  CHECK(lines.front().ends_with("n: 10"));
  CHECK(lines.back().ends_with("n: " + std::to_string(Log::kHistory + 9)));
}

TEST_CASE("what others send cannot begin a log line or speak to a terminal") {
  auto log = quiet_log(LogLevel::kInfo);
  log->info("a", std::string("x\ny\tz\x1b[31m\x7f\0!", 13));
  log->info("a", "na\xc3\xafve");
  log->info("a", std::string(3 * Log::kMaxLine, 'l'));
  log->info("a", std::string(3 * Log::kMaxLine, '\n'));
  const auto lines = history(*log);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].ends_with("a: x\\ny\\tz\\x1b[31m\\x7f\\x00!"));
  CHECK(lines[1].ends_with("a: na\xc3\xafve"));
  CHECK(lines[2].size() == Log::kMaxLine);
  CHECK(lines[3].size() == Log::kMaxLine);
}

TEST_CASE("a watcher has a level of its own and hears no more after its end") {
  auto log = quiet_log(LogLevel::kWarn);
  log->warn("a", "before");
  std::vector<std::string> heard;
  auto watch = log->watch(LogLevel::kDebug, [&](const std::string& line) {
    heard.push_back(line);
    log->error("reader", "logs itself");  // must not come back
  });
  REQUIRE(heard.size() == 1);
  CHECK(log->enabled(LogLevel::kDebug));
  log->debug("a", "during");
  CHECK(heard.size() == 2);
  CHECK(log->level() == LogLevel::kWarn);
  watch.reset();
  CHECK_FALSE(log->enabled(LogLevel::kDebug));
  log->warn("a", "after");
  CHECK(heard.size() == 2);
  const auto kept = history(*log);
  CHECK(std::ranges::none_of(kept, [](const auto& line) { return line.ends_with("during"); }));
}

TEST_CASE("a log file is appended to and can be rotated") {
  const Scratch scratch;
  const std::string path = scratch / "agent.log";
  {
    auto log = quiet_log(LogLevel::kInfo, path);
    log->info("a", "one");
    std::filesystem::rename(path, scratch / "agent.log.1");
    log->info("a", "two");
    REQUIRE(log->reopen());
    log->info("a", "three");
  }
  CHECK(slurp(scratch / "agent.log.1").find("two") != std::string::npos);
  CHECK(slurp(path).find("two") == std::string::npos);
  quiet_log(LogLevel::kInfo, path)->info("a", "four");
  const std::string content = slurp(path);
  CHECK(content.find("three\n") != std::string::npos);
  CHECK(content.ends_with("four\n"));
}

TEST_CASE("a log file that cannot be opened is an error that names it") {
  LogOptions options;
  options.to_stderr = false;
  options.file = "/proc/none/agent.log";
  const auto log = Log::open(options);
  REQUIRE_FALSE(log);
  CHECK(log.error().message.find("/proc/none/agent.log") != std::string::npos);
}

}  // namespace
}  // namespace starling::agent
