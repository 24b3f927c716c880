// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/gate.h"

#include <sys/stat.h>

#include <filesystem>

#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {

namespace {

constexpr int64_t kStart = 1'700'000'000'000;

Order event(const std::string& name) {
  Order order;
  order.kind = OrderKind::kEvent;
  order.name = name;
  order.payload = "v1";
  return order;
}

struct Fixture {
  Fixture() {
    LogOptions options;
    options.to_stderr = false;
    log = std::move(*Log::open(options));
    watch = log->watch(LogLevel::kInfo, [this](const std::string& line) { lines.push_back(line); });
  }

  /// With alice trusted; mallory is not.
  void open(const std::string& policy = {}, const std::string& audit_file = {}) {
    Gate::Options options{.operators = Operators({{alice.public_key(), "alice"}}, {}),
                          .used = UsedOrders(),
                          .audit_file = audit_file,
                          .clock = [this] { return now; },
                          .tags = [this] { return tags; }};
    if (!policy.empty()) options.policy = *Policy::parse(policy, "policy.yaml");
    auto opened = Gate::open(*log, std::move(options));
    REQUIRE(opened);
    gate = std::move(*opened);
  }

  std::string sign(const Order& order, const SigningKey& key, int64_t validity = 60'000) const {
    return sign_order(order, key, now, validity);
  }
  OrderVerdict judge(const Order& order, const std::string& authorization) {
    return gate->judge(order, authorization, "web1", "user-1");
  }
  [[nodiscard]] bool logged(const std::string& part) const {
    return std::ranges::any_of(
        lines, [&](const std::string& line) { return line.find(part) != std::string::npos; });
  }

  SigningKey alice = SigningKey::generate();
  SigningKey mallory = SigningKey::generate();
  int64_t now = kStart;
  AgentTags tags;
  std::unique_ptr<Log> log;
  std::vector<std::string> lines;
  std::unique_ptr<Log::Watch> watch;
  std::unique_ptr<Gate> gate;
};

}  // namespace

TEST_CASE_METHOD(Fixture, "without a policy all is as in Serf") {
  open();
  CHECK(gate->check(event("deploy"), ""));
  const OrderVerdict verdict = judge(event("deploy"), "");
  CHECK(verdict.allowed);
  CHECK(verdict.signer.nobody());
  CHECK_FALSE(verdict.used);
  CHECK(lines.empty());
  // Who is not trusted has not signed.
  CHECK(judge(event("deploy"), sign(event("deploy"), mallory)).allowed);
  CHECK(gate->allows_handler(OrderKind::kEvent, "deploy", {}, "anything"));
}

TEST_CASE_METHOD(Fixture, "an operator's order is known by its name, policy or not") {
  open();
  const OrderVerdict verdict = judge(event("deploy"), sign(event("deploy"), alice));
  CHECK(verdict.allowed);
  CHECK(verdict.signer == Signer{"alice", alice.public_key().id()});
  REQUIRE(verdict.used);
  CHECK(verdict.used->not_after_ms == kStart + 60'000);
  CHECK(logged("[INFO] audit: accepted event \"deploy\" (2 bytes) by alice (" +
               alice.public_key().id() + ") through web1 [user-1]"));
}

TEST_CASE_METHOD(Fixture, "what is signed must hold, policy or not") {
  for (const char* policy : {"", "rules: [{operators: [any, unsigned], events: '*'}]"}) {
    CAPTURE(policy);
    open(policy);
    const std::string signature = sign(event("deploy"), alice);
    // Of another order.
    const OrderVerdict forged = judge(event("reboot"), signature);
    CHECK_FALSE(forged.allowed);
    CHECK_FALSE(forged.used);
    CHECK(forged.reason.find("does not hold") != std::string::npos);
    CHECK_FALSE(judge(event("deploy"), "garbage").allowed);
    CHECK(gate->statistics().refused_signature == 2);
    // Twice.
    CHECK(gate->check(event("deploy"), signature));
    CHECK(judge(event("deploy"), signature).allowed);
    CHECK_FALSE(gate->check(event("deploy"), signature));
    const OrderVerdict replayed = judge(event("deploy"), signature);
    CHECK_FALSE(replayed.allowed);
    CHECK(replayed.reason.find("been here before") != std::string::npos);
    CHECK(gate->statistics().refused_used == 1);
    // Too late.
    const std::string late = sign(event("deploy"), alice);
    now += 60'000;
    CHECK_FALSE(judge(event("deploy"), late).allowed);
    CHECK(gate->statistics().refused_expired == 1);
    // For too long.
    CHECK_FALSE(judge(event("deploy"), sign(event("deploy"), alice, 2 * kMostValidity_ms)).allowed);
    CHECK(gate->statistics().accepted_signed == 1);
  }
}

TEST_CASE_METHOD(Fixture, "the policy decides, and a refusal says who, what and why") {
  open("rules: [{operators: alice, events: deploy, tags: {role: web}}]");
  tags = {{"role", "web"}};
  CHECK(judge(event("deploy"), sign(event("deploy"), alice)).allowed);
  const OrderVerdict unsigned_one = judge(event("deploy"), "");
  CHECK_FALSE(unsigned_one.allowed);
  CHECK(unsigned_one.reason == "refused by policy: no rule allows event 'deploy' unsigned");
  CHECK(
      logged("[WARN] audit: refused event \"deploy\" (2 bytes) unsigned by web1 [user-1]: "
             "refused by policy"));
  const OrderVerdict wrong = judge(event("reboot"), sign(event("reboot"), alice));
  CHECK(wrong.reason == "refused by policy: no rule allows event 'reboot' to alice");
  CHECK(wrong.used);  // a later policy does not revive it
  const std::string id = mallory.public_key().id();
  CHECK(judge(event("deploy"), sign(event("deploy"), mallory)).reason ==
        "refused by policy: no rule allows event 'deploy' to the key " + id +
            ", which this agent does not trust");
  CHECK(logged("by the unknown key " + id + " through web1"));
  tags = {{"role", "db"}};
  CHECK(judge(event("deploy"), sign(event("deploy"), alice)).reason ==
        "refused by policy: no rule allows event 'deploy' to alice on an agent with its tags");
  CHECK(gate->statistics().refused_policy == 4);
  // At the own door tags do not count: the order may be for others.
  CHECK(gate->check(event("deploy"), sign(event("deploy"), alice)));
  CHECK_FALSE(gate->check(event("deploy"), ""));
}

TEST_CASE_METHOD(Fixture, "who is revoked has not signed") {
  open("rules: [{operators: alice, events: deploy}]");
  const std::string signature = sign(event("deploy"), alice);
  REQUIRE(gate->operators().revoke("alice", 1));
  CHECK_FALSE(judge(event("deploy"), signature).allowed);
  REQUIRE(gate->operators().trust({alice.public_key(), "alice"}, 2));
  CHECK(judge(event("deploy"), signature).allowed);
}

TEST_CASE_METHOD(Fixture, "a flood of refusals is counted and not written down line by line") {
  open("rules: []");
  for (unsigned i = 0; i < AuditLog::kMostRefusals + 50; ++i) judge(event("flood"), "");
  CHECK(lines.size() == AuditLog::kMostRefusals);
  CHECK(gate->statistics().unwritten_refusals == 50);
  CHECK(gate->statistics().refused_policy == AuditLog::kMostRefusals + 50);
  now += 1000;
  judge(event("flood"), "");
  CHECK(logged("50 more refusals were not written down"));
}

TEST_CASE_METHOD(Fixture, "the audit file is the owner's alone, is appended to, and opens anew") {
  const Scratch scratch;
  const std::string path = scratch / "audit.log";
  open({}, path);
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  judge(event("one"), "");
  CHECK(slurp(path).find("accepted event \"one\" (2 bytes) unsigned by web1 [user-1]\n") !=
        std::string::npos);
  std::filesystem::rename(path, path + ".1");
  judge(event("two\nforged line"), "");
  CHECK(slurp(path + ".1").find("two?forged line") != std::string::npos);
  REQUIRE(gate->reopen());
  judge(event("three"), "");
  CHECK(slurp(path).find("three") != std::string::npos);
  CHECK(slurp(path).find("two") == std::string::npos);
  CHECK(Gate::open(*log, {.operators = Operators({}, {}),
                          .used = UsedOrders(),
                          .audit_file = scratch / "none/audit.log"})
            .error()
            .kind == ErrorKind::kUnavailable);
}

}  // namespace starling::agent
