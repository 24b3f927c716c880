// SPDX-License-Identifier: Apache-2.0
//
// How often an agent at rest asks for memory: whole hosts (loop, sockets, seal, core, store, log)
// that probe each other over loopback, on this thread, which counts. What the allocator of SQLite
// and the worker of the store do is not counted: at rest they do nothing.
#include <algorithm>
#include <cstdlib>
#include <new>
#include <thread>

#include "test/unit/agent/host.h"

namespace {

bool counting = false;
size_t allocations = 0;
const std::thread::id counted_thread = std::this_thread::get_id();

void* counted_malloc(size_t size) {
  if (counting && std::this_thread::get_id() == counted_thread) ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

void* counted_aligned(size_t size, std::align_val_t alignment) {
  if (counting && std::this_thread::get_id() == counted_thread) ++allocations;
  const auto align = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(align, (size + align - 1) / align * align)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) {
  return counted_malloc(size);
}
void* operator new[](size_t size) {
  return counted_malloc(size);
}
void* operator new(size_t size, std::align_val_t alignment) {
  return counted_aligned(size, alignment);
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return counted_aligned(size, alignment);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace starling::agent {
namespace {

uint64_t packets(const std::vector<std::unique_ptr<Host>>& hosts) {
  uint64_t sum = 0;
  for (const auto& host : hosts) {
    const TransportStatistics seen = host->cluster->transport().statistics();
    sum += seen.packets_received + seen.packets_sent;
  }
  return sum;
}

TEST_CASE("agents at rest ask for no memory for the packets of their probes") {
  asio::io_context io;
  membership::Options options = membership::Options::local();
  // An answer that is late, on a busy host, makes a probe ask others.
  options.round_trip_min = options.round_trip_initial = options.round_trip_max =
      options.probe_interval = std::chrono::milliseconds(100);
  options.stream_probes = false;  // every tenth probe tries a stream, and a stream is built anew
  std::vector<std::unique_ptr<Host>> hosts;
  for (const char* name : {"a", "b", "c"}) {
    hosts.push_back(std::make_unique<Host>(io, name, options));
    hosts.back()->run();
    hosts.back()->log->set_level(LogLevel::kError);
    if (hosts.size() > 1) hosts.back()->join(*hosts.front());
  }
  // Without an assertion within: the test's framework takes memory too.
  const auto talk = [&](uint64_t count) {
    const uint64_t before = packets(hosts);
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (packets(hosts) - before < count && std::chrono::steady_clock::now() < give_up) {
      io.restart();
      io.run_for(std::chrono::milliseconds(5));
    }
  };
  talk(400);  // all that there is to tell has been told, and buffers have their sizes
  // What happens beside the packets now and then may fall into one of these times, not into all.
  size_t least = SIZE_MAX;
  for (int attempt = 0; attempt < 20 && least > 0; ++attempt) {
    const uint64_t before = packets(hosts);
    allocations = 0;
    counting = true;
    talk(100);
    counting = false;
    REQUIRE(packets(hosts) - before >= 100);
    least = std::min(least, allocations);
  }
  INFO(least << " allocations for 100 packets that were sent or received");
  CHECK(least == 0);
}

}  // namespace
}  // namespace starling::agent
