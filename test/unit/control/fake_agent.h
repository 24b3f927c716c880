// SPDX-License-Identifier: Apache-2.0
//
// A control service made of one function, behind a real UnixServer in a thread of its own: what the
// tests of the door and of the command line talk to.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/control/server.h"

namespace starling::agent::test {

/// A directory that is removed, with its contents, at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class FakeAgent {
 public:
  using Answer =
      std::function<void(const std::shared_ptr<Session>& session, const control::Request& request)>;

  /// Serves until the end of its life. `answer` runs on the server's thread.
  explicit FakeAgent(Answer answer, UnixServerLimits limits = {});
  ~FakeAgent();
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  std::string socket() const;
  /// Runs `task` on the server's thread and waits for it.
  void run(const std::function<void()>& task);
  /// Requests so far.
  std::vector<control::Request> requests();
  /// Sessions that were reported closed so far.
  std::size_t closed_sessions();
  std::size_t connections();
  UnixServerCounters counters();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Waits until `condition` holds; false after ten seconds.
bool eventually(const std::function<bool()>& condition);

/// A reply to `request`, with `done`.
control::Reply last_reply(const control::Request& request);

}  // namespace starling::agent::test
