// SPDX-License-Identifier: Apache-2.0
#include "agent/control/client.h"

#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
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

#include "agent/control/frame.h"
#include "agent/control/serf_wire.h"
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

/// Length and protobuf message: see frame.h.
class FrameWire final : public ClientWire {
 public:
  Result<std::string> encode(const control::Request& request) override {
    return encode_frame(request);
  }
  Result<void> receive(std::string_view bytes, const OnReply& on_reply) override {
    bool broken = false;
    const auto taken = decoder_.receive(bytes, [&](std::string_view message) {
      control::Reply reply;
      broken = !reply.ParseFromArray(message.data(), static_cast<int>(message.size()));
      return !broken && on_reply(reply);
    });
    if (!taken) return tl::unexpected(taken.error());
    if (broken) return fail(ErrorKind::kInternal, "the agent sent bytes that are no reply");
    return {};
  }

 private:
  FrameDecoder decoder_;
};

/// A descriptor whose connection is being made, to the first address that takes it; or -errno.
int begin_connect(const addrinfo* addresses) {
  int error = EHOSTUNREACH;
  for (const addrinfo* each = addresses; each != nullptr; each = each->ai_next) {
    const int descriptor = ::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor >= 0 &&
        (::connect(descriptor, each->ai_addr, each->ai_addrlen) == 0 || errno == EINPROGRESS)) {
      return descriptor;
    }
    error = errno;
    if (descriptor >= 0) ::close(descriptor);
  }
  return -error;
}

tl::unexpected<Error> no_rpc(const std::string& where, const std::string& why) {
  return fail(ErrorKind::kUnavailable,
              "Error connecting to Serf agent: " + where + ": " + why +
                  "; -rpc-addr (or SERF_RPC_ADDR) names where an agent offers Serf's RPC");
}

}  // namespace

Result<Client> Client::connect(const SerfAddress& address) {
  auto wire = std::make_unique<SerfWire>(address.token);
  if (!address.path.empty()) {
    auto client = connect(address.path);
    if (!client) return client;
    client->wire_ = std::move(wire);
    client->speaks_serf_ = true;
    if (auto greeted = client->greet(); !greeted) return tl::unexpected(greeted.error());
    return client;
  }
  const std::string where = address.host + ":" + std::to_string(address.port);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed =
      ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (failed != 0) return no_rpc(where, ::gai_strerror(failed));
  const int descriptor = begin_connect(found);
  ::freeaddrinfo(found);
  if (descriptor < 0) return no_rpc(where, reason(-descriptor));
  Client client(descriptor, where, std::move(wire));
  client.speaks_serf_ = true;
  if (auto connected = client.connected(); !connected) return tl::unexpected(connected.error());
  if (auto greeted = client.greet(); !greeted) return tl::unexpected(greeted.error());
  return client;
}

Result<void> Client::connected() {
  if (auto ready = wait(POLLOUT, Clock::now()); !ready) return ready;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return no_rpc(path_, reason(error));
  return {};
}

Result<void> Client::greet() {
  if (auto sent = send(wire_->greeting()); !sent) return sent;
  std::string error;
  const auto answered = receive([&](const control::Reply& reply) {
    error = reply.error();
    return !reply.done();
  });
  if (!answered) return answered;
  if (!error.empty()) return no_rpc(path_, error);
  return {};
}

Result<Client> Client::connect(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return tl::unexpected(address.error());
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return connect_failure(path, errno);
  Client client(descriptor, path, std::make_unique<FrameWire>());
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
      speaks_serf_(other.speaks_serf_),
      wire_(std::move(other.wire_)) {}

Client& Client::operator=(Client&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  interrupt_ = other.interrupt_;
  path_ = std::move(other.path_);
  timeout_ = other.timeout_;
  last_id_ = other.last_id_;
  speaks_serf_ = other.speaks_serf_;
  wire_ = std::move(other.wire_);
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
  const auto frame = wire_->encode(request);
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
  Clock::time_point since = Clock::now();
  const auto taking = [&](const control::Reply& reply) {
    since = Clock::now();
    return more = on_reply(reply);
  };
  while (more) {
    // Before each read, so that a flood of replies cannot hide the interrupt.
    if (auto ready = wait(POLLIN, since); !ready) return ready;
    const ssize_t got = ::recv(descriptor_, buffer.data(), buffer.size(), 0);
    if (got == 0) return lost(0);
    if (got > 0) {
      const auto taken = wire_->receive({buffer.data(), static_cast<std::size_t>(got)}, taking);
      if (!taken) return fail(taken.error().kind, path_ + ": " + taken.error().message);
    } else if (errno != EAGAIN && errno != EINTR) {
      return lost(errno);
    }
  }
  return {};
}

}  // namespace starling::agent
