// SPDX-License-Identifier: Apache-2.0
//
// The command line as a whole: help, versions, wrong use, errors, the agent's flags.
#include <sstream>

#include "test/catch.h"
#include "test/unit/cli/command_line.h"

using starling::agent::test::always;
using starling::agent::test::answer_members;
using starling::agent::test::check;
using starling::agent::test::contains;
using starling::agent::test::FakeAgent;
using starling::agent::test::Outcome;
using starling::agent::test::run;
using starling::agent::test::Words;
namespace control = starling::control;

using starling::agent::Context;
using starling::agent::FlagValue;

namespace {

FakeAgent::Answer always_error(const std::string& error) {
  control::Reply reply;
  reply.set_error(error);
  return always(reply);
}

}  // namespace

TEST_CASE("without arguments the overview goes to stderr with status 127") {
  const Outcome outcome = run({});
  CHECK(outcome.status == 127);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.starts_with("Usage: starling [--version] [--help] <command> [<args>]\n"));
}

TEST_CASE("help is printed on stdout") {
  for (const Words& words : {Words{"-h"}, Words{"--help"}, Words{"help"}}) {
    const Outcome outcome = run(words);
    CHECK(outcome.status == 0);
    CHECK(outcome.out.starts_with("Usage: starling [--version]"));
  }
  for (const Words& words :
       {Words{"help", "event"}, Words{"event", "-h"}, Words{"event", "x", "--help"}}) {
    const Outcome outcome = run(words);
    CHECK(outcome.status == 0);
    CHECK(outcome.out.starts_with("Usage: starling event [options] NAME [PAYLOAD]\n"));
  }
}

TEST_CASE("an unknown command is named with the nearest one") {
  check(
      run({"memebers"}), 127, "",
      "starling: there is no command 'memebers'; did you mean 'members'?\nSee: starling --help\n");
  CHECK(run({"help", "bogus"}).status == 127);
  CHECK(run({"-control", "x", "members"}).status == 1);
}

TEST_CASE("version is printed whatever else is there") {
  const std::string expected =
      "Starling v" STARLING_VERSION "\nAgent Protocol: 5 (Understands back to: 2)\n";
  check(run({"version"}), 0, expected);
  check(run({"-v"}), 0, expected);
  check(run({"members", "-bogus", "--version"}), 0, expected);
  check(run({"version", "-format=json"}), 0,
        "{\n  \"version\": \"" STARLING_VERSION
        "\",\n  \"protocol\": 5,\n  \"protocol_min\": 2\n}\n");
}

TEST_CASE("an agent that is not running takes one line to say so") {
  const std::vector<Words> commands = {
      {"members"}, {"event", "x"},   {"query", "x"}, {"tags"},  {"info"},
      {"monitor"}, {"reachability"}, {"join", "x"},  {"leave"}, {"force-leave", "x"}};
  for (const Words& words : commands) {
    CAPTURE(words[0]);
    check(run(words), 1, "",
          "starling: no agent is listening on /nonexistent/control.sock; start one with: starling "
          "agent\n");
  }
}

TEST_CASE("the flag for the socket wins over the environment") {
  FakeAgent agent(answer_members);
  CHECK(run({"members", "-control", agent.socket()}, "/nonexistent").status == 0);
  CHECK(run({"members", "-control="}, agent.socket()).status == 1);
}

TEST_CASE("the flag for Serf's RPC wins over the environment, -control wins over it") {
  FakeAgent agent(answer_members);
  // Nobody listens on port 1.
  const Outcome outcome = run({"members", "-rpc-addr=127.0.0.1:1"}, agent.socket());
  CHECK(outcome.status == 1);
  contains(outcome.err, "Error connecting to Serf agent: 127.0.0.1:1: ");
  CHECK(run({"members", "-rpc-addr=127.0.0.1:1", "-control", agent.socket()}, "").status == 0);
  CHECK(run({"members", "-rpc-addr=unix:/nonexistent"}, agent.socket()).status == 1);
  const Outcome malformed = run({"members", "-rpc-addr=127.0.0.1:x"}, agent.socket());
  CHECK(malformed.status == 1);
  contains(malformed.err, "-rpc-addr: ");
}

TEST_CASE("wrong use is explained with status 1") {
  const std::vector<std::pair<Words, std::string>> wrong = {
      {{"members", "-fromat=json"}, "there is no flag -fromat; did you mean -format?"},
      {{"members", "-format=xml"}, "Invalid output format \"xml\""},
      {{"members", "extra"}, "members takes no arguments, but was given 'extra'"},
      {{"members", "-tag", "role"}, "Error: Invalid tag: 'role'"},
      {{"tags", "-set", "ab"}, "Error: Invalid tag: 'ab'"},
      {{"event"}, "An event name must be specified."},
      {{"event", "a", "b", "c"}, "Too many command line arguments."},
      {{"event", "-coalesce=maybe", "a"}, "invalid boolean value \"maybe\" for -coalesce"},
      {{"query"}, "A query name must be specified."},
      {{"query", "a", "b", "c"}, "Too many command line arguments."},
      {{"query", "-timeout", "bogus", "a"}, "invalid value for -timeout"},
      {{"query", "-relay-factor", "300", "a"}, "Relay factor must be between 0 and 255"},
      {{"query", "-relay-factor=-1", "a"}, "Relay factor must be between 0 and 255"},
      {{"join"}, "At least one address to join must be specified."},
      {{"force-leave"}, "A node name must be specified to force leave."},
      {{"force-leave", "a", "b"}, "A node name must be specified to force leave."},
      {{"leave", "now"}, "leave takes no arguments"},
      {{"keygen", "x"}, "keygen takes no arguments"},
      {{"query", "-node"}, "flag needs a value: -node NAME"},
  };
  for (const auto& [words, message] : wrong) {
    const Outcome outcome = run(words);
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    contains(outcome.err, message);
    contains(outcome.err, "Usage: starling " + words[0]);
  }
}

TEST_CASE("an error of the agent is shown in Serf's words") {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{"members"}, "Error retrieving members: no"},
      {{"event", "x"}, "Error sending event: no"},
      {{"query", "x"}, "Error sending query: no"},
      {{"tags"}, "Error querying agent: no"},
      {{"tags", "-delete", "x"}, "Error setting tags: no"},
      {{"info"}, "Error querying agent: no"},
      {{"monitor"}, "Error starting monitor: no"},
      {{"join", "x"}, "Error joining the cluster: no"},
      {{"leave"}, "Error leaving: no"},
      {{"force-leave", "x"}, "Error force leaving: no"},
      {{"reachability"}, "Error getting members: no"}};
  FakeAgent agent(always_error("no"));
  for (const auto& [words, message] : cases) {
    check(run(words, agent.socket()), 1, "", message + "\n");
  }
}

TEST_CASE("the flags of agent are passed on in their order") {
  std::vector<FlagValue> seen;
  const auto run_agent = [&](const std::vector<FlagValue>& flags) {
    seen = flags;
    return 7;
  };
  const Outcome outcome =
      run({"agent", "-config-file", "a", "-tag=x=[1,2]", "--config-dir=b", "-insecure",
           "-config-file=c", "-replay=false", "-control", "/tmp/x"},
          "", {}, run_agent);
  CHECK(outcome.status == 7);
  CHECK(outcome.err.empty());
  CHECK(seen == std::vector<FlagValue>{{"config-file", "a"},
                                       {"tag", "x=[1,2]"},
                                       {"config-dir", "b"},
                                       {"insecure", "true"},
                                       {"config-file", "c"},
                                       {"replay", "false"},
                                       {"control", "/tmp/x"}});
}

TEST_CASE("agent refuses what it does not know") {
  bool started = false;
  const auto run_agent = [&](const std::vector<FlagValue>&) {
    started = true;
    return 0;
  };
  contains(run({"agent", "-retry-jion", "x"}, "", {}, run_agent).err, "did you mean -retry-join?");
  contains(run({"agent", "web1"}, "", {}, run_agent).err, "agent takes no arguments");
  CHECK_FALSE(started);
}

TEST_CASE("output that cannot be written is an error") {
  std::ostringstream err;
  std::ostream broken(nullptr);
  Context context{broken, err};
  CHECK(starling::agent::run_cli({"version"}, context) == 1);
  contains(err.str(), "the output could not be written");
}
