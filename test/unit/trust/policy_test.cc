// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/policy.h"

#include "test/catch.h"

namespace starling::agent {

namespace {

const Signer kAlice{"alice", "00000000000000aa"};
const Signer kBob{"bob", "00000000000000bb"};
const Signer kNobody{};

Policy parsed(const std::string& text) {
  auto policy = Policy::parse(text, "policy.yaml");
  CAPTURE(text);
  REQUIRE(policy);
  return *policy;
}

std::string error_of(const std::string& text) {
  const auto policy = Policy::parse(text, "policy.yaml");
  CAPTURE(text);
  REQUIRE_FALSE(policy);
  return policy.error().message;
}

}  // namespace

TEST_CASE("what no rule allows is refused") {
  const Policy none = parsed("rules: []\n");
  CHECK_FALSE(none.allows(OrderKind::kEvent, "deploy", kAlice, {}));
  CHECK_FALSE(none.allows_somewhere(OrderKind::kQuery, "uptime", kNobody));
  const Policy policy = parsed(
      "rules:\n"
      "  - operators: [alice, 00000000000000bb]\n"
      "    events: deploy-*\n"
      "    orders: [keys, jobs]\n"
      "  - operators: unsigned\n"
      "    queries: [uptime, load]\n");
  for (const Signer& signer : {kAlice, kBob}) {
    CHECK(policy.allows(OrderKind::kEvent, "deploy-web", signer, {}));
    CHECK_FALSE(policy.allows(OrderKind::kEvent, "deploy", signer, {}));
    CHECK_FALSE(policy.allows(OrderKind::kQuery, "deploy-web", signer, {}));
    CHECK(policy.allows(OrderKind::kKeys, "use", signer, {}));
    CHECK(policy.allows(OrderKind::kJobs, "kill", signer, {}));
    CHECK_FALSE(policy.allows(OrderKind::kTags, "", signer, {}));
    CHECK_FALSE(policy.allows(OrderKind::kForceLeave, "web1", signer, {}));
    // A signature gives no more than the rules for those who signed.
    CHECK_FALSE(policy.allows(OrderKind::kQuery, "uptime", signer, {}));
  }
  CHECK(policy.allows(OrderKind::kQuery, "uptime", kNobody, {}));
  CHECK_FALSE(policy.allows(OrderKind::kEvent, "deploy-web", kNobody, {}));
  CHECK_FALSE(policy.allows(OrderKind::kKeys, "use", kNobody, {}));
}

TEST_CASE("any means all that are trusted, and nobody else") {
  const Policy policy = parsed("rules: [{operators: any, events: '*'}]");
  CHECK(policy.allows(OrderKind::kEvent, "x", kAlice, {}));
  CHECK_FALSE(policy.allows(OrderKind::kEvent, "x", kNobody, {}));
}

TEST_CASE("a rule holds where the agent has its tags") {
  const Policy policy =
      parsed("rules: [{operators: alice, events: deploy, tags: {role: web*, dc: east}}]");
  CHECK(policy.allows(OrderKind::kEvent, "deploy", kAlice, {{"role", "web2"}, {"dc", "east"}}));
  CHECK_FALSE(policy.allows(OrderKind::kEvent, "deploy", kAlice, {{"role", "web2"}}));
  CHECK_FALSE(policy.allows(OrderKind::kEvent, "deploy", kAlice, {{"role", "db"}, {"dc", "east"}}));
  CHECK(policy.allows_somewhere(OrderKind::kEvent, "deploy", kAlice));
}

TEST_CASE("a rule may name the handlers that run") {
  const Policy policy = parsed(
      "rules:\n"
      "  - {operators: alice, events: '*', handlers: [deploy, 'user:log=*']}\n"
      "  - {operators: bob, events: '*'}\n");
  CHECK(policy.allows(OrderKind::kEvent, "x", kAlice, {}));
  CHECK(policy.allows_handler(OrderKind::kEvent, "x", kAlice, {}, "deploy"));
  CHECK(policy.allows_handler(OrderKind::kEvent, "x", kAlice, {}, "user:log=/usr/bin/logger"));
  CHECK_FALSE(policy.allows_handler(OrderKind::kEvent, "x", kAlice, {}, "reboot"));
  CHECK(policy.allows_handler(OrderKind::kEvent, "x", kBob, {}, "reboot"));
  CHECK_FALSE(policy.allows_handler(OrderKind::kEvent, "x", kNobody, {}, "deploy"));
}

TEST_CASE("an operator may be named by the line of the key") {
  const NamedKey named{SigningKey::generate().public_key(), "carol"};
  const Policy policy =
      parsed("rules:\n  - operators: '" + named.line() + "'\n    events: deploy\n");
  CHECK(policy.allows(OrderKind::kEvent, "deploy", {"anything", named.key.id()}, {}));
  CHECK_FALSE(policy.allows(OrderKind::kEvent, "deploy", kAlice, {}));
}

TEST_CASE("users of handlers are those of the list") {
  const Policy policy = parsed("handler_users: [deploy, www-data]\nrules:\n");
  CHECK(policy.allows_user("deploy"));
  CHECK_FALSE(policy.allows_user("root"));
}

TEST_CASE("a mistake in a policy is named with its place") {
  const auto begins = [](const std::string& text, const std::string& start, const char* part) {
    const std::string error = error_of(text);
    CAPTURE(error);
    CHECK(error.starts_with("policy.yaml:" + start));
    CHECK(error.find(part) != std::string::npos);
  };
  begins("rules:\n  - operators: alice\n    event: deploy\n", "3:5", "did you mean 'events'");
  begins("rule: []\n", "1:1", "did you mean 'rules'");
  begins("rules:\n  - events: deploy\n", "2:5", "without operators");
  begins("rules:\n  - operators: alice\n", "2:5", "allows nothing");
  begins("rules:\n  - operators: 'a b'\n    events: x\n", "2:16", "starling-operator");
  begins("rules:\n  - operators: a/b\n    events: x\n", "2:16", "no operator");
  begins("rules:\n  - operators: alice\n    orders: [key]\n", "3:13", "force-leave, keys, tags");
  begins("rules:\n  - {operators: alice, orders: keys, handlers: x}\n", "2:5", "handlers go with");
  begins("rules:\n  - {operators: alice, events: ''}\n", "2:32", "empty");
  begins("rules:\n  - {operators: alice, events: x, tags: web}\n", "2:41", "wants a map");
  begins("rules: {operators: alice}\n", "1:8", "wants a list");
  begins("rules:\n  - alice\n", "2:5", "each rule is a map");
  begins("- alice\n", "1:1", "wants 'rules:'");
  CHECK(error_of("") ==
        "policy.yaml: wants 'rules:' with a list of rules; 'rules: []' allows "
        "nothing");
}

TEST_CASE("the example of a policy loads and says what its comments say") {
  const auto policy = Policy::read(std::string(STARLING_SOURCE) + "/examples/config/policy.yaml");
  REQUIRE(policy);
  const AgentTags web{{"role", "web"}};
  CHECK(policy->allows(OrderKind::kEvent, "deploy", kAlice, web));
  CHECK_FALSE(policy->allows(OrderKind::kEvent, "deploy", kAlice, {{"role", "db"}}));
  CHECK_FALSE(policy->allows(OrderKind::kEvent, "deploy", kBob, web));
  CHECK_FALSE(policy->allows(OrderKind::kEvent, "deploy", kNobody, web));
  CHECK(policy->allows(OrderKind::kQuery, "uptime", kNobody, {}));
  CHECK(policy->allows(OrderKind::kKeys, "use", kAlice, {}));
}

}  // namespace starling::agent
