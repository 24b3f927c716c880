// SPDX-License-Identifier: Apache-2.0
#include "agent/control/client.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "agent/control/socket_path.h"

namespace starling::agent {
namespace {

using Clock = std::chrono::steady_clock;

std::string reason(int error) {
  return std::generic_category().message(error);
}

// getgrgid() and getpwuid() are not for threads; a client has one.
std::string group_name(gid_t id) {
  const group* entry = ::getgrgid(id);
  return entry != nullptr ? entry->gr_name : std::to_string(id);
}

std::string user_name(uid_t id) {
  const passwd* entry = ::getpwuid(id);
  return entry != nullptr ? entry->pw_name : std::to_string(id);
}

/// Why permission was denied: the first thing on the way to the socket that we may look at.
std::string permission_denied(const std::string& path) {
  std::string message = "permission denied for the control socket " + path;
  std::filesystem::path place = path;
  struct stat status = {};
  // What stat() cannot reach lies in a directory that is closed to us: that one is the reason.
  while (::stat(place.c_str(), &status) != 0) {
    if (errno != EACCES || place == place.parent_path()) return message;
    place = place.parent_path();
    if (place.empty()) place = ".";
  }
  std::array<char, 8> mode = {};
  std::snprintf(mode.data(), mode.size(), "%04o", status.st_mode & 07777u);
  const std::string group = group_name(status.st_gid);
  return message + ": " + (place == path ? "it" : place.string()) + " has mode " + mode.data() +
         ", user " + user_name(status.st_uid) + ", group " + group +
         "; run as that user, or as a " + "member of the group " + group;
}

tl::unexpected<Error> connect_failure(const std::string& path, int error) {
  if (error == EACCES || error == EPERM) {
    return fail(ErrorKind::kUnavailable, permission_denied(path));
  }
  struct stat status = {};
  if (error == ECONNREFUSED && ::stat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
    return fail(ErrorKind::kUnavailable,
                path + " is not a socket; give the agent's with -control PATH");
  }
  if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR) {
    return fail(ErrorKind::kUnavailable,
                "no agent is listening on " + path + "; start one with: starling agent");
  }
  if (error == EAGAIN) {
    return fail(ErrorKind::kUnavailable,
                "the agent on " + path + " does not take connections: it is busy or stopped");
  }
  return fail(ErrorKind::kUnavailable, "cannot connect to " + path + ": " + reason(error));
}

}  // namespace

Result<Client> Client::connect(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return tl::unexpected(address.error());
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return connect_failure(path, errno);
  Client client(descriptor, path);
  const auto* generic = reinterpret_cast<const sockaddr*>(&*address);
  if (::connect(descriptor, generic, sizeof *address) != 0) return connect_failure(path, errno);
  return client;
}

Client::~Client() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Client::Client(Client&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      interrupt_(other.interrupt_),
      path_(std::move(other.path_)),
      timeout_(other.timeout_),
      last_id_(other.last_id_),
      decoder_(std::move(other.decoder_)) {}

Client& Client::operator=(Client&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  interrupt_ = other.interrupt_;
  path_ = std::move(other.path_);
  timeout_ = other.timeout_;
  last_id_ = other.last_id_;
  decoder_ = std::move(other.decoder_);
  return *this;
}

Result<control::Reply> Client::call(control::Request request) {
  control::Reply last;
  auto done = call_stream(std::move(request), [&last](const control::Reply& reply) {
    last = reply;
    return true;
  });
  if (!done) return tl::unexpected(done.error());
  return last;
}

Result<void> Client::call_stream(control::Request request, const OnReply& on_reply) {
  request.set_id(++last_id_);
  const auto frame = encode_frame(request);
  if (!frame) return tl::unexpected(frame.error());
  const auto sent = send(*frame);
  if (!sent && sent.error().kind != ErrorKind::kUnavailable) return sent;
  // An agent that turned us away said so before it closed: its reply is worth more than our error.
  bool answered = false;
  const auto received = receive([&](const control::Reply& reply) {
    if (reply.id() != request.id() && reply.id() != 0) return true;
    answered = true;
    return on_reply(reply) && !reply.done();
  });
  if (!sent && !answered) return sent;
  return received;
}

tl::unexpected<Error> Client::lost(int error) const {
  if (error == EPIPE || error == ECONNRESET || error == 0) {
    return fail(ErrorKind::kUnavailable, "the agent on " + path_ +
                                             " closed the connection before it answered; it has "
                                             "exited, or its log says why");
  }
  return fail(ErrorKind::kUnavailable, "the connection to " + path_ + " failed: " + reason(error));
}

Result<void> Client::wait(short events, Clock::time_point start) {
  while (true) {
    int rest_ms = -1;
    if (timeout_) {
      const auto rest =
          *timeout_ - std::chrono::floor<std::chrono::milliseconds>(Clock::now() - start);
      rest_ms = static_cast<int>(std::clamp<std::int64_t>(rest.count(), 0, 1'000'000'000));
    }
    std::array<pollfd, 2> polled = {pollfd{descriptor_, events, 0}, pollfd{interrupt_, POLLIN, 0}};
    const int ready = ::poll(polled.data(), polled.size(), rest_ms);
    if (ready < 0 && errno != EINTR) return lost(errno);
    if (ready > 0 && polled[1].revents != 0) return fail(ErrorKind::kConflict, "interrupted");
    if (ready > 0) return {};
    if (ready == 0) {
      return fail(ErrorKind::kTimeout, "no answer from the agent on " + path_ + " within " +
                                           std::to_string(timeout_->count()) + " ms");
    }
  }
}

Result<void> Client::send(const std::string& frame) {
  std::string_view rest = frame;
  while (!rest.empty()) {
    const ssize_t sent = ::send(descriptor_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      if (auto ready = wait(POLLOUT, Clock::now()); !ready) return ready;
    } else if (errno != EINTR) {
      return lost(errno);
    }
  }
  return {};
}

Result<void> Client::receive(const OnReply& on_reply) {
  std::array<char, 65536> buffer;
  bool more = true;
  Error broken;
  Clock::time_point since = Clock::now();
  const auto on_frame = [&](std::string_view message) {
    since = Clock::now();
    control::Reply reply;
    if (!reply.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
      broken.message = "the agent on " + path_ + " sent bytes that are no reply";
      return more = false;
    }
    return more = on_reply(reply);
  };
  while (more) {
    // Before each read, so that a flood of replies cannot hide the interrupt.
    if (auto ready = wait(POLLIN, since); !ready) return ready;
    const ssize_t got = ::recv(descriptor_, buffer.data(), buffer.size(), 0);
    if (got == 0) return lost(0);
    if (got > 0) {
      const auto taken = decoder_.receive({buffer.data(), static_cast<std::size_t>(got)}, on_frame);
      if (!taken) return tl::unexpected(taken.error());
    } else if (errno != EAGAIN && errno != EINTR) {
      return lost(errno);
    }
  }
  if (!broken.message.empty()) return tl::unexpected(broken);
  return {};
}

}  // namespace starling::agent
