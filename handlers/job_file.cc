// SPDX-License-Identifier: Apache-2.0
//
// 0     begun, a line of text, padded with NUL bytes
// 512   number of bytes printed, 8 bytes, little endian
// 520   pid of the command, the same
// 576   ended, a line of text, padded
// 1024  the log: byte number n of the output is at 1024 + n modulo the log's size
#include "handlers/job_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "handlers/fault.h"

namespace starling::handlers {
namespace {

constexpr off_t kBegunAt = 0;
constexpr off_t kTotalAt = 512;
constexpr off_t kCommandAt = 520;
constexpr off_t kEndedAt = 576;
constexpr off_t kLogAt = 1024;
constexpr size_t kMaxError = 200;
constexpr std::string_view kMark = "starling-job-1 log=";

tl::unexpected<Error> failed(const std::string& what, int error) {
  std::string message = "cannot " + what + ": " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT) message += "; free some space";
  if (error == EROFS || error == EACCES) message += "; give the agent write access to its data";
  return fail(ErrorKind::kUnavailable, std::move(message));
}

uint64_t checksum(std::string_view text) {
  uint64_t state = 0xcbf29ce484222325U;
  for (const char c : text) {
    state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  return state;
}

std::string sealed(std::string line) {
  std::ostringstream sum;
  sum << std::hex << checksum(line);
  return line + " sum=" + sum.str() + "\n";
}

/// 0, or errno.
int write_at(int fd, std::string_view bytes, off_t at) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(written));
    at += written;
  }
  return 0;
}

std::string read_at(int fd, size_t size, off_t at) {
  std::string bytes(size, '\0');
  size_t have = 0;
  while (have < size) {
    const ssize_t got =
        ::pread(fd, bytes.data() + have, size - have, at + static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

/// The words of an intact record behind its first one; empty: none.
std::vector<std::string> record_at(int fd, off_t at, size_t room) {
  std::string line = read_at(fd, room, at);
  const size_t end = line.find('\n');
  if (end == std::string::npos) return {};
  line.resize(end + 1);
  const size_t sum = line.rfind(" sum=");
  if (sum == std::string::npos || sealed(line.substr(0, sum)) != line) return {};
  std::istringstream words(line.substr(0, sum));
  std::vector<std::string> list;
  for (std::string word; words >> word;) list.push_back(std::move(word));
  return list;
}

template <typename Number>
Number number(const std::string& text) {
  Number value{};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

uint64_t read_number(int fd, off_t at) {
  const std::string bytes = read_at(fd, 8, at);
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  }
  return value;
}

void write_number(int fd, uint64_t value, off_t at) {
  std::string bytes(8, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(value & 0xff);
    value >>= 8;
  }
  write_at(fd, bytes, at);
}

/// The size of the log, from the mark that the maker wrote at the place of `ended`.
std::optional<size_t> log_limit_of(int fd) {
  const std::string text = read_at(fd, 48, kTotalAt + 16);
  if (!text.starts_with(kMark)) return std::nullopt;
  const auto limit = number<size_t>(text.substr(kMark.size()));
  if (limit < kMinLog || limit > kMaxLog) return std::nullopt;
  return limit;
}

/// Of /proc/PID/stat, counted from 3 ("state"); empty: no such process.
std::vector<std::string> stat_fields(int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return {};
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream words(line.substr(name_end + 1));
  std::vector<std::string> list;
  for (std::string word; words >> word;) list.push_back(std::move(word));
  return list;
}

}  // namespace

Result<JobFile> JobFile::create(const std::string& path, size_t log_limit) {
  FileDescriptor file(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0 && errno == EEXIST) {
    return fail(ErrorKind::kConflict, path + " exists already");
  }
  if (file.get() < 0) return failed("make " + path, errno);
  log_limit = std::clamp(log_limit, kMinLog, kMaxLog);
  std::string header(kLogAt, '\0');
  const std::string mark = std::string(kMark) + std::to_string(log_limit) + "\n";
  std::ranges::copy(mark, header.begin() + kTotalAt + 16);
  int error = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  if (error == 0) error = write_at(file.get(), header, 0);
  if (error != 0) {
    ::unlink(path.c_str());
    return failed("write " + path, error);
  }
  return JobFile(std::move(file), log_limit);
}

Result<JobFile> JobFile::open(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT) {
    return fail(ErrorKind::kNotFound, path + " does not exist");
  }
  if (file.get() < 0) return failed("read " + path, errno);
  const auto limit = log_limit_of(file.get());
  if (!limit) return fail(ErrorKind::kInvalid, path + " is not the file of a job");
  return JobFile(std::move(file), *limit);
}

Result<JobFile> JobFile::inherit(FileDescriptor file) {
  const auto limit = log_limit_of(file.get());
  if (!limit) return fail(ErrorKind::kInvalid, "not the file of a job");
  return JobFile(std::move(file), *limit);
}

Result<void> JobFile::begin(const Begun& begun) {
  const std::string line = sealed(
      "begun boot=" + (begun.boot.empty() ? "?" : begun.boot) + " " + std::to_string(begun.pid) +
      " " + std::to_string(begun.start_time) + " " + std::to_string(begun.at_ms));
  if (const int error = write_at(file_.get(), line, kBegunAt); error != 0) {
    return failed("record that a job begins", error);
  }
  fault_point(FaultPoint::kBegunWritten);
  return {};
}

void JobFile::set_command(int64_t pid) {
  write_number(file_.get(), static_cast<uint64_t>(pid), kCommandAt);
}

bool JobFile::append(std::string_view bytes) {
  uint64_t at = total_;
  total_ += bytes.size();
  if (bytes.size() > log_limit_) {
    at += bytes.size() - log_limit_;
    bytes.remove_prefix(bytes.size() - log_limit_);
  }
  bool whole = true;
  while (!bytes.empty()) {
    const size_t place = at % log_limit_;
    const std::string_view piece = bytes.substr(0, log_limit_ - place);
    if (write_at(file_.get(), piece, kLogAt + static_cast<off_t>(place)) != 0) {
      lost_ += piece.size();
      whole = false;
    }
    bytes.remove_prefix(piece.size());
    at += piece.size();
  }
  fault_point(FaultPoint::kOutputWritten);
  write_number(file_.get(), total_, kTotalAt);
  return whole;
}

Result<void> JobFile::end(Ended ended) {
  std::string error = ended.error.substr(0, kMaxError);
  for (char& c : error) {
    if (c == ' ' || c == '\n' || c == '\0') c = '_';
  }
  std::string line = "ended " + std::to_string(static_cast<int>(ended.ending));
  for (const int64_t value : {static_cast<int64_t>(ended.status), ended.at_ms, ended.duration_us,
                              static_cast<int64_t>(total_), static_cast<int64_t>(lost_)}) {
    line += " " + std::to_string(value);
  }
  if (!error.empty()) line += " " + error;
  if (const int failure = write_at(file_.get(), sealed(line), kEndedAt); failure != 0) {
    return failed("record the end of a job", failure);
  }
  fault_point(FaultPoint::kEndWritten);
  return {};
}

void JobFile::sync() {
  ::fdatasync(file_.get());
}

std::optional<Begun> JobFile::begun() const {
  const std::vector<std::string> words = record_at(file_.get(), kBegunAt, kTotalAt - kBegunAt);
  if (words.size() != 5 || words[0] != "begun" || !words[1].starts_with("boot=")) {
    return std::nullopt;
  }
  Begun begun;
  begun.boot = words[1].substr(5);
  begun.pid = number<int64_t>(words[2]);
  begun.start_time = number<uint64_t>(words[3]);
  begun.at_ms = number<int64_t>(words[4]);
  return begun;
}

std::optional<Ended> JobFile::ended() const {
  const std::vector<std::string> words = record_at(file_.get(), kEndedAt, kLogAt - kEndedAt);
  if (words.size() < 7 || words[0] != "ended") return std::nullopt;
  const int ending = number<int>(words[1]);
  if (ending < 0 || ending > static_cast<int>(ProcessEnding::kNotStarted)) return std::nullopt;
  Ended ended;
  ended.ending = static_cast<ProcessEnding>(ending);
  ended.status = number<int>(words[2]);
  ended.at_ms = number<int64_t>(words[3]);
  ended.duration_us = number<int64_t>(words[4]);
  ended.output_bytes = number<uint64_t>(words[5]);
  ended.lost_bytes = number<uint64_t>(words[6]);
  if (words.size() > 7) {
    ended.error = words[7];
    std::ranges::replace(ended.error, '_', ' ');
  }
  return ended;
}

int64_t JobFile::command() const {
  return static_cast<int64_t>(read_number(file_.get(), kCommandAt));
}

uint64_t JobFile::total() const {
  return read_number(file_.get(), kTotalAt);
}

LogPiece JobFile::read(uint64_t offset, size_t limit) const {
  LogPiece piece;
  piece.total = total();
  const auto oldest = [&](uint64_t total) { return total > log_limit_ ? total - log_limit_ : 0; };
  piece.offset = std::clamp(offset, oldest(piece.total), piece.total);
  uint64_t at = piece.offset;
  const uint64_t end = std::min<uint64_t>(piece.total, at + limit);
  while (at < end) {
    const size_t place = at % log_limit_;
    const size_t size = std::min<uint64_t>(end - at, log_limit_ - place);
    std::string bytes = read_at(file_.get(), size, kLogAt + static_cast<off_t>(place));
    bytes.resize(size);  // what the disk refused is NUL bytes
    piece.bytes += bytes;
    at += size;
  }
  // What was overwritten meanwhile is no longer what it was.
  const uint64_t kept = oldest(total());
  if (kept > piece.offset) {
    piece.bytes.erase(0, std::min<uint64_t>(kept - piece.offset, piece.bytes.size()));
    piece.offset = kept;
  }
  return piece;
}

bool JobFile::locked() const {
  if (::flock(file_.get(), LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  ::flock(file_.get(), LOCK_UN);
  return false;
}

Evidence examine(const std::string& path) {
  const auto file = JobFile::open(path);
  if (!file) return Evidence::kNeverBegan;
  // The order of looking: a supervisor writes first and lets go of the lock afterwards.
  const bool locked = file->locked();
  if (file->ended()) return Evidence::kEnded;
  const bool begun = file->begun().has_value();
  if (locked) return begun ? Evidence::kRunning : Evidence::kStarting;
  return begun ? Evidence::kInterrupted : Evidence::kNeverBegan;
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

uint64_t start_time_of(int64_t pid) {
  const std::vector<std::string> fields = stat_fields(pid);
  return fields.size() > 19 ? number<uint64_t>(fields[19]) : 0;
}

void kill_leftovers(const JobFile& file) {
  const auto begun = file.begun();
  if (!begun || begun->boot != boot_id() || begun->pid <= 1) return;
  // The session is the supervisor's pid. The kernel gives that number to nobody else as long as
  // the session has a member: if somebody has it, nothing is left.
  const uint64_t holder = start_time_of(begun->pid);
  if (holder != 0 && holder != begun->start_time) return;
  DIR* processes = ::opendir("/proc");
  if (processes == nullptr) return;
  const std::string session = std::to_string(begun->pid);
  while (const dirent* entry = ::readdir(processes)) {
    const auto pid = number<int64_t>(entry->d_name);
    if (pid <= 1) continue;
    const std::vector<std::string> fields = stat_fields(pid);
    if (fields.size() <= 19 || fields[3] != session) continue;
    if (pid == begun->pid || number<uint64_t>(fields[19]) < begun->start_time) continue;
    ::kill(static_cast<pid_t>(pid), SIGKILL);
  }
  ::closedir(processes);
}

}  // namespace starling::handlers
