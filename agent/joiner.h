// SPDX-License-Identifier: Apache-2.0
//
// Joiner: sees to it that this agent finds its cluster, and finds it again. At start it joins as it
// was told (start_join); in the background it tries the members of retry_join until one answers,
// and again whenever it is alone. (The node itself goes back to members of an earlier process, and
// to those that have failed, however long ago.)
//
// Event-loop thread only.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "agent/log.h"
#include "membership/random.h"

namespace starling::agent {

struct JoinerOptions {
  std::vector<std::string> retry_join;
  membership::Duration retry_interval = std::chrono::seconds(30);
  unsigned max_attempts = 0;  ///< until the first success; 0: for ever
};

class Joiner {
 public:
  /// `cluster` and `log` outlive it. `gave_up` is called after max_attempts.
  Joiner(asio::io_context& io, Cluster& cluster, Log& log, JoinerOptions options,
         std::function<void()> gave_up);

  /// Joins `targets`; an error when none of them works, in one line that names each.
  void start_join(const std::vector<std::string>& targets, bool replay,
                  std::function<void(Result<size_t>)> done);
  /// Begins the work in the background.
  void start();
  /// No further attempts.
  void stop();

 private:
  void try_now();
  void tried(const JoinOutcome& outcome);
  void try_later();
  [[nodiscard]] bool alone() const;
  membership::Duration jittered(membership::Duration interval);

  Cluster& cluster_;
  Log& log_;
  const JoinerOptions options_;
  std::function<void()> gave_up_;
  asio::steady_timer retry_timer_;
  membership::Random random_;
  unsigned attempts_ = 0;
  bool joined_ = false;
  bool stopped_ = false;
};

}  // namespace starling::agent
