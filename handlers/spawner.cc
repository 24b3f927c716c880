// SPDX-License-Identifier: Apache-2.0
#include "handlers/spawner.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <asio.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "handlers/fault.h"
#include "handlers/supervise.h"

namespace starling::handlers {
namespace {

using Clock = std::chrono::steady_clock;

// A server that is stuck is found at one of so many looks.
constexpr int kLooks = 3;

/// 0, or errno.
int send_descriptors(int to, int socket, int file) {
  const std::array<int, 2> numbers{socket, file};
  const size_t size = (file >= 0 ? 2 : 1) * sizeof(int);
  char byte = 0;
  iovec data{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof numbers)> room{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = room.data();
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* const rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(rights), numbers.data(), size);
  while (::sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

/// Reaps a server whenever it ends. The loop's pending callbacks keep it alive.
class Reaper : public std::enable_shared_from_this<Reaper> {
 public:
  Reaper(asio::io_context& loop, pid_t pid) : pid_(pid), pidfd_(loop) {}

  /// False: the system refuses.
  bool watch(FileDescriptor pidfd) {
    asio::error_code error;
    pidfd_.assign(pidfd.get(), error);
    if (error) return false;
    static_cast<void>(pidfd.release());
    wait();
    return true;
  }
  void kill() {
    if (pidfd_.is_open()) signal_process(pidfd_.native_handle(), SIGKILL);
  }
  [[nodiscard]] bool alive() const { return pidfd_.is_open(); }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  void wait() {
    pidfd_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const asio::error_code& error) {
                        if (!error) self->look();
                      });
  }
  void look() {
    // Asio may complete a wait with another descriptor's old event.
    pollfd ended{.fd = pidfd_.native_handle(), .events = POLLIN, .revents = 0};
    if (::poll(&ended, 1, 0) != 1) return wait();
    ::waitpid(pid_, nullptr, 0);
    asio::error_code ignored;
    pidfd_.close(ignored);
  }

  const pid_t pid_;
  asio::posix::stream_descriptor pidfd_;
};

}  // namespace

class Spawner::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& loop, std::string program, SpawnerLimits limits)
      : loop_(loop), program_(std::move(program)), limits_(limits), timer_(loop) {}

  Result<void> ensure();
  Result<Supervisor> start(int file);
  void let_go();
  [[nodiscard]] int server_pid() const { return there() ? server_->pid() : -1; }

 private:
  [[nodiscard]] bool there() const { return server_ && server_->alive() && socket_.get() >= 0; }
  void watch_progress(bool new_job);
  void look();
  void read_served();

  asio::io_context& loop_;
  const std::string program_;
  const SpawnerLimits limits_;
  std::shared_ptr<Reaper> server_;
  FileDescriptor socket_;
  ServedCount handed_ = 0;
  ServedCount served_ = 0;
  ServedCount served_before_ = 0;  ///< at the last look
  int looks_in_vain_ = 0;
  Clock::time_point last_used_;
  asio::steady_timer timer_;
  bool looks_soon_ = false;
  std::shared_ptr<SpawnerLease> lease_ = std::make_shared<SpawnerLease>();
};

Result<void> Spawner::Impl::ensure() {
  // What is handed to one that dies would be lost as well.
  if (there() && !lease_->lost) return {};
  let_go();
  lease_ = std::make_shared<SpawnerLease>();
  auto child = spawn_server(program_);
  if (!child) return tl::unexpected(child.error());
  server_ = std::make_shared<Reaper>(loop_, child->pid);
  if (!server_->watch(std::move(child->pidfd))) {
    // Nobody has handed it anything.
    ::kill(child->pid, SIGKILL);
    ::waitpid(child->pid, nullptr, 0);
    server_.reset();
    return cannot_start("its process cannot be watched", EMFILE);
  }
  socket_ = std::move(child->socket);
  handed_ = served_ = 0;
  last_used_ = Clock::now();
  watch_progress(false);
  return {};
}

Result<Spawner::Supervisor> Spawner::Impl::start(int file) {
  auto ends = connected_pair(SOCK_STREAM);
  if (!ends) return tl::unexpected(ends.error());
  int error = 0;
  // The second time it is with a server of which nothing has been asked yet.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (auto there = ensure(); !there) return tl::unexpected(there.error());
    read_served();
    error = send_descriptors(socket_.get(), ends->second.get(), file);
    if (error == 0) {
      handed_ += 1;
      last_used_ = Clock::now();
      watch_progress(true);
      return Supervisor{std::move(ends->first), lease_};
    }
    // It is gone, or has left so much undone that its queue is full.
    if (server_) server_->kill();
    let_go();
  }
  return cannot_start("its supervisor", error);
}

/// The server ends when it has served what was handed to it.
void Spawner::Impl::let_go() {
  socket_.close();
  server_.reset();
  timer_.cancel();
  looks_soon_ = false;
}

void Spawner::Impl::read_served() {
  ServedCount count = 0;
  while (::recv(socket_.get(), &count, sizeof count, MSG_DONTWAIT) == sizeof count) {
    served_ = count;
  }
}

/// Looks soon while something is to be served, and otherwise whether it is time to end.
void Spawner::Impl::watch_progress(bool new_job) {
  if (new_job && looks_soon_) return;
  looks_soon_ = handed_ > served_;
  served_before_ = served_;
  timer_.expires_after(looks_soon_ ? limits_.stuck / kLooks : limits_.idle);
  timer_.async_wait([weak = weak_from_this()](const asio::error_code& error) {
    if (error) return;
    if (const auto self = weak.lock()) self->look();
  });
}

void Spawner::Impl::look() {
  looks_soon_ = false;
  if (!there()) return let_go();
  read_served();
  const bool waits = handed_ > served_;
  looks_in_vain_ = waits && served_ == served_before_ ? looks_in_vain_ + 1 : 0;
  if (looks_in_vain_ >= kLooks) {
    looks_in_vain_ = 0;
    server_->kill();
    return let_go();
  }
  const bool unused = !waits && lease_.use_count() == 1;
  if (unused && Clock::now() - last_used_ >= limits_.idle) return let_go();
  watch_progress(false);
}

Spawner::Spawner(asio::io_context& loop, std::string program, SpawnerLimits limits)
    : impl_(std::make_shared<Impl>(loop, std::move(program), limits)) {}

Spawner::~Spawner() {
  impl_->let_go();
}

void Spawner::prepare() {
  static_cast<void>(impl_->ensure());
}

Result<Spawner::Supervisor> Spawner::start(int file) {
  return impl_->start(file);
}

int Spawner::server_pid() const {
  return impl_->server_pid();
}

}  // namespace starling::handlers
