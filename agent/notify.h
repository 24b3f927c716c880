// SPDX-License-Identifier: Apache-2.0
//
// Tells the service manager how the agent is, by the protocol of sd_notify(3): datagrams to the
// unix socket in $NOTIFY_SOCKET. Without it, nothing happens. Never blocks. Not thread-safe.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "agent/config/environment.h"

namespace starling::agent {

class Notify {
 public:
  /// Takes $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID from `environment`. `pid` is this
  /// process: a watchdog that is meant for another one is ignored.
  Notify(const Environment& environment, long pid);
  ~Notify();
  Notify(const Notify&) = delete;
  Notify& operator=(const Notify&) = delete;

  void ready();
  /// A reload has begun; ready() ends it.
  void reloading();
  void stopping();
  void status(std::string_view line);
  void watchdog();

  /// How often watchdog() is expected: half the time after which the manager kills.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval() const {
    return watchdog_interval_;
  }

 private:
  void send(const std::string& state);

  int fd_ = -1;
  std::string path_;  // as in sockaddr_un: an abstract name begins with a NUL byte
  std::optional<std::chrono::microseconds> watchdog_interval_;
};

}  // namespace starling::agent
