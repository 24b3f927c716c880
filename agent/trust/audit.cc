// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/audit.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

namespace starling::agent {

namespace {

constexpr std::string_view kComponent = "audit";

/// Universal time: several hosts' files can be put together.
std::string utc_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

}  // namespace

AuditLog::~AuditLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> AuditLog::open() {
  if (file_.empty()) return {};
  const int opened =
      ::open(file_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
  if (opened < 0) {
    return fail(ErrorKind::kUnavailable,
                "audit_file: " + file_ + ": cannot open: " + std::strerror(errno));
  }
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = opened;
  broken_ = false;
  return {};
}

void AuditLog::accepted(std::string_view text) {
  write(LogLevel::kInfo, text);
}

void AuditLog::refused(std::string_view text, int64_t now_ms) {
  if (const int64_t second = now_ms / 1000; second != second_) {
    second_ = second;
    refusals_ = 0;
  }
  if (++refusals_ > kMostRefusals) {
    ++untold_;
    ++unwritten_;
    return;
  }
  if (const uint64_t untold = std::exchange(untold_, 0); untold > 0) {
    write(LogLevel::kWarn, std::to_string(untold) + " more refusals were not written down");
  }
  write(LogLevel::kWarn, text);
}

void AuditLog::write(LogLevel level, std::string_view text) {
  if (log_.enabled(level)) log_.write(level, kComponent, text);
  if (descriptor_ < 0) return;
  std::string line = utc_time() + " ";
  for (const char c : text.substr(0, Log::kMaxLine)) {
    // A line is a line, whatever names hold.
    const auto byte = static_cast<unsigned char>(c);
    line += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  line += '\n';
  const bool written =
      ::write(descriptor_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (!written && !std::exchange(broken_, true)) {
    log_.error(kComponent, "audit_file: " + file_ + ": cannot write: " + std::strerror(errno) +
                               "; what happens is in this log only");
  }
  if (written) broken_ = false;
}

}  // namespace starling::agent
