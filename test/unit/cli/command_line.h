// SPDX-License-Identifier: Apache-2.0
//
// Runs a whole command line in the test's own process and keeps what it prints, and makes services
// to run it against.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/cli/cli.h"
#include "test/unit/control/fake_agent.h"

namespace starling::agent::test {

using SessionPtr = std::shared_ptr<Session>;
using Words = std::vector<std::string>;

struct Outcome {
  int status = -1;
  std::string out;
  std::string err;
};

/// Which of the streams pretends to be a terminal.
struct Terminal {
  bool out = false;
  bool err = false;
};

/// `control` is $STARLING_CONTROL; nothing else is set. `input` is on standard input.
Outcome run(const Words& words, const std::string& control = "/nonexistent/control.sock",
            Terminal terminal = {}, const AgentRunner& run_agent = nullptr,
            const std::string& input = {});

/// CHECKs all three at once.
void check(const Outcome& outcome, int status, const std::string& out, const std::string& err = {});

/// CHECKs that `part` is in `text`.
void contains(const std::string& text, const std::string& part);

void set(control::KeyValue* pair, const std::string& key, const std::string& value);

/// Two members: a1 (self, alive, tagged) and longername2 (failed).
control::Reply members_reply(const control::Request& request);
/// Answers any request with them.
void answer_members(const SessionPtr& session, const control::Request& request);

/// Answers any request with the one reply.
FakeAgent::Answer always(const control::Reply& pattern);

}  // namespace starling::agent::test
