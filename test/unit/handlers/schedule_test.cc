// SPDX-License-Identifier: Apache-2.0
#include "handlers/schedule.h"

#include <map>
#include <vector>

#include "test/catch.h"

using starling::handlers::HandlerId;
using starling::handlers::JobClass;
using starling::handlers::JobId;
using starling::handlers::Schedule;

namespace {

JobId submit(Schedule& schedule, HandlerId handler, JobClass job_class = JobClass::kEvent) {
  const auto job = schedule.submit(handler, job_class);
  REQUIRE(job);
  return *job;
}

}  // namespace

TEST_CASE("schedule runs a handler's jobs in order and one at a time") {
  Schedule schedule(64);
  const HandlerId handler = schedule.add_handler(1, 10);
  std::vector<JobId> submitted;
  submitted.reserve(5);
  for (int i = 0; i < 5; ++i) submitted.push_back(submit(schedule, handler));
  std::vector<JobId> run;
  while (const auto job = schedule.next()) {
    CHECK(schedule.running() == 1);
    CHECK_FALSE(schedule.next());
    run.push_back(*job);
    schedule.finished(*job);
  }
  CHECK(run == submitted);
  CHECK(schedule.waiting() == 0);
}

TEST_CASE("schedule runs as many of a handler at once as allowed") {
  Schedule schedule(64);
  const HandlerId handler = schedule.add_handler(3, 10);
  for (int i = 0; i < 5; ++i) submit(schedule, handler);
  const auto first = schedule.next();
  CHECK(schedule.next());
  CHECK(schedule.next());
  CHECK_FALSE(schedule.next());
  CHECK(schedule.running(handler) == 3);
  CHECK(schedule.waiting(handler) == 2);
  schedule.finished(*first);
  CHECK(schedule.next());
  CHECK_FALSE(schedule.next());
}

TEST_CASE("schedule refuses the newest when a queue is full") {
  Schedule schedule(64);
  const HandlerId handler = schedule.add_handler(1, 2);
  const HandlerId other = schedule.add_handler(1, 2);
  const JobId first = submit(schedule, handler);
  submit(schedule, handler);
  CHECK_FALSE(schedule.submit(handler, JobClass::kEvent));
  CHECK(schedule.submit(other, JobClass::kEvent));
  CHECK(schedule.next() == first);  // what runs is not in the queue
  CHECK(schedule.submit(handler, JobClass::kEvent));
}

TEST_CASE("a stuck handler holds up no other") {
  Schedule schedule(64);
  const HandlerId stuck = schedule.add_handler(1, 10);
  const HandlerId other = schedule.add_handler(1, 10);
  for (int i = 0; i < 10; ++i) submit(schedule, stuck);
  CHECK(schedule.next());
  for (int i = 0; i < 10; ++i) {
    const JobId job = submit(schedule, other);
    CHECK(schedule.next() == job);
    schedule.finished(job);
  }
}

TEST_CASE("places go round the handlers that wait") {
  Schedule schedule(4);  // three for events
  const HandlerId greedy = schedule.add_handler(100, 1000);
  const HandlerId modest = schedule.add_handler(1, 1000);
  std::map<JobId, HandlerId> owner;
  for (int i = 0; i < 100; ++i) owner[submit(schedule, greedy)] = greedy;
  for (int i = 0; i < 10; ++i) owner[submit(schedule, modest)] = modest;
  std::vector<JobId> running;
  while (const auto job = schedule.next()) running.push_back(*job);
  CHECK(running.size() == 3);
  size_t modest_runs = 0;
  for (int i = 0; i < 40; ++i) {
    schedule.finished(running.front());
    running.erase(running.begin());
    const auto job = schedule.next();
    REQUIRE(job);
    if (owner[*job] == modest) ++modest_runs;
    running.push_back(*job);
  }
  CHECK(modest_runs >= 9);
}

TEST_CASE("events leave places to queries") {
  Schedule schedule(8);
  const HandlerId events = schedule.add_handler(100, 100);
  const HandlerId queries = schedule.add_handler(100, 100);
  for (int i = 0; i < 20; ++i) submit(schedule, events);
  size_t running = 0;
  while (schedule.next()) ++running;
  CHECK(running == 6);
  for (int i = 0; i < 5; ++i) submit(schedule, queries, JobClass::kQuery);
  CHECK(schedule.next());
  CHECK(schedule.next());
  CHECK_FALSE(schedule.next());
  CHECK(schedule.running() == 8);
}

TEST_CASE("a single place serves events and queries") {
  Schedule schedule(1);
  const HandlerId handler = schedule.add_handler(1, 10);
  const JobId event = submit(schedule, handler);
  const JobId query = submit(schedule, handler, JobClass::kQuery);
  CHECK(schedule.next() == event);
  CHECK_FALSE(schedule.next());
  schedule.finished(event);
  CHECK(schedule.next() == query);
}

TEST_CASE("a waiting job can be cancelled and a running one cannot") {
  Schedule schedule(4);
  const HandlerId handler = schedule.add_handler(1, 10);
  const JobId first = submit(schedule, handler);
  const JobId second = submit(schedule, handler);
  const JobId third = submit(schedule, handler);
  CHECK(schedule.next() == first);
  CHECK_FALSE(schedule.cancel(first));
  CHECK(schedule.cancel(second));
  CHECK_FALSE(schedule.cancel(second));
  schedule.finished(first);
  CHECK(schedule.next() == third);
}

TEST_CASE("a handler whose jobs are all cancelled leaves its turn to others") {
  Schedule schedule(4);
  const HandlerId one = schedule.add_handler(1, 10);
  const HandlerId two = schedule.add_handler(1, 10);
  const JobId gone = submit(schedule, one);
  const JobId stays = submit(schedule, two);
  CHECK(schedule.cancel(gone));
  CHECK(schedule.next() == stays);
  const JobId again = submit(schedule, one);
  CHECK(schedule.next() == again);
}

TEST_CASE("a retired handler finishes what it has and is forgotten") {
  Schedule schedule(4);
  const HandlerId handler = schedule.add_handler(1, 10);
  const JobId first = submit(schedule, handler);
  const JobId second = submit(schedule, handler);
  CHECK(schedule.next() == first);
  schedule.retire_handler(handler);
  CHECK(schedule.knows(handler));
  schedule.finished(first);
  CHECK(schedule.next() == second);
  schedule.finished(second);
  CHECK_FALSE(schedule.knows(handler));
  const HandlerId idle = schedule.add_handler(1, 10);
  schedule.retire_handler(idle);
  CHECK_FALSE(schedule.knows(idle));
}

TEST_CASE("raised limits count at once") {
  Schedule schedule(8);
  const HandlerId handler = schedule.add_handler(1, 2);
  submit(schedule, handler);
  submit(schedule, handler);
  CHECK(schedule.next());
  CHECK_FALSE(schedule.next());
  schedule.set_limits(handler, 2, 5);
  CHECK(schedule.next());
  for (int i = 0; i < 5; ++i) submit(schedule, handler);
  CHECK_FALSE(schedule.submit(handler, JobClass::kEvent));
}
