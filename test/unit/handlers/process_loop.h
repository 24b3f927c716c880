// SPDX-License-Identifier: Apache-2.0
//
// What tests of processes have in common: a loop with a spawner, and what their scripts say.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "handlers/process.h"
#include "handlers/spawner.h"
#include "test/catch.h"
#include "test/unit/handlers/loop.h"

namespace starling::handlers {

/// A loop with a spawner. At its end the server and all that it started are gone.
struct ProcessLoop {
  explicit ProcessLoop(SpawnerLimits limits = {})
      : spawner(std::make_unique<Spawner>(loop, STARLING_TEST_SUPERVISOR, limits)) {}
  ~ProcessLoop() { end_server(); }
  ProcessLoop(const ProcessLoop&) = delete;
  ProcessLoop& operator=(const ProcessLoop&) = delete;

  /// Whether everything is gone.
  bool end_server() {
    spawner.reset();
    return until([] { return childless(); });
  }
  template <typename Condition>
  bool until(Condition condition) {
    return run_until(loop, condition);
  }
  /// The number in a file that a script writes in one go, once it is there.
  pid_t pid_in(const std::string& path) {
    std::string text;
    REQUIRE(until([&] {
      text = read_file(path);
      return text.ends_with("\n");
    }));
    return static_cast<pid_t>(std::stol(text));
  }

  asio::io_context loop;
  std::unique_ptr<Spawner> spawner;
};

/// A shell's command in a bare environment.
inline ProcessRequest shell_request(std::string command) {
  ProcessRequest request;
  request.arguments = {"/bin/sh", "-c", std::move(command)};
  request.environment = {"PATH=/usr/bin:/bin"};
  return request;
}

/// What a script says to wait until there is a file.
inline std::string until_file(const std::string& path) {
  return "while [ ! -e " + path + " ]; do sleep 0.02; done";
}

}  // namespace starling::handlers
