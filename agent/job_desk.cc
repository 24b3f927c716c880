// SPDX-License-Identifier: Apache-2.0
#include "agent/job_desk.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <chrono>
#include <utility>

#include "handlers/job_file.h"
#include "proto/support/unix_time.h"

namespace starling::agent {

using control::JobReply;
using control::JobRequest;

namespace {

// What is waited for is looked at this often: a log is the file of another process, which tells
// nobody.
constexpr auto kLookAgain = std::chrono::milliseconds(100);

std::optional<JobState> parse_state(const std::string& name) {
  for (int number = 0; number <= static_cast<int>(JobState::kSkipped); ++number) {
    const auto state = static_cast<JobState>(number);
    if (job_state_name(state) == name) return state;
  }
  return std::nullopt;
}

// For a job that is between its queue and its process, or has just ended.
constexpr int64_t kKillWait_ms = 2000;

Result<JobQuery> read_query(const JobRequest& request) {
  JobQuery query;
  query.number = request.number();
  query.below = request.below();
  query.cause = request.cause();
  query.handler = request.handler();
  for (const std::string& name : request.states()) {
    const auto state = parse_state(name);
    if (!state) {
      return fail(ErrorKind::kInvalid,
                  "there is no state \"" + name +
                      "\"; there are queued, running, succeeded, failed, timed-out, killed, "
                      "interrupted and skipped");
    }
    query.states.push_back(*state);
  }
  query.limit = std::clamp<size_t>(request.limit(), 1, JobDesk::kMaxListed);
  return query;
}

void describe(const JobRow& row, control::Job& job) {
  job.set_number(row.number);
  job.set_attempt(row.attempt);
  job.set_cause(row.cause);
  job.set_handler(row.handler);
  job.set_event(row.event);
  job.set_state(std::string(job_state_name(row.state)));
  job.set_reason(row.reason);
  job.set_queued_ms(row.queued_ms);
  job.set_started_ms(row.started_ms);
  job.set_ended_ms(row.ended_ms);
  job.set_status(row.status);
  job.set_signalled(row.signalled);
  job.set_output_bytes(row.output_bytes);
}

}  // namespace

void JobDesk::find(uint64_t number, const Answer& answer,
                   std::function<void(const JobRow&)> found) {
  JobQuery query;
  query.number = number;
  query.limit = 1;
  ledger_.list(query, [number, answer, found = std::move(found),
                       alive = std::weak_ptr<bool>(alive_)](Result<std::vector<JobRow>> rows) {
    if (!alive.lock()) return;
    if (!rows) return answer(tl::unexpected(rows.error()));
    if (number == 0 || rows->empty()) {
      return answer(
          fail(ErrorKind::kNotFound, "there is no job " + std::to_string(number) +
                                         " here, or it has been pruned; see: starling job list"));
    }
    found(rows->front());
  });
}

void JobDesk::ask(const JobRequest& request, const Answer& answer) {
  const int64_t deadline_ms =
      unix_milliseconds() + std::min<uint32_t>(request.wait_ms(), kMostWait_ms);
  switch (request.action()) {
    case JobRequest::LIST:
      return list(request, deadline_ms, answer);
    case JobRequest::SHOW:
      return find(request.number(), answer, [answer](const JobRow& row) {
        JobReply reply;
        describe(row, *reply.add_jobs());
        answer(std::move(reply));
      });
    case JobRequest::LOGS:
      return logs(request, deadline_ms, answer);
    case JobRequest::KILL:
      return kill(request.number(), unix_milliseconds() + kKillWait_ms, answer);
    case JobRequest::RETRY:
      return ledger_.retry(request.number(), [answer](const Result<JobRow>& row) {
        if (!row) return answer(tl::unexpected(row.error()));
        JobReply reply;
        describe(*row, *reply.add_jobs());
        answer(std::move(reply));
      });
    case JobRequest::PRUNE: {
      JobRetention keep;
      keep.count = request.keep();
      keep.age_ms =
          static_cast<int64_t>(std::min<uint64_t>(request.older_than_ms(), uint64_t{1} << 50));
      return ledger_.prune(keep, [answer](Result<size_t> count) {
        if (!count) return answer(tl::unexpected(count.error()));
        JobReply reply;
        reply.set_count(*count);
        answer(std::move(reply));
      });
    }
    default:
      answer(fail(ErrorKind::kInvalid,
                  "this agent does not know what is asked about its jobs: it "
                  "may be older than the one that asks"));
  }
}

void JobDesk::list(const JobRequest& request, int64_t deadline_ms, const Answer& answer) {
  auto query = read_query(request);
  if (!query) return answer(tl::unexpected(query.error()));
  // Before the list: what is settled by now is in it.
  const JobLedger::CauseState state = ledger_.cause_state(request.cause());
  ledger_.list(*std::move(query),
               [this, request, deadline_ms, state, answer,
                alive = std::weak_ptr<bool>(alive_)](const Result<std::vector<JobRow>>& rows) {
                 if (!alive.lock()) return;
                 if (!rows) return answer(tl::unexpected(rows.error()));
                 listed(request, deadline_ms, state, *rows, answer);
               });
}

void JobDesk::listed(const JobRequest& request, int64_t deadline_ms, JobLedger::CauseState state,
                     const std::vector<JobRow>& rows, const Answer& answer) {
  JobReply reply;
  // What an earlier process of this agent had is known by its jobs.
  reply.set_arrived(state.arrived || !rows.empty());
  reply.set_settled(state.arrived ? state.settled : !rows.empty());
  reply.set_refused(state.refused);
  const bool ended = reply.settled() && std::ranges::all_of(rows, [](const JobRow& row) {
                       return is_final(row.state);
                     });
  if (!request.cause().empty() && !ended &&
      look_again(deadline_ms,
                 [this, request, deadline_ms, answer] { list(request, deadline_ms, answer); })) {
    return;
  }
  reply.set_now_ms(unix_milliseconds());
  for (const JobRow& row : rows) {
    describe(row, *reply.add_jobs());
    if (reply.ByteSizeLong() < kMaxPiece) continue;
    reply.set_more(true);
    break;
  }
  answer(std::move(reply));
}

bool JobDesk::look_again(int64_t deadline_ms, std::function<void()> again) {
  if (unix_milliseconds() >= deadline_ms || waiting_ >= kMaxWaiting) return false;
  waiting_ += 1;
  auto timer = std::make_shared<asio::steady_timer>(io_, kLookAgain);
  timer->async_wait([this, timer, again = std::move(again),
                     alive = std::weak_ptr<bool>(alive_)](const asio::error_code& error) {
    if (error || !alive.lock()) return;
    waiting_ -= 1;
    again();
  });
  return true;
}

void JobDesk::logs(const JobRequest& request, int64_t deadline_ms, const Answer& answer) {
  find(request.number(), answer, [this, request, deadline_ms, answer](const JobRow& row) {
    logs_of(request, row, deadline_ms, answer);
  });
}

void JobDesk::logs_of(const JobRequest& request, const JobRow& row, int64_t deadline_ms,
                      const Answer& answer) {
  JobReply reply;
  describe(row, *reply.add_jobs());
  const unsigned attempt = request.attempt() != 0 ? request.attempt() : row.attempt;
  const auto file = handlers::JobFile::open(ledger_.file_of(row.number, attempt));
  if (file) {
    auto piece = file->read(request.offset(), kMaxPiece);
    reply.set_offset(piece.offset);
    reply.set_total(piece.total);
    reply.set_output(std::move(piece.bytes));
  } else if (file.error().kind != ErrorKind::kNotFound) {
    return answer(tl::unexpected(file.error()));
  }
  if (reply.output().empty() && !is_final(row.state) &&
      look_again(deadline_ms,
                 [this, request, deadline_ms, answer] { logs(request, deadline_ms, answer); })) {
    return;
  }
  answer(std::move(reply));
}

void JobDesk::kill(uint64_t number, int64_t deadline_ms, const Answer& answer) {
  find(number, answer, [this, number, deadline_ms, answer](const JobRow& row) {
    if (dispatcher_.kill_job(number)) {
      JobReply reply;
      describe(row, *reply.add_jobs());
      return answer(std::move(reply));
    }
    const std::string name = "job " + std::to_string(number);
    const std::string state(job_state_name(row.state));
    if (is_final(row.state)) {
      return answer(fail(ErrorKind::kConflict, name + " does not run or wait: it is " + state));
    }
    if (look_again(deadline_ms, [=, this] { kill(number, deadline_ms, answer); })) return;
    answer(fail(ErrorKind::kBusy,
                name + " is " + state + ", and about to start or to end: try again soon"));
  });
}

}  // namespace starling::agent
