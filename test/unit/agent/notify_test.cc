// SPDX-License-Identifier: Apache-2.0
#include "agent/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

constexpr long kPid = 4711;

/// The service manager's end.
class Manager {
 public:
  explicit Manager(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), size) == 0);
  }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;
  ~Manager() { ::close(fd_); }

  /// The next message; empty when there is none.
  [[nodiscard]] std::string next() const {
    char text[512];
    const ssize_t size = ::recv(fd_, text, sizeof text, MSG_DONTWAIT);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }

 private:
  int fd_;
};

Environment with(const std::map<std::string, std::string>& variables) {
  Environment environment;
  environment.variable = [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  return environment;
}

TEST_CASE("the service manager is told of each state") {
  const Scratch scratch;
  const std::string path = scratch / "notify";
  const Manager manager(path);
  Notify notify(with({{"NOTIFY_SOCKET", path}}), kPid);
  notify.ready();
  CHECK(manager.next() == "READY=1");
  notify.reloading();
  CHECK(manager.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
  notify.stopping();
  CHECK(manager.next() == "STOPPING=1");
  notify.watchdog();
  CHECK(manager.next() == "WATCHDOG=1");
  notify.status("3 members");
  CHECK(manager.next() == "STATUS=3 members");
  CHECK(manager.next().empty());
  CHECK_FALSE(notify.watchdog_interval());
}

TEST_CASE("an abstract socket works too") {
  const std::string name = "starling-test-" + std::to_string(::getpid());
  const Manager manager(std::string(1, '\0') + name);
  Notify notify(with({{"NOTIFY_SOCKET", "@" + name}}), kPid);
  notify.ready();
  CHECK(manager.next() == "READY=1");
}

TEST_CASE("the watchdog is expected in half its time") {
  const std::string path = "/nowhere/notify";
  const auto interval = [&](const std::string& usec, const std::string& pid) {
    return Notify(with({{"NOTIFY_SOCKET", path}, {"WATCHDOG_USEC", usec}, {"WATCHDOG_PID", pid}}),
                  kPid)
        .watchdog_interval();
  };
  CHECK(interval("30000000", "4711") == std::chrono::microseconds(15'000'000));
  CHECK(interval("30000000", "") == std::chrono::microseconds(15'000'000));
  CHECK_FALSE(interval("30000000", "4712"));  // another process is meant
  CHECK_FALSE(interval("0", ""));
  CHECK_FALSE(interval("soon", ""));
  CHECK_FALSE(interval("-5", ""));
}

TEST_CASE("without a service manager nothing happens") {
  const std::string long_path = "/" + std::string(200, 'x');
  for (const std::string& path : {std::string(), std::string("relative"),
                                  std::string("/gone/notify"), long_path, std::string("@")}) {
    CAPTURE(path);
    Notify notify(with({{"NOTIFY_SOCKET", path}}), kPid);
    notify.ready();
    notify.stopping();
  }
}

}  // namespace
}  // namespace starling::agent
