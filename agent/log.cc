// SPDX-License-Identifier: Apache-2.0
#include "agent/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <deque>
#include <map>
#include <utility>

namespace starling::agent {

namespace {

constexpr const char* kIdent = "starling";

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

void append_shown(std::string& out, std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
}

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  ::localtime_r(&now, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y/%m/%d %H:%M:%S", &parts)};
}

Result<spdlog::sink_ptr> open_file(const std::string& path) {
  try {
    return std::make_shared<spdlog::sinks::basic_file_sink_st>(path);
  } catch (const spdlog::spdlog_ex& error) {
    return fail(ErrorKind::kUnavailable, "log_file: " + std::string(error.what()));
  }
}

}  // namespace

class Log::Impl {
 public:
  struct Line {
    LogLevel level;
    std::string text;
  };
  struct Watcher {
    LogLevel level;
    Reader reader;
  };

  Impl() : lines("lines"), system("syslog") {}

  void add(spdlog::logger& logger, const spdlog::sink_ptr& sink) {
    sink->set_pattern("%v");
    logger.sinks().push_back(sink);
    logger.set_level(spdlog::level::trace);
    logger.flush_on(spdlog::level::trace);
  }

  LogLevel level = LogLevel::kInfo;
  spdlog::logger lines;   // stderr and file: the whole line
  spdlog::logger system;  // syslog: without time and level, which it has itself
  std::string file;
  spdlog::sink_ptr file_sink;
  std::deque<Line> history;
  std::map<uint64_t, Watcher> watchers;
  uint64_t next_watch = 1;
  bool telling = false;
};

Log::Log(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  update_lowest();
}
Log::~Log() = default;

Result<std::unique_ptr<Log>> Log::open(const LogOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->level = options.level;
  impl->file = options.file;
  if (options.to_stderr) impl->add(impl->lines, std::make_shared<spdlog::sinks::stderr_sink_st>());
  if (!options.file.empty()) {
    auto sink = open_file(options.file);
    if (!sink) return tl::unexpected(sink.error());
    impl->file_sink = *sink;
    impl->add(impl->lines, *sink);
  }
  if (options.to_syslog) {
    impl->add(impl->system, std::make_shared<spdlog::sinks::syslog_sink_st>(
                                kIdent, LOG_PID, options.syslog_facility, true));
  }
  return std::unique_ptr<Log>(new Log(std::move(impl)));
}

void Log::write(LogLevel level, std::string_view component, std::string_view text) {
  if (!enabled(level)) return;
  std::string line = local_time();
  line += " [";
  line += log_level_name(level);
  line += "] ";
  const size_t body = line.size();
  line += component;
  line += ": ";
  append_shown(line, text.substr(0, kMaxLine));
  if (line.size() > kMaxLine) line.resize(kMaxLine);

  Impl& impl = *impl_;
  if (level >= impl.level) {
    const auto severity = to_spdlog(level);
    if (!impl.lines.sinks().empty()) impl.lines.log(severity, spdlog::string_view_t(line));
    if (!impl.system.sinks().empty()) {
      const std::string_view rest = std::string_view(line).substr(body);
      impl.system.log(severity, spdlog::string_view_t(rest.data(), rest.size()));
    }
    impl.history.push_back({level, line});
    if (impl.history.size() > kHistory) impl.history.pop_front();
  }
  if (std::exchange(impl.telling, true)) return;
  for (const auto& [id, watcher] : impl.watchers) {
    if (level >= watcher.level) watcher.reader(line);
  }
  impl.telling = false;
}

void Log::debug(std::string_view component, std::string_view text) {
  write(LogLevel::kDebug, component, text);
}
void Log::info(std::string_view component, std::string_view text) {
  write(LogLevel::kInfo, component, text);
}
void Log::warn(std::string_view component, std::string_view text) {
  write(LogLevel::kWarn, component, text);
}
void Log::error(std::string_view component, std::string_view text) {
  write(LogLevel::kError, component, text);
}

void Log::set_level(LogLevel level) {
  impl_->level = level;
  update_lowest();
}

LogLevel Log::level() const {
  return impl_->level;
}

void Log::update_lowest() {
  lowest_ = impl_->level;
  for (const auto& [id, watcher] : impl_->watchers) lowest_ = std::min(lowest_, watcher.level);
}

Result<void> Log::reopen() {
  if (impl_->file_sink == nullptr) return {};
  auto sink = open_file(impl_->file);
  if (!sink) return tl::unexpected(sink.error());
  auto& sinks = impl_->lines.sinks();
  std::erase(sinks, std::exchange(impl_->file_sink, *sink));
  impl_->add(impl_->lines, *sink);
  return {};
}

std::unique_ptr<Log::Watch> Log::watch(LogLevel level, Reader reader) {
  impl_->telling = true;
  for (const Impl::Line& line : impl_->history) {
    if (line.level >= level) reader(line.text);
  }
  impl_->telling = false;
  const uint64_t id = impl_->next_watch++;
  impl_->watchers.emplace(id, Impl::Watcher{level, std::move(reader)});
  update_lowest();
  return std::make_unique<Watch>(*this, id);
}

Log::Watch::~Watch() {
  log_.impl_->watchers.erase(id_);
  log_.update_lowest();
}

}  // namespace starling::agent
