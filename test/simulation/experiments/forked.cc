// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/experiments/forked.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <stdexcept>

namespace starling::simulation {

namespace {

/// One copy of this process, and what it has said so far.
struct Copy {
  size_t index = 0;
  pid_t process = -1;
  int pipe = -1;
  std::string said;
};

[[noreturn]] void work_in_copy(int pipe, size_t index,
                               const std::function<std::vector<double>(size_t)>& run) {
  int status = 1;
  try {
    const std::vector<double> result = run(index);
    const auto bytes = std::as_bytes(std::span(result));
    size_t written = 0;
    while (written < bytes.size()) {
      const ssize_t count = write(pipe, bytes.data() + written, bytes.size() - written);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) break;
      written += static_cast<size_t>(count);
    }
    status = written == bytes.size() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run %zu: %s\n", index, error.what());
  }
  // Destroying thousands of members would touch, and so copy, all of their memory.
  _exit(status);
}

Copy start(size_t index, const std::function<std::vector<double>(size_t)>& run) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) throw std::runtime_error(std::string("pipe: ") + strerror(errno));
  std::fflush(nullptr);
  const pid_t process = fork();
  if (process < 0) throw std::runtime_error(std::string("fork: ") + strerror(errno));
  if (process == 0) {
    close(ends[0]);
    work_in_copy(ends[1], index, run);
  }
  close(ends[1]);
  return {index, process, ends[0], {}};
}

/// Takes what a copy has said; true when it has ended.
bool take(Copy& copy) {
  std::array<char, 4096> buffer{};
  const ssize_t count = read(copy.pipe, buffer.data(), buffer.size());
  if (count < 0) return errno != EINTR;
  copy.said.append(buffer.data(), static_cast<size_t>(count));
  return count == 0;
}

std::vector<double> result_of(Copy& copy) {
  close(copy.pipe);
  int status = 0;
  while (waitpid(copy.process, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw std::runtime_error("run " + std::to_string(copy.index) + " died");
  }
  std::vector<double> result(copy.said.size() / sizeof(double));
  if (!result.empty()) std::memcpy(result.data(), copy.said.data(), result.size() * sizeof(double));
  return result;
}

}  // namespace

std::vector<std::vector<double>> run_forked(const std::string& what, size_t count, unsigned jobs,
                                            const std::function<std::vector<double>(size_t)>& run) {
  std::vector<std::vector<double>> results(count);
  std::vector<Copy> copies;
  size_t next = 0;
  size_t done = 0;
  while (done < count) {
    while (next < count && copies.size() < std::max(jobs, 1U)) copies.push_back(start(next++, run));
    std::vector<pollfd> waiting;
    for (const Copy& copy : copies) waiting.push_back({copy.pipe, POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) {
      throw std::runtime_error(std::string("poll: ") + strerror(errno));
    }
    for (size_t i = copies.size(); i-- > 0;) {
      if (waiting[i].revents == 0 || !take(copies[i])) continue;
      results[copies[i].index] = result_of(copies[i]);
      copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(i));
      std::fprintf(stderr, "%s: %zu of %zu runs\n", what.c_str(), ++done, count);
    }
  }
  return results;
}

}  // namespace starling::simulation
