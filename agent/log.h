// SPDX-License-Identifier: Apache-2.0
//
// The agent's log: to stderr, a file, syslog, and to those who watch (`starling monitor`). Lines
// look like Serf's: "2026/01/31 12:00:00 [INFO] cluster: text".
//
// Event-loop thread only. A line that nobody reads costs one comparison, as long as its text is
// built after asking enabled(). The last kHistory lines that were written are kept for newcomers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/config/config.h"
#include "proto/support/result.h"

namespace starling::agent {

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  bool to_stderr = true;
  std::string file;  ///< empty: none; appended to, mode as the umask says
  bool to_syslog = false;
  int syslog_facility = 0;  ///< LOG_LOCAL0 and so on
};

class Log {
 public:
  static constexpr size_t kHistory = 512;
  /// Bytes of one line; the rest is cut.
  static constexpr size_t kMaxLine = 8192;

  /// kUnavailable when the file cannot be opened.
  static Result<std::unique_ptr<Log>> open(const LogOptions& options);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// Whether anybody reads lines of this level.
  [[nodiscard]] bool enabled(LogLevel level) const { return level >= lowest_; }
  /// One line. Newlines and other control characters in `text` are shown as \n, \x1b and so on, so
  /// that what others send can neither begin a line nor speak to a terminal.
  void write(LogLevel level, std::string_view component, std::string_view text);
  void debug(std::string_view component, std::string_view text);
  void info(std::string_view component, std::string_view text);
  void warn(std::string_view component, std::string_view text);
  void error(std::string_view component, std::string_view text);

  /// From now on; watchers have levels of their own.
  void set_level(LogLevel level);
  [[nodiscard]] LogLevel level() const;
  /// Opens the file anew, after it was renamed (log rotation). kUnavailable: the old one stays.
  Result<void> reopen();

  using Reader = std::function<void(const std::string& line)>;
  /// Ends the watching when destroyed. Must not outlive the Log.
  class Watch {
   public:
    Watch(Log& log, uint64_t id) : log_(log), id_(id) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch();

   private:
    Log& log_;
    uint64_t id_;
  };
  /// Gives `reader` the kept lines of at least `level` at once, then each new one. What a reader
  /// logs itself is not shown to readers. A reader must not destroy its watch.
  [[nodiscard]] std::unique_ptr<Watch> watch(LogLevel level, Reader reader);

 private:
  class Impl;
  explicit Log(std::unique_ptr<Impl> impl);
  void update_lowest();

  LogLevel lowest_ = LogLevel::kInfo;
  std::unique_ptr<Impl> impl_;
};

}  // namespace starling::agent
