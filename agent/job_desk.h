// SPDX-License-Identifier: Apache-2.0
//
// JobDesk: answers what is asked about this host's jobs, by its own users or, through a query to
// this member alone, by another member's. Event-loop thread only.
#pragma once

#include <asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "agent/job_ledger.h"
#include "handlers/dispatcher.h"
#include "proto/control.pb.h"

namespace starling::agent {

/// The query that carries a JobRequest to another member; its answer is a JobReply. A query finds
/// its way around a broken route, is sent again until it is heard, and takes answers of 1 MiB.
inline constexpr std::string_view kJobQuery = "_starling_job";

class JobDesk {
 public:
  /// Bytes of a log in one answer, and jobs in one list.
  static constexpr size_t kMaxPiece = size_t{256} << 10;
  static constexpr uint32_t kMaxListed = 1000;
  /// Longest wait of a request for more of a log, or for jobs to end, and how many may wait at
  /// once.
  static constexpr uint32_t kMostWait_ms = 10'000;
  static constexpr size_t kMaxWaiting = 256;

  using Answer = std::function<void(Result<control::JobReply>)>;

  /// All outlive it.
  JobDesk(asio::io_context& io, JobLedger& ledger, handlers::Dispatcher& dispatcher)
      : io_(io), ledger_(ledger), dispatcher_(dispatcher) {}

  /// `answer` is called once, later.
  void ask(const control::JobRequest& request, const Answer& answer);

 private:
  void list(const control::JobRequest& request, int64_t deadline_ms, const Answer& answer);
  void listed(const control::JobRequest& request, int64_t deadline_ms, JobLedger::CauseState state,
              const std::vector<JobRow>& rows, const Answer& answer);
  /// `again` soon, if there is time and room to wait; false: not.
  bool look_again(int64_t deadline_ms, std::function<void()> again);
  void logs(const control::JobRequest& request, int64_t deadline_ms, const Answer& answer);
  void logs_of(const control::JobRequest& request, const JobRow& row, int64_t deadline_ms,
               const Answer& answer);
  void kill(uint64_t number, int64_t deadline_ms, const Answer& answer);
  /// The job that `request` names, or an error to `answer`.
  void find(uint64_t number, const Answer& answer, std::function<void(const JobRow&)> found);

  asio::io_context& io_;
  JobLedger& ledger_;
  handlers::Dispatcher& dispatcher_;
  size_t waiting_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace starling::agent
