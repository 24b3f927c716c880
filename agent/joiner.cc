// SPDX-License-Identifier: Apache-2.0
#include "agent/joiner.h"

#include <sodium.h>

#include <utility>

namespace starling::agent {

using membership::Duration;

namespace {

uint64_t random_seed() {
  uint64_t seed = 0;
  randombytes_buf(&seed, sizeof seed);
  return seed;
}

std::string reasons(const JoinOutcome& outcome) {
  constexpr size_t kShown = 5;
  std::string text;
  for (size_t i = 0; i < outcome.failures.size() && i < kShown; ++i) {
    const auto& [target, reason] = outcome.failures[i];
    text += (i == 0 ? "" : "; ") + target + ": " + reason;
  }
  if (outcome.failures.size() > kShown) {
    text += "; and " + std::to_string(outcome.failures.size() - kShown) + " more";
  }
  return text;
}

}  // namespace

Joiner::Joiner(asio::io_context& io, Cluster& cluster, Log& log, JoinerOptions options,
               std::function<void()> gave_up)
    : cluster_(cluster),
      log_(log),
      options_(std::move(options)),
      gave_up_(std::move(gave_up)),
      retry_timer_(io),
      random_(random_seed()) {}

void Joiner::start_join(const std::vector<std::string>& targets, bool replay,
                        std::function<void(Result<size_t>)> done) {
  cluster_.join(targets, replay, [done = std::move(done)](const JoinOutcome& outcome) {
    if (outcome.contacted > 0) return done(outcome.contacted);
    done(fail(ErrorKind::kUnavailable, "cannot join the cluster: " + reasons(outcome)));
  });
}

void Joiner::start() {
  if (!options_.retry_join.empty()) try_now();
}

void Joiner::stop() {
  stopped_ = true;
  retry_timer_.cancel();
}

// --- retry_join --------------------------------------------------------------------------------

void Joiner::try_now() {
  cluster_.join(options_.retry_join, false, [this](const JoinOutcome& outcome) { tried(outcome); });
}

void Joiner::tried(const JoinOutcome& outcome) {
  if (stopped_) return;
  if (outcome.contacted > 0) {
    if (!joined_) {
      log_.info("cluster", "joined by contacting " + std::to_string(outcome.contacted) +
                               " of the members in retry_join");
    }
    joined_ = true;
    return try_later();
  }
  if (joined_) return try_later();  // alone again: the others may be down for good
  ++attempts_;
  if (options_.max_attempts > 0 && attempts_ >= options_.max_attempts) {
    log_.error("cluster", "maximum of " + std::to_string(options_.max_attempts) +
                              " join attempts made, giving up: " + reasons(outcome));
    return gave_up_();
  }
  log_.warn("cluster", "cannot join yet, trying again: " + reasons(outcome));
  try_later();
}

void Joiner::try_later() {
  retry_timer_.expires_after(jittered(options_.retry_interval));
  retry_timer_.async_wait([this](const asio::error_code& error) {
    if (error || stopped_) return;
    if (!joined_ || alone()) return try_now();
    try_later();
  });
}

bool Joiner::alone() const {
  return cluster_.node().up_count() <= 1;
}

/// Within a quarter of the interval, so that hosts that started together do not call together.
Duration Joiner::jittered(Duration interval) {
  return std::chrono::duration_cast<Duration>(interval * (0.75 + 0.5 * random_.unit()));
}

}  // namespace starling::agent
