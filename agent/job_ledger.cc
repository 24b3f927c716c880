// SPDX-License-Identifier: Apache-2.0
#include "agent/job_ledger.h"

#include <unistd.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <utility>

#include "agent/handler_events.h"
#include "agent/store/file.h"
#include "handlers/event_record.h"
#include "handlers/fault.h"
#include "handlers/job_file.h"
#include "handlers/report.h"
#include "proto/support/unix_time.h"

namespace starling::agent {

using handlers::Evidence;
using handlers::JobFile;
using handlers::JobPermit;

namespace {

constexpr auto kRetryAfter = std::chrono::seconds(1);
// A supervisor that has been started writes so within a millisecond or so.
constexpr auto kLookAgain = std::chrono::milliseconds(20);
constexpr unsigned kPruneEvery = 256;
// Of a job that may be repeated but never comes to an end.
constexpr unsigned kMostAttempts = 1000;

JobState state_of(handlers::JobEnding ending) {
  switch (ending) {
    case handlers::JobEnding::kSucceeded:
      return JobState::kSucceeded;
    case handlers::JobEnding::kFailed:
    case handlers::JobEnding::kNotStarted:
      return JobState::kFailed;
    case handlers::JobEnding::kTimedOut:
      return JobState::kTimedOut;
    case handlers::JobEnding::kTerminated:
      return JobState::kKilled;
    case handlers::JobEnding::kLost:
      return JobState::kInterrupted;
  }
  return JobState::kInterrupted;
}

/// The run's file, or why it cannot be had. A file that an earlier start left without a run is
/// replaced.
Result<JobFile> make_file(const std::string& path, size_t log_bytes) {
  auto file = JobFile::create(path, log_bytes);
  if (file || file.error().kind != ErrorKind::kConflict) return file;
  if (handlers::examine(path) != Evidence::kNeverBegan) return file;
  ::unlink(path.c_str());
  return JobFile::create(path, log_bytes);
}

handlers::JobName name_of(const JobRow& row) {
  handlers::JobName name;
  name.number = row.number;
  name.attempt = row.attempt;
  name.handler = row.handler;
  name.event_id = row.cause;
  name.event = row.event;
  return name;
}

/// "12-1": number and attempt. None: not the file of a run.
std::optional<JobRun> parse_file_name(const std::string& name) {
  JobRun run{};
  const char* const end = name.data() + name.size();
  const auto number = std::from_chars(name.data(), end, run.first);
  if (number.ec != std::errc{} || number.ptr == end || *number.ptr != '-') return std::nullopt;
  const auto attempt = std::from_chars(number.ptr + 1, end, run.second);
  if (attempt.ec != std::errc{} || attempt.ptr != end) return std::nullopt;
  return run;
}

}  // namespace

/// One start on its way through the store.
struct JobLedger::Start {
  JobRow row;
  bool replayable = false;
  size_t log_bytes = 0;
  std::string path;
  std::function<void(JobPermit)> proceed;
  handlers::FileDescriptor file;  // made on the store's thread
};

JobLedger::JobLedger(asio::io_context& io, Store& store, Log& log, JobLedgerOptions options)
    : io_(io),
      store_(store),
      log_(log),
      options_(std::move(options)),
      boot_(handlers::boot_id()),
      retry_timer_(io),
      settle_timer_(io) {}

Result<std::unique_ptr<JobLedger>> JobLedger::open(asio::io_context& io, Store& store, Log& log,
                                                   JobLedgerOptions options) {
  if (auto made = make_directory(options.directory); !made) return tl::unexpected(made.error());
  return std::unique_ptr<JobLedger>(new JobLedger(io, store, log, std::move(options)));
}

void JobLedger::expect(const membership::MessageId& id) {
  const std::string cause = pending_event_id(id);
  pending_[cause] = id;
  arrived(cause);
}

void JobLedger::note_unwanted(const membership::MessageId& id) {
  arrived(pending_event_id(id));
}

void JobLedger::refuse(const membership::MessageId& id, std::string reason) {
  const std::string cause = pending_event_id(id);
  refused_[cause] = std::move(reason);
  arrived(cause);
}

void JobLedger::arrived(const std::string& cause) {
  if (!arrived_.insert(cause).second) return;
  arrived_order_.push_back(cause);
  if (arrived_order_.size() <= kMaxArrived) return;
  arrived_.erase(arrived_order_.front());
  refused_.erase(arrived_order_.front());
  arrived_order_.pop_front();
}

JobLedger::CauseState JobLedger::cause_state(const std::string& cause) const {
  const bool arrived = arrived_.contains(cause);
  const auto refused = refused_.find(cause);
  return {arrived, arrived && !pending_.contains(cause) && !unwritten_.contains(cause),
          refused == refused_.end() ? "" : refused->second};
}

std::string JobLedger::file_of(uint64_t number, unsigned attempt) const {
  return options_.directory + "/" + std::to_string(number) + "-" + std::to_string(attempt);
}

JobRow JobLedger::row_of(const handlers::JobName& job) const {
  JobRow row;
  row.number = job.number;
  row.attempt = job.attempt;
  row.cause = job.event_id;
  row.handler = job.handler;
  row.event = job.event;
  const auto known = known_.find(job.number);
  row.queued_ms = known == known_.end() ? unix_milliseconds() : known->second.queued_ms;
  row.started_ms = known == known_.end() ? 0 : known->second.started_ms;
  row.answers = known != known_.end() && known->second.answers;
  return row;
}

// --- plan --------------------------------------------------------------------------------------

void JobLedger::planned(const handlers::Event& event, const std::vector<handlers::PlannedJob>& jobs,
                        const handlers::PlanState& state) {
  const bool replayable = !handlers::is_member_event(event.type);
  Changes changes;
  std::string record;
  for (const handlers::PlannedJob& planned : jobs) {
    if (!planned.refused) {
      known_[planned.job.number] = {unix_milliseconds(), 0, replayable && !planned.answers,
                                    planned.answers};
      // The answer to a query is of no use to a later process: it is written down when it starts.
      if (planned.answers) continue;
    }
    JobRow row = row_of(planned.job);
    if (planned.refused) {
      row.state = JobState::kSkipped;
      row.reason = handlers::drop_reason_name(*planned.refused);
      row.ended_ms = row.queued_ms;
    } else {
      if (record.empty()) record = handlers::encode_event(event);
      row.record = record;
      row.started_ms = planned.job.due_ms;
    }
    changes.push_back(PutJob{std::move(row)});
  }
  // In one transaction: the event is pending, or its jobs are in the ledger.
  if (state.last) {
    if (auto pending = pending_.extract(event.id); !pending.empty()) {
      changes.push_back(SettleEvent{pending.mapped()});
    }
  }
  if (changes.empty()) return;
  store_.save(std::move(changes),
              [this, written = state.written, cause = event.id, has_jobs = !record.empty(),
               alive = std::weak_ptr<bool>(alive_)](const Result<void>& result) {
                if (!alive.lock()) return;
                if (!result && has_jobs && unwritten_.size() < kMaxArrived) {
                  unwritten_.insert(cause);
                }
                if (written) written(result.has_value());
              });
}

void JobLedger::dropped(const handlers::JobName& job, handlers::DropReason reason) {
  const auto known = known_.find(job.number);
  // What waits when the agent stops stays in the ledger, but for what somebody waited for.
  if (reason == handlers::DropReason::kStopping) {
    if (known == known_.end() || !known->second.answers) return;
  }
  const bool durable = known != known_.end() && known->second.replayable;
  JobRow row = row_of(job);
  row.state = reason == handlers::DropReason::kKilled ? JobState::kKilled : JobState::kSkipped;
  row.reason = handlers::drop_reason_name(reason);
  row.ended_ms = unix_milliseconds();
  if (known != known_.end()) known_.erase(known);
  save_end({std::move(row), durable, {}});
}

// --- start -------------------------------------------------------------------------------------

void JobLedger::starting(const handlers::JobName& job, const handlers::Event& event,
                         std::function<void(JobPermit)> proceed) {
  auto start = std::make_shared<Start>();
  Known& known = known_[job.number];
  known.started_ms = unix_milliseconds();
  start->row = row_of(job);
  start->row.state = JobState::kRunning;
  start->row.boot = boot_;
  start->replayable = known.replayable;
  // Most rows have it since they were planned; if that failed, it is not lost now.
  if (!known.answers) start->row.record = handlers::encode_event(event);
  start->log_bytes = job.log_bytes;
  start->path = file_of(job.number, job.attempt);
  start->proceed = std::move(proceed);
  try_start(start);
}

void JobLedger::try_start(const std::shared_ptr<Start>& start) {
  StartJob change;
  change.row = start->row;
  change.durable = start->replayable;
  change.prepare = [start]() -> Result<void> {
    auto file = make_file(start->path, start->log_bytes);
    if (!file) return tl::unexpected(file.error());
    start->file = file->release();
    fault_point(FaultPoint::kFileMade);
    return {};
  };
  store_.save({std::move(change)},
              [this, start, alive = std::weak_ptr<bool>(alive_)](const Result<void>& result) {
                if (alive.lock()) started(start, result);
              });
}

void JobLedger::started(const std::shared_ptr<Start>& start, const Result<void>& result) {
  JobPermit permit;
  if (result) {
    permit.run = true;
    permit.file = std::move(start->file);
    permit.path = start->path;
    return start->proceed(std::move(permit));
  }
  if (start->file.get() >= 0) {
    start->file.close();
    ::unlink(start->path.c_str());
  }
  if (result.error().kind == ErrorKind::kConflict) {
    log_.warn("jobs", "not run again: " + result.error().message);
    known_.erase(start->row.number);
    return start->proceed(std::move(permit));
  }
  if (!start->replayable) {
    statistics_.unrecorded += 1;
    log_.error("jobs", "job " + std::to_string(start->row.number) + " (" + start->row.handler +
                           ") runs without a record: " + result.error().message);
    permit.run = true;
    return start->proceed(std::move(permit));
  }
  // To run it now and perhaps again later would be worse than to run it later.
  if (postponed_.empty()) {
    log_.error("jobs", "jobs of user events wait until they can be written down: " +
                           result.error().message);
  }
  statistics_.postponed += 1;
  postponed_.push_back(start);
  retry_soon();
}

// --- end ---------------------------------------------------------------------------------------

void JobLedger::finished(const handlers::JobReport& report, std::function<void(bool)> recorded) {
  JobRow row = row_of(report.job);
  row.state = state_of(report.ending);
  row.reason = report.error;
  row.boot = boot_;
  row.ended_ms = report.ended_ms;
  row.status = report.status;
  row.signalled = report.signalled;
  row.output_bytes = report.output_bytes;
  row.log_bytes = std::min<uint64_t>(report.output_bytes, report.job.log_bytes);
  const auto known = known_.find(report.job.number);
  const bool durable = known == known_.end() || known->second.replayable;
  if (report.retry_ms > 0) {
    row.reason = "attempt " + std::to_string(row.attempt) + ": " + row.reason;
    row.state = JobState::kQueued;
    row.attempt += 1;
    row.started_ms = report.retry_ms;
    row.ended_ms = 0;
  } else if (known != known_.end()) {
    known_.erase(known);
  }
  save_end({std::move(row), durable, std::move(recorded)});
}

void JobLedger::save_end(End end) {
  auto kept = std::make_shared<End>(std::move(end));
  store_.save({EndJob{kept->row, kept->durable}},
              [this, kept, alive = std::weak_ptr<bool>(alive_)](const Result<void>& result) {
                if (!alive.lock()) return;
                if (kept->recorded) std::exchange(kept->recorded, {})(result.has_value());
                if (result) {
                  unwritten_.erase(kept->row.cause);
                  return prune_now_and_then();
                }
                if (waiting_ends_.size() >= kMaxWaitingEnds) {
                  statistics_.ends_lost += 1;
                  return;
                }
                waiting_ends_.push_back(std::move(*kept));
                retry_soon();
              });
}

void JobLedger::retry_soon() {
  if (std::exchange(retrying_, true)) return;
  retry_timer_.expires_after(kRetryAfter);
  retry_timer_.async_wait(
      [this, alive = std::weak_ptr<bool>(alive_)](const asio::error_code& error) {
        if (error || !alive.lock()) return;
        retrying_ = false;
        retry();
      });
}

/// One first: the others only if the disk takes that.
void JobLedger::retry() {
  if (!waiting_ends_.empty()) {
    auto ends = std::exchange(waiting_ends_, {});
    Changes changes;
    for (const End& end : ends) changes.push_back(EndJob{end.row, end.durable});
    store_.save(std::move(changes),
                [this, ends = std::move(ends),
                 alive = std::weak_ptr<bool>(alive_)](const Result<void>& result) mutable {
                  if (!alive.lock()) return;
                  if (result) {
                    for (const End& end : ends) unwritten_.erase(end.row.cause);
                    return;
                  }
                  for (End& end : ends) waiting_ends_.push_back(std::move(end));
                  retry_soon();
                });
  }
  for (const std::shared_ptr<Start>& start : std::exchange(postponed_, {})) try_start(start);
}

// --- what an earlier process left --------------------------------------------------------------

void JobLedger::resume(handlers::Dispatcher& dispatcher, std::vector<JobRow> unfinished,
                       uint64_t last) {
  dispatcher_ = &dispatcher;
  last_number_ = last;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(options_.directory, ignored)) {
    if (const auto run = parse_file_name(entry.path().filename().string())) {
      last_number_ = std::max(last_number_, run->first);
    }
  }
  for (JobRow& row : unfinished) {
    const bool replayable = !row.answers && !row.cause.starts_with("member-");
    known_[row.number] = {row.queued_ms, row.started_ms, replayable, row.answers};
    if (!settle(row)) starting_rows_.push_back(std::move(row));
  }
  settle_starting();
  sweep_files();
}

void JobLedger::settle_starting() {
  if (starting_rows_.empty()) return;
  settle_timer_.expires_after(kLookAgain);
  settle_timer_.async_wait(
      [this, alive = std::weak_ptr<bool>(alive_)](const asio::error_code& error) {
        if (error || !alive.lock()) return;
        std::erase_if(starting_rows_, [this](const JobRow& row) { return settle(row); });
        settle_starting();
      });
}

bool JobLedger::settle(const JobRow& row) {
  if (row.state == JobState::kQueued) {
    restore(row, false);
    return true;
  }
  const std::string path = file_of(row.number, row.attempt);
  Evidence evidence = handlers::examine(path);
  if (evidence == Evidence::kRunning) {
    auto event = handlers::decode_event(row.record);
    const auto adopted = dispatcher_->adopt(name_of(row), row.answers,
                                            event ? *std::move(event) : handlers::Event{}, path);
    if (adopted) {
      log_.info("jobs", "job " + std::to_string(row.number) + " (" + row.handler +
                            ") still runs and is supervised on");
      return true;
    }
    if (adopted.error().kind != ErrorKind::kNotFound) log_.error("jobs", adopted.error().message);
    evidence = handlers::examine(path);  // it has just ended
    if (evidence == Evidence::kRunning) return false;
  }
  if (evidence == Evidence::kStarting) return false;
  if (evidence == Evidence::kEnded) {
    const auto file = JobFile::open(path);
    const auto ended = file ? file->ended() : std::nullopt;
    if (ended) {
      handlers::ProcessResult result = handlers::result_of(*file, *ended, 0);
      const auto report =
          handlers::make_report(name_of(row), result, handlers::Duration::max(), {});
      finished(report, {});
      return true;
    }
  }
  if (evidence == Evidence::kInterrupted) {
    if (const auto file = JobFile::open(path)) handlers::kill_leftovers(*file);
  }
  if (evidence == Evidence::kNeverBegan && row.boot == boot_ && !boot_.empty() && !row.answers) {
    // The start was written down, and then nothing happened: it is still to be run.
    restore(row, true);
    return true;
  }
  if (!row.answers && dispatcher_->may_repeat(row.handler) && row.attempt < kMostAttempts) {
    restore(row, true);
    return true;
  }
  std::string reason = "its supervisor was killed";
  if (row.boot != boot_) reason = "the host was restarted";
  if (evidence == Evidence::kNeverBegan && row.answers) reason = "the agent ended before it began";
  end_row(row, JobState::kInterrupted, reason);
  return true;
}

void JobLedger::end_row(JobRow row, JobState state, std::string reason) {
  row.state = state;
  row.reason = std::move(reason);
  row.ended_ms = unix_milliseconds();
  row.record.clear();
  known_.erase(row.number);
  log_.warn("jobs", "job " + std::to_string(row.number) + " (" + row.handler + " for " + row.event +
                        ") is " + std::string(job_state_name(state)) + ": " + row.reason);
  save_end({std::move(row), true, {}});
}

void JobLedger::restore(JobRow row, bool requeue) {
  auto event = handlers::decode_event(row.record);
  if (!event) return end_row(std::move(row), JobState::kSkipped, event.error().message);
  handlers::JobName name = name_of(row);
  name.due_ms = requeue ? 0 : row.started_ms;
  if (requeue) {
    // In the ledger as well, before anything can start: the next attempt.
    name.attempt = row.attempt = row.attempt + 1;
    row.state = JobState::kQueued;
    row.boot.clear();
    row.started_ms = 0;
    store_.save({EndJob{row, false}});
  }
  if (dispatcher_->restore(std::move(name), *std::move(event))) return;
  end_row(std::move(row), JobState::kSkipped, "its handler is not configured any more");
}

// --- bounds ------------------------------------------------------------------------------------

void JobLedger::list(JobQuery query, Listed listed) {
  auto rows = std::make_shared<Result<std::vector<JobRow>>>();
  const bool runs = store_.run(
      [rows, query = std::move(query)](Database& database) { *rows = database.jobs(query); },
      [rows, listed] { listed(std::move(*rows)); });
  if (!runs) listed(fail(ErrorKind::kBusy, "the disk is too slow; retry later"));
}

void JobLedger::retry(uint64_t number, std::function<void(Result<JobRow>)> done) {
  JobQuery query;
  query.number = number;
  query.limit = 1;
  list(query, [this, number, done = std::move(done),
               alive = std::weak_ptr<bool>(alive_)](Result<std::vector<JobRow>> rows) {
    if (!alive.lock()) return;
    if (!rows) return done(tl::unexpected(rows.error()));
    if (number == 0 || rows->empty()) {
      return done(fail(ErrorKind::kNotFound, "there is no job " + std::to_string(number) +
                                                 " here, or it has been pruned"));
    }
    retry_row(std::move(rows->front()), done);
  });
}

void JobLedger::retry_row(JobRow row, const std::function<void(Result<JobRow>)>& done) {
  const std::string name = "job " + std::to_string(row.number);
  auto event = handlers::decode_event(row.record);
  if (row.answers || row.record.empty() || !event) {
    return done(fail(ErrorKind::kConflict,
                     name + " cannot run again: " +
                         (row.answers ? "nobody waits for its answer any more"
                                      : "its event is not kept; send the event again")));
  }
  if (!is_final(row.state) || known_.contains(row.number)) {
    return done(fail(ErrorKind::kConflict,
                     name + " is " + std::string(job_state_name(row.state)) + " already"));
  }
  // Until it is written down, nobody else may retry it.
  known_[row.number] = {row.queued_ms, 0, !row.cause.starts_with("member-"), false};
  row.attempt += 1;
  row.state = JobState::kQueued;
  row.reason = "retry";
  row.boot.clear();
  row.queued_ms = unix_milliseconds();
  row.started_ms = row.ended_ms = 0;
  auto kept = std::make_shared<handlers::Event>(*std::move(event));
  store_.save({EndJob{row, true}}, [this, row, kept, done, alive = std::weak_ptr<bool>(alive_)](
                                       const Result<void>& result) {
    if (!alive.lock()) return;
    if (!result) {
      known_.erase(row.number);
      return done(tl::unexpected(result.error()));
    }
    if (!dispatcher_->restore(name_of(row), std::move(*kept))) {
      end_row(row, JobState::kSkipped, "its handler is not configured any more");
      return done(fail(ErrorKind::kConflict, "job " + std::to_string(row.number) +
                                                 ": its handler is not configured any more"));
    }
    done(row);
  });
}

void JobLedger::prune(JobRetention retention, std::function<void(Result<size_t>)> done) {
  auto count = std::make_shared<Result<size_t>>(0);
  const bool runs = store_.run(
      [this_directory = options_.directory, retention, count](Database& database) {
        const auto removed = database.prune_jobs(retention, unix_milliseconds());
        if (!removed) {
          *count = tl::unexpected(removed.error());
          return;
        }
        for (const auto& [number, attempts] : *removed) {
          for (unsigned attempt = 1; attempt <= attempts; ++attempt) {
            ::unlink((this_directory + "/" + std::to_string(number) + "-" + std::to_string(attempt))
                         .c_str());
          }
        }
        *count = removed->size();
      },
      [this, count, done = std::move(done), alive = std::weak_ptr<bool>(alive_)] {
        if (alive.lock() && *count) statistics_.pruned += **count;
        if (done) done(*count);
      });
  if (!runs && done) done(fail(ErrorKind::kBusy, "the disk is too slow; retry later"));
}

void JobLedger::prune_now_and_then() {
  if (until_prune_ > 0) {
    until_prune_ -= 1;
    return;
  }
  until_prune_ = kPruneEvery;
  prune(options_.retention, {});
}

/// Files of jobs that the ledger has forgotten: the agent was killed between two steps of pruning.
void JobLedger::sweep_files() {
  static_cast<void>(store_.run(
      [directory = options_.directory](Database& database) {
        std::vector<uint64_t> numbers;
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
          const auto run = parse_file_name(entry.path().filename().string());
          if (run) numbers.push_back(run->first);
        }
        std::ranges::sort(numbers);
        const auto duplicates = std::ranges::unique(numbers);
        numbers.erase(duplicates.begin(), duplicates.end());
        const auto unknown = database.unknown_jobs(std::move(numbers));
        if (!unknown) return;
        for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
          const auto run = parse_file_name(entry.path().filename().string());
          if (!run || !std::ranges::binary_search(*unknown, run->first)) continue;
          const Evidence evidence = handlers::examine(entry.path().string());
          if (evidence == Evidence::kRunning || evidence == Evidence::kStarting) continue;
          ::unlink(entry.path().c_str());
        }
      },
      [] {}));
}

}  // namespace starling::agent
