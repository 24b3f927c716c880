// SPDX-License-Identifier: Apache-2.0
//
// Hosts for the tests of what drives the core: each a real store and transport on a loopback port
// of its own; all on one loop, which the test turns.
#pragma once

#include <asio.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "agent/log.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {

/// Turns the loop until `condition` holds; a test that waits too long fails.
template <typename Condition>
void turn_until(asio::io_context& io, Condition condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    REQUIRE(std::chrono::steady_clock::now() < give_up);
    io.restart();
    io.run_for(std::chrono::milliseconds(5));
  }
}

class Host {
 public:
  Host(asio::io_context& io, std::string name,
       const membership::Options& protocol = membership::Options::local())
      : io_(io), name_(std::move(name)), protocol_(protocol) {
    LogOptions options;
    options.to_stderr = false;
    options.level = LogLevel::kDebug;
    log = std::move(*Log::open(options));
    start();
  }

  /// As a process that begins, over the same directory.
  void start() {
    auto opened = Store::open(io_, scratch.path());
    REQUIRE(opened);
    store = std::move(*opened);
    state = store->take_state();
    ClusterOptions options;
    options.bind = *membership::Address::parse("127.0.0.1:1");
    options.bind = membership::Address(options.bind.ip(), 0);
    options.advertise = [](uint16_t port) -> Result<membership::Address> {
      return *membership::Address::from_ip("127.0.0.1", port);
    };
    options.name = name_;
    options.tags = tags;
    options.protocol = protocol_;
    auto made = Cluster::open(io_, *log, *store, Keyring::insecure(), std::move(options), state);
    REQUIRE(made);
    cluster = std::move(*made);
  }

  /// With hooks that write down what they hear.
  void run() {
    ClusterHooks hooks;
    hooks.member = [this](const membership::MemberEvent& event) {
      members.push_back(std::string(membership::member_change_name(event.change)) + " " +
                        event.member.name);
    };
    hooks.judge_event = judge_event;
    hooks.judge_query = judge_query;
    hooks.user_event_seen = [this](const membership::UserEventArrived& event) {
      seen.push_back(event.payload);
      return has_handler;
    };
    hooks.user_event = [this](const membership::UserEventArrived& event,
                              const OrderVerdict& verdict, bool pending) {
      CHECK(pending == (has_handler && verdict.allowed));
      if (!verdict.allowed) return refused.push_back(event.payload);
      events.push_back(event.payload);
      if (on_event) on_event(event);
    };
    hooks.query = [this](const membership::QueryArrived& query, const OrderVerdict&) {
      if (answer_queries) {
        membership::Answer answer;
        answer.payload = "I am " + name_;
        cluster->answer_query(query.id, std::move(answer));
      }
    };
    hooks.left = [this] { left = true; };
    cluster->start(std::move(hooks));
  }

  /// As a process that is about to end in good order.
  void save() { store->save(cluster->take_unsaved()); }
  /// As a process that ends, in any way: nothing is said to others.
  void stop() {
    cluster.reset();
    store.reset();
  }

  [[nodiscard]] membership::Address address() const { return cluster->node().identity().address; }
  [[nodiscard]] std::string status_of(const std::string& name) const {
    const auto member = cluster->node().member(name);
    return member ? std::string(membership::public_status(member->status)) : "";
  }
  void join(const Host& other) {
    bool joined = false;
    cluster->join(other.address(), false, [&](const JoinOutcome& outcome) {
      CHECK(outcome.contacted == 1);
      joined = true;
    });
    turn_until(io_, [&] { return joined; });
  }

  const Scratch scratch;
  std::map<std::string, std::string> tags;
  std::unique_ptr<Log> log;
  std::unique_ptr<Store> store;
  StoredState state;
  std::unique_ptr<Cluster> cluster;

  std::vector<std::string> members;
  std::vector<std::string> seen;  ///< events, before they are written down
  std::vector<std::string> events;
  std::vector<std::string> refused;
  std::function<OrderVerdict(const membership::UserEventArrived&)> judge_event;  // before run()
  std::function<OrderVerdict(const membership::QueryArrived&)> judge_query;
  std::function<void(const membership::UserEventArrived&)> on_event;
  bool has_handler = true;
  bool answer_queries = true;
  bool left = false;

 private:
  asio::io_context& io_;
  const std::string name_;
  const membership::Options protocol_;
};

}  // namespace starling::agent
