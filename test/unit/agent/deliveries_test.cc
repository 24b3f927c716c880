// SPDX-License-Identifier: Apache-2.0
#include "agent/deliveries.h"

#include <asio.hpp>

#include "agent/handler_events.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

struct Fixture {
  Fixture() { reopen(); }

  /// As a restart of the process.
  void reopen() {
    deliveries.reset();
    store.reset();
    auto opened = Store::open(io, scratch.path());
    REQUIRE(opened);
    store = std::move(*opened);
    pending = store->take_state().pending;
    deliveries = std::make_unique<Deliveries>(*store, pending);
  }
  void accept(const membership::MessageId& id) {
    store->save({PutPending{{id, 1, "deploy", "", false, {}}}});
    deliveries->expect(id);
  }
  /// Whether the job may run.
  bool ask(const membership::MessageId& id, const std::string& handler) {
    std::optional<bool> answer;
    deliveries->starting({handler, pending_event_id(id), "user:deploy"},
                         [&](bool run) { answer = run; });
    store->flush();
    while (!answer) {
      io.restart();
      io.run_for(std::chrono::milliseconds(10));
    }
    return *answer;
  }

  const Scratch scratch;
  asio::io_context io;
  std::unique_ptr<Store> store;
  std::vector<PendingEvent> pending;
  std::unique_ptr<Deliveries> deliveries;
};

TEST_CASE_METHOD(Fixture, "an event runs each handler once over all restarts") {
  const auto id = message_id(1, 1);
  accept(id);
  CHECK(ask(id, "a"));
  reopen();
  REQUIRE(pending.size() == 1);
  CHECK(deliveries->pending() == 1);
  CHECK_FALSE(ask(id, "a"));
  CHECK(ask(id, "b"));
  reopen();
  CHECK_FALSE(ask(id, "a"));
  CHECK_FALSE(ask(id, "b"));
}

TEST_CASE_METHOD(Fixture, "a job waits until it is written down") {
  const auto id = message_id(1, 1);
  accept(id);
  bool called = false;
  deliveries->starting({"a", pending_event_id(id), ""}, [&](bool) { called = true; });
  store->flush();
  CHECK_FALSE(called);  // written, but the loop has not turned
  reopen();
  CHECK(pending.at(0).started == std::vector<std::string>{"a"});
}

TEST_CASE_METHOD(Fixture, "a settled event is not taken up again") {
  const auto id = message_id(1, 1);
  accept(id);
  CHECK(ask(id, "a"));
  deliveries->settled(pending_event_id(id));
  CHECK(deliveries->pending() == 0);
  reopen();
  CHECK(pending.empty());
}

TEST_CASE_METHOD(Fixture, "what is not kept runs at once") {
  bool run = false;
  deliveries->starting({"a", "query-1", "query:load"}, [&](bool yes) { run = yes; });
  CHECK(run);
  deliveries->settled("query-1");
  CHECK(store->statistics().changes == 0);
}

}  // namespace
}  // namespace starling::agent
