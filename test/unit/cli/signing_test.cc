// SPDX-License-Identifier: Apache-2.0
//
// Operators' keys on the command line: making them, and signing with them.
#include <fstream>

#include "agent/trust/order.h"
#include "test/catch.h"
#include "test/unit/cli/command_line.h"
#include "test/unit/control/fake_agent.h"

using starling::agent::test::always;
using starling::agent::test::contains;
using starling::agent::test::FakeAgent;
using starling::agent::test::Outcome;
using starling::agent::test::run;
using starling::agent::test::TemporaryDirectory;
namespace agent = starling::agent;
namespace control = starling::control;

namespace {

struct Keys {
  Keys() {
    path = directory.path() + "/keys/alice.key";
    const Outcome made =
        run({"operator", "keygen", "-name", "alice", "-out", path, "-no-passphrase"});
    REQUIRE(made.status == 0);
    const auto named = agent::NamedKey::parse(made.out);
    REQUIRE(named);
    owner = *named;
  }
  const TemporaryDirectory directory;
  std::string path;
  agent::NamedKey owner;
};

}  // namespace

TEST_CASE_METHOD(Keys, "keygen writes two files and never over another") {
  std::ifstream file(path + ".pub");
  std::string line;
  std::getline(file, line);
  CHECK(line == owner.line());
  const Outcome again =
      run({"operator", "keygen", "-name", "alice", "-out", path, "-no-passphrase"});
  CHECK(again.status == 1);
  contains(again.err, "there is a file of this name");
  contains(run({"operator", "keygen", "-name", "a b", "-out", path + "2"}).err, "-name: ");
  contains(run({"operator", "keygen", "-name", "bob"}).err, "say where the key goes");
  contains(run({"operator"}).err, "say what: keygen, list, trust KEY");
}

TEST_CASE_METHOD(Keys, "what is signed reaches the agent with its signature") {
  FakeAgent fake(always({}));
  CHECK(run({"event", "-sign", path, "-coalesce=false", "deploy", "v1"}, fake.socket()).status ==
        0);
  CHECK(run({"force-leave", "-sign", path, "web1"}, fake.socket()).status == 0);
  CHECK(run({"event", "deploy", "v1"}, fake.socket()).status == 0);
  const auto requests = fake.requests();
  REQUIRE(requests.size() == 3);
  const auto event = agent::verify_order(agent::order_of(requests[0].event()),
                                         requests[0].event().authorization());
  REQUIRE(event);
  CHECK(event->key == owner.key);
  CHECK(event->not_after_ms - event->issued_ms == agent::kUsualValidity_ms);
  CHECK(agent::verify_order(agent::order_of(requests[1].force_leave()),
                            requests[1].force_leave().authorization()));
  CHECK(requests[2].event().authorization().empty());
}

TEST_CASE_METHOD(Keys, "what cannot be signed does not go out") {
  FakeAgent fake(always({}));
  const auto refused = [&](const agent::test::Words& words, const char* why) {
    const Outcome outcome = run(words, fake.socket());
    CHECK(outcome.status == 1);
    contains(outcome.err, why);
  };
  refused({"event", "-sign", path + "x", "deploy"}, "cannot open");
  refused({"event", "-sign", path + ".pub", "deploy"}, "others may read this key");
  refused({"event", "-sign", path, "-valid-for", "0s", "deploy"}, "wants 1s to 720h");
  refused({"event", "-sign", path, "-valid-for", "721h", "deploy"}, "wants 1s to 720h");
  refused({"event", "-valid-for", "1h", "deploy"}, "-valid-for goes with -sign");
  refused({"event", "-sign", path, "-rpc-addr", "127.0.0.1:1", "deploy"},
          "cannot carry a signature");
  CHECK(fake.requests().empty());
}

TEST_CASE_METHOD(Keys, "operators are shown, and trusted by line or file") {
  control::Reply reply;
  control::Operator& alice = *reply.mutable_operators()->add_operators();
  alice.set_name("alice");
  alice.set_id(owner.key.id());
  alice.set_line(owner.line());
  alice.set_source("configuration");
  alice.set_revoked(true);
  FakeAgent fake(always(reply));
  const Outcome shown = run({"operator", "trust", path + ".pub"}, fake.socket());
  CHECK(shown.out == "alice  " + owner.key.id() + "  revoked  configuration\n");
  CHECK(run({"operator", "trust", owner.line()}, fake.socket()).status == 0);
  CHECK(run({"operator", "revoke", "alice"}, fake.socket()).status == 0);
  contains(run({"operator", "list", "-format", "json"}, fake.socket()).out,
           "\"state\": \"revoked\"");
  contains(run({"operator", "trust", "alice"}, fake.socket()).err, "does not begin with");
  const auto requests = fake.requests();
  REQUIRE(requests.size() == 4);
  CHECK(requests[0].operators().who() == owner.line());
  CHECK(requests[1].operators().who() == owner.line());
  CHECK(requests[2].operators().who() == "alice");
}
