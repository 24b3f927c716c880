// SPDX-License-Identifier: Apache-2.0
#include "test/unit/control/fake_agent.h"

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>
#include <utility>

#include "proto/support/assert.h"

namespace starling::agent::test {

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "starling-test-XXXXXX").string();
  STARLING_ASSERT(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

struct FakeAgent::State : RequestHandler {
  State(Answer chosen_answer, UnixServerLimits limits)
      : answer(std::move(chosen_answer)),
        server(io, directory.path() + "/control.sock", *this, limits) {}

  void handle(const std::shared_ptr<Session>& session, const control::Request& request) override {
    requests.push_back(request);
    answer(session, request);
  }
  void session_closed(const std::shared_ptr<Session>& /*session*/) override { ++closed; }

  Answer answer;
  TemporaryDirectory directory;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
  std::vector<control::Request> requests;
  std::size_t closed = 0;
  UnixServer server;
  std::thread thread;
};

FakeAgent::FakeAgent(Answer answer, UnixServerLimits limits)
    : state_(std::make_unique<State>(std::move(answer), limits)) {
  const auto listening = state_->server.listen();
  STARLING_ASSERT(listening.has_value());
  state_->thread = std::thread([state = state_.get()] { state->io.run(); });
}

FakeAgent::~FakeAgent() {
  run([this] { state_->server.close(); });
  state_->work.reset();
  state_->thread.join();
}

std::string FakeAgent::socket() const {
  return state_->server.path();
}

void FakeAgent::run(const std::function<void()>& task) {
  std::promise<void> done;
  asio::post(state_->io, [&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

std::vector<control::Request> FakeAgent::requests() {
  std::vector<control::Request> copy;
  run([&] { copy = state_->requests; });
  return copy;
}

std::size_t FakeAgent::closed_sessions() {
  std::size_t closed = 0;
  run([&] { closed = state_->closed; });
  return closed;
}

std::size_t FakeAgent::connections() {
  std::size_t connections = 0;
  run([&] { connections = state_->server.connections(); });
  return connections;
}

UnixServerCounters FakeAgent::counters() {
  UnixServerCounters counters;
  run([&] { counters = state_->server.counters(); });
  return counters;
}

bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

control::Reply last_reply(const control::Request& request) {
  control::Reply reply;
  reply.set_id(request.id());
  reply.set_done(true);
  return reply;
}

}  // namespace starling::agent::test
