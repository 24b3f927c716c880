// SPDX-License-Identifier: Apache-2.0
//
// AuditLog: what was ordered of this agent, by whom, and whether it was done: to the agent's log
// and to a file of its own. Event-loop thread only; writes as the log does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/log.h"
#include "proto/support/result.h"

namespace starling::agent {

class AuditLog {
 public:
  /// Refusals within one second that are written; the others are counted, and told by the next
  /// line.
  static constexpr unsigned kMostRefusals = 100;

  /// `log` outlives it. `file`: empty: none.
  AuditLog(Log& log, std::string file) : log_(log), file_(std::move(file)) {}
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  /// Opens the file (append, mode 0600), or anew after it was renamed. kUnavailable: one that was
  /// open stays.
  Result<void> open();
  [[nodiscard]] bool has_file() const { return !file_.empty(); }

  void accepted(std::string_view text);
  void refused(std::string_view text, int64_t now_ms);
  /// Not written, over kMostRefusals.
  [[nodiscard]] uint64_t unwritten() const { return unwritten_; }

 private:
  void write(LogLevel level, std::string_view text);

  Log& log_;
  const std::string file_;
  int descriptor_ = -1;
  bool broken_ = false;
  int64_t second_ = 0;
  unsigned refusals_ = 0;  // in this second
  uint64_t untold_ = 0;
  uint64_t unwritten_ = 0;
};

}  // namespace starling::agent
