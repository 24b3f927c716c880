// SPDX-License-Identifier: Apache-2.0
//
// A process that is killed in the middle of writing: what it was told is on disk is on disk, and
// what belongs together is there together or not at all.
#include <sys/wait.h>
#include <unistd.h>

#include <asio.hpp>
#include <csignal>
#include <map>
#include <random>

#include "agent/store/store.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

using membership::SaveProgress;

constexpr int kRounds = 20;

JobRow job_row(const membership::MessageId& id) {
  JobRow row;
  row.number = id.origin.bytes[0] * 1'000'000U + id.sequence;
  row.cause = id.to_string();
  row.handler = "*=/bin/true";
  return row;
}

/// In the child: saves events as fast as it can and reports each one that is said to be on disk.
[[noreturn]] void write_for_ever(const std::string& path, uint8_t round, int report) {
  asio::io_context io;
  auto store = Store::open(io, path);
  if (!store) ::_exit(1);
  const auto work = asio::make_work_guard(io);
  uint64_t next = 1;
  std::function<void()> save_one = [&] {
    const uint64_t sequence = next++;
    const membership::MessageId id = message_id(round, sequence);
    (*store)->save({PutEvent{id, std::string(200, 'r')}, SaveProgress{id.origin, 7, sequence, {}},
                    PutPending{{id, sequence, "deploy", "", false}}, PutJob{job_row(id)}},
                   [&, sequence](const Result<void>& done) {
                     if (!done || ::write(report, &sequence, sizeof sequence) < 0) ::_exit(1);
                     save_one();
                   });
  };
  for (int i = 0; i < 8; ++i) save_one();
  io.run();
  ::_exit(1);
}

/// Kills a writer after `delay`; returns the highest sequence it reported.
uint64_t kill_one(const std::string& path, uint8_t round, std::chrono::microseconds delay) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    write_for_ever(path, round, ends[1]);
  }
  ::close(ends[1]);
  uint64_t last = 0;
  // The clock starts when the first one is acknowledged.
  REQUIRE(::read(ends[0], &last, sizeof last) == sizeof last);
  ::usleep(static_cast<useconds_t>(delay.count()));
  ::kill(child, SIGKILL);
  uint64_t sequence = 0;
  while (::read(ends[0], &sequence, sizeof sequence) == sizeof sequence) last = sequence;
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  return last;
}

TEST_CASE("a killed process loses nothing that was acknowledged and tears nothing") {
  const Scratch scratch;
  std::mt19937 random(std::random_device{}());
  std::uniform_int_distribution<int> delay_us(0, 20'000);
  uint32_t epoch = 0;
  std::map<membership::NodeId, uint64_t> acknowledged;
  for (uint8_t round = 1; round <= kRounds; ++round) {
    acknowledged[node_id(round)] =
        kill_one(scratch.path(), round, std::chrono::microseconds(delay_us(random)));
    asio::io_context io;
    auto store = Store::open(io, scratch.path());
    REQUIRE(store);
    CHECK((*store)->notes().empty());
    CHECK((*store)->epoch() > epoch);
    epoch = (*store)->epoch();
    const StoredState state = (*store)->take_state();

    std::map<membership::NodeId, uint64_t> events;
    for (const auto& event : state.events) {
      CHECK(event.id.sequence == ++events[event.id.origin]);  // without gaps, in order
    }
    REQUIRE(state.progress.size() == round);
    for (const SaveProgress& progress : state.progress) {
      CHECK(progress.contiguous == events[progress.origin]);
      CHECK(progress.contiguous >= acknowledged[progress.origin]);
    }
    REQUIRE(state.pending.size() == state.events.size());
    CHECK(state.jobs.size() == state.events.size());
  }
}

}  // namespace
}  // namespace starling::agent
