// SPDX-License-Identifier: Apache-2.0
#include "agent/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>

namespace starling::agent {

namespace {

std::optional<int64_t> number(const std::optional<std::string>& text) {
  int64_t value = 0;
  if (!text) return std::nullopt;
  const auto read = std::from_chars(text->data(), text->data() + text->size(), value);
  if (read.ec != std::errc() || read.ptr != text->data() + text->size()) return std::nullopt;
  return value;
}

}  // namespace

Notify::Notify(const Environment& environment, long pid) {
  const auto path = environment.get("NOTIFY_SOCKET");
  if (!path || path->size() < 2 || path->size() >= sizeof(sockaddr_un::sun_path)) return;
  if (path->front() != '/' && path->front() != '@') return;
  fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return;
  path_ = *path;
  if (path_.front() == '@') path_.front() = '\0';
  const auto usec = number(environment.get("WATCHDOG_USEC"));
  const auto meant = number(environment.get("WATCHDOG_PID"));
  if (usec && *usec > 1 && (!meant || *meant == pid)) {
    watchdog_interval_ = std::chrono::microseconds(*usec / 2);
  }
}

Notify::~Notify() {
  if (fd_ >= 0) ::close(fd_);
}

void Notify::send(const std::string& state) {
  if (fd_ < 0) return;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size());
  // A manager that does not listen is none of our trouble.
  [[maybe_unused]] const ssize_t sent = ::sendto(fd_, state.data(), state.size(), MSG_NOSIGNAL,
                                                 reinterpret_cast<const sockaddr*>(&address), size);
}

void Notify::ready() {
  send("READY=1");
}

void Notify::reloading() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  send("RELOADING=1\nMONOTONIC_USEC=" +
       std::to_string(int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000));
}

void Notify::stopping() {
  send("STOPPING=1");
}

void Notify::status(std::string_view line) {
  send("STATUS=" + std::string(line));
}

void Notify::watchdog() {
  send("WATCHDOG=1");
}

}  // namespace starling::agent
