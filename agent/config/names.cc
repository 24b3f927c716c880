// SPDX-License-Identifier: Apache-2.0
//
// The names of log levels and syslog facilities.
#include <syslog.h>

#include <algorithm>
#include <array>

#include "agent/config/config.h"

namespace starling::agent {

namespace {

struct LevelName {
  std::string_view name;
  LogLevel level;
};

/// The first name of a level is the one that is shown.
constexpr auto kLevels = std::to_array<LevelName>({
    {"TRACE", LogLevel::kTrace},
    {"DEBUG", LogLevel::kDebug},
    {"INFO", LogLevel::kInfo},
    {"WARN", LogLevel::kWarn},
    {"ERR", LogLevel::kError},
    {"WARNING", LogLevel::kWarn},
    {"ERROR", LogLevel::kError},
});

struct Facility {
  std::string_view name;
  int code;
};

constexpr auto kFacilities = std::to_array<Facility>({
    {"KERN", LOG_KERN},     {"USER", LOG_USER},         {"MAIL", LOG_MAIL},
    {"DAEMON", LOG_DAEMON}, {"AUTH", LOG_AUTH},         {"SYSLOG", LOG_SYSLOG},
    {"LPR", LOG_LPR},       {"NEWS", LOG_NEWS},         {"UUCP", LOG_UUCP},
    {"CRON", LOG_CRON},     {"AUTHPRIV", LOG_AUTHPRIV}, {"FTP", LOG_FTP},
    {"LOCAL0", LOG_LOCAL0}, {"LOCAL1", LOG_LOCAL1},     {"LOCAL2", LOG_LOCAL2},
    {"LOCAL3", LOG_LOCAL3}, {"LOCAL4", LOG_LOCAL4},     {"LOCAL5", LOG_LOCAL5},
    {"LOCAL6", LOG_LOCAL6}, {"LOCAL7", LOG_LOCAL7},
});

std::string upper(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return result;
}

}  // namespace

std::string_view log_level_name(LogLevel level) {
  for (const LevelName& each : kLevels) {
    if (each.level == level) return each.name;
  }
  return "INFO";
}

std::optional<LogLevel> parse_log_level(std::string_view name) {
  const std::string wanted = upper(name);
  for (const LevelName& each : kLevels) {
    if (each.name == wanted) return each.level;
  }
  return std::nullopt;
}

std::optional<int> syslog_facility_code(std::string_view name) {
  const std::string wanted = upper(name);
  for (const Facility& each : kFacilities) {
    if (each.name == wanted) return each.code;
  }
  return std::nullopt;
}

}  // namespace starling::agent
