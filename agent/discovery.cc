// SPDX-License-Identifier: Apache-2.0
#include "agent/discovery.h"

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <asio/buffer.hpp>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

namespace starling::agent {

using membership::Address;
using membership::Duration;

namespace {

constexpr std::string_view kProgram = "starling-discover";
constexpr const char* kComponent = "discover";

uint64_t random_seed() {
  uint64_t seed = 0;
  randombytes_buf(&seed, sizeof seed);
  return seed;
}

/// The child has `socket` for input and output, our error output, and nothing else of ours. 0 or an
/// error.
int spawn_child(const std::string& program, std::vector<std::string> arguments, int socket,
                pid_t& pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  sigset_t all;
  sigset_t none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  int error = 0;
  const auto add = [&error](int result) {
    if (error == 0) error = result;
  };
  add(::posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO));
  add(::posix_spawn_file_actions_adddup2(&actions, socket, STDOUT_FILENO));
  add(::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1));
  add(::posix_spawnattr_setsigdefault(&attributes, &all));
  add(::posix_spawnattr_setsigmask(&attributes, &none));
  // A group of its own: a terminal's interrupt is the agent's to handle.
  add(::posix_spawnattr_setpgroup(&attributes, 0));
  add(::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP));
  std::vector<char*> pointers;
  pointers.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  if (error == 0) {
    error = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, pointers.data(), environ);
  }
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  return error;
}

}  // namespace

Result<std::string> find_discovery_program() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / kProgram;
  const auto library = self.parent_path().parent_path() / "lib" / "starling" / kProgram;
  for (const auto& path : {beside, library}) {
    if (!error && ::access(path.c_str(), X_OK) == 0) return path.string();
  }
  return fail(ErrorKind::kNotFound,
              "there is no " + beside.string() + " and no " + library.string() +
                  ": install it, or build with Avahi's library (libavahi-client-dev)");
}

Discovery::Discovery(asio::io_context& io, Cluster& cluster, Log& log, DiscoveryOptions options)
    : cluster_(cluster),
      log_(log),
      options_(std::move(options)),
      random_(random_seed()),
      socket_(io),
      restart_timer_(io),
      look_timer_(io) {}

Discovery::~Discovery() {
  stop();
}

void Discovery::start() {
  const Address& own = cluster_.node().identity().address;
  if (own.is_loopback()) {
    log_.warn(kComponent, "this agent's address " + own.to_string() +
                              " is of no use to other hosts: choose another one with advertise "
                              "(-advertise) or bind (-bind)");
  }
  if (auto spawned = spawn(); !spawned) return ended(spawned.error().message);
  look_in(options_.check);
}

void Discovery::stop() {
  if (std::exchange(stopped_, true)) return;
  restart_timer_.cancel();
  look_timer_.cancel();
  asio::error_code ignored;
  socket_.close(ignored);
  reap();
}

// --- the program -------------------------------------------------------------------------------

std::vector<std::string> Discovery::arguments() const {
  const membership::Identity& self = cluster_.node().identity();
  // The name of an address record: one for each agent, as several may be on one host.
  const std::string host = "starling-" + self.id.to_string().substr(0, 16);
  const char* family = options_.ipv4 ? (options_.ipv6 ? "any" : "ipv4") : "ipv6";
  return {std::string(kProgram),
          options_.cluster,
          self.name,
          host,
          self.address.ip_string(),
          std::to_string(self.address.port()),
          family,
          options_.interface};
}

Result<void> Discovery::spawn() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(ErrorKind::kUnavailable, "no socket: " + std::generic_category().message(errno));
  }
  const int error = spawn_child(options_.program, arguments(), ends[1], child_);
  ::close(ends[1]);
  if (error != 0) {
    child_ = -1;
    ::close(ends[0]);
    return fail(ErrorKind::kUnavailable,
                "cannot start " + options_.program + ": " + std::generic_category().message(error));
  }
  socket_.assign(asio::local::stream_protocol(), ends[0]);
  line_.clear();
  read();
  return {};
}

void Discovery::read() {
  socket_.async_read_some(asio::buffer(buffer_),
                          [this](const asio::error_code& error, size_t size) {
                            if (error == asio::error::operation_aborted || stopped_) return;
                            if (error) return ended("the program has ended");
                            take_lines(size);
                            if (socket_.is_open()) read();
                          });
}

void Discovery::take_lines(size_t size) {
  for (const char c : std::string_view(buffer_.data(), size)) {
    if (c == '\n') {
      take_line(std::exchange(line_, {}));
    } else if (line_.size() < kLongestLine) {
      line_ += c;  // the rest of a longer line is no use to anybody
    }
  }
}

void Discovery::take_line(std::string_view line) {
  const size_t space = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, space);
  const std::string_view rest = line.substr(std::min(space + 1, line.size()));
  if (word == "announced") {
    restarts_ = 0;
    const bool again = !std::exchange(trouble_, {}).empty();
    log_.info(kComponent, std::string("this agent is ") + (again ? "again " : "") +
                              "announced by mDNS to those that discover '" + options_.cluster +
                              "'");
  } else if (word == "trouble") {
    trouble(std::string(rest));
  } else if (const auto address = Address::parse(rest); address && word == "found") {
    found(*address);
  } else if (address && word == "lost") {
    announced_.erase(*address);
  }
}

/// The same is told once.
void Discovery::trouble(const std::string& text) {
  if (trouble_ == text) return;
  trouble_ = text;
  log_.warn(kComponent, text + ": nobody is found by mDNS until that changes");
}

void Discovery::ended(const std::string& why) {
  asio::error_code ignored;
  socket_.close(ignored);
  reap();
  announced_.clear();
  if (trouble_.empty()) trouble(why);  // otherwise it has said itself what is wrong
  restart_timer_.expires_after(backoff(options_.retry, restarts_++));
  restart_timer_.async_wait([this](const asio::error_code& error) {
    if (error || stopped_) return;
    if (auto spawned = spawn(); !spawned) ended(spawned.error().message);
  });
}

void Discovery::reap() {
  if (child_ < 0) return;
  ::kill(child_, SIGKILL);  // what it has announced, Avahi takes back when its client is gone
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
}

// --- joining -----------------------------------------------------------------------------------

void Discovery::found(const Address& address) {
  if (announced_.size() >= kMaxFound && !announced_.contains(address)) {
    if (dropped_++ == 0) {
      log_.warn(kComponent, "more than " + std::to_string(kMaxFound) +
                                " agents are announced: the others are left out");
    }
    return;
  }
  if (!announced_.insert(address).second) return;
  log_.debug(kComponent, "found " + address.to_string());
  rounds_ = 0;
  // Several are found at the same time; and what comes in a flood does not put the join off.
  if (!joining_ && !std::exchange(hurried_, true)) look_in(options_.quiet);
}

void Discovery::look_in(Duration delay) {
  look_timer_.expires_after(delay);
  look_timer_.async_wait([this](const asio::error_code& error) {
    if (error || stopped_) return;
    hurried_ = false;
    look();
  });
}

void Discovery::look() {
  std::vector<std::string> targets = strangers();
  if (targets.empty()) {
    rounds_ = 0;
    return look_in(options_.check);
  }
  targets = random_.sample(std::move(targets), kJoined);
  joining_ = true;
  cluster_.join(targets, options_.replay, [this](const JoinOutcome& outcome) { joined(outcome); });
}

void Discovery::joined(const JoinOutcome& outcome) {
  joining_ = false;
  if (stopped_) return;
  const unsigned round = rounds_++;
  if (outcome.contacted > 0) {
    log_.info(kComponent, "joined " + std::to_string(outcome.contacted) +
                              (outcome.contacted == 1 ? " agent" : " agents") + " found by mDNS");
    return look_in(backoff(options_.settle, round));
  }
  for (const auto& [target, reason] : outcome.failures) {
    log_.write(round == 0 ? LogLevel::kWarn : LogLevel::kDebug, kComponent,
               "cannot join " + target + ", found by mDNS: " + reason);
  }
  look_in(backoff(options_.retry, round));
}

/// Announced addresses that no member in sight has.
std::vector<std::string> Discovery::strangers() {
  std::set<Address> left = announced_;
  left.erase(cluster_.node().identity().address);
  for (const membership::Member& member : cluster_.node().members()) {
    if (member.status != membership::Status::kFailed &&
        member.status != membership::Status::kLeft) {
      left.erase(member.address);
    }
  }
  std::vector<std::string> targets;
  targets.reserve(left.size());
  for (const Address& address : left) targets.push_back(address.to_string());
  return targets;
}

/// Doubles up to `check`, within a quarter, so that hosts that started together do not call
/// together.
Duration Discovery::backoff(Duration first, unsigned times) {
  const Duration plain = std::min(options_.check, first * (1U << std::min(times, 10U)));
  return std::chrono::duration_cast<Duration>(plain * (0.75 + 0.5 * random_.unit()));
}

}  // namespace starling::agent
