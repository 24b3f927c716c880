// SPDX-License-Identifier: Apache-2.0
//
// The way of an event: cluster -> monitors and dispatcher -> handlers, and of an answer back.
#include <utility>

#include "agent/agent_impl.h"
#include "agent/handler_events.h"
#include "agent/handler_specs.h"
#include "agent/reachability.h"
#include "agent/trust/order.h"
#include "handlers/text.h"
#include "proto/support/unix_time.h"

namespace starling::agent {

namespace {

// Of a handler's output, in one line of the log.
constexpr size_t kLoggedOutput = 1024;
// A member's change that stays alone is told to handlers after this.
constexpr handlers::Duration kAlone = std::chrono::milliseconds(300);

handlers::Duration to_steady(membership::Duration duration) {
  return std::chrono::duration_cast<handlers::Duration>(duration);
}

}  // namespace

Result<void> Agent::open_dispatcher() {
  handlers::DispatcherOptions options;
  options.max_running = config_.max_running_handlers;
  options.response_limit = config_.options.query_response_size_limit;
  options.member_window = {to_steady(config_.quiescent_period), to_steady(config_.coalesce_period),
                           kAlone};
  options.more_failures = [this] { return cluster_ && cluster_->node().sizes().suspicions > 0; };
  options.user_window = {to_steady(config_.user_quiescent_period),
                         to_steady(config_.user_coalesce_period)};
  // So that `starling event ...` in a handler reaches the agent that runs it.
  options.environment = {"STARLING_CONTROL=" + config_.control};
  options.splay_seed = cluster_->node().identity().id.to_string();
  options.end_jobs_on_stop = config_.end_jobs_on_stop;
  options.directory = config_.handler_dir;
  options.directory_limits.timeout = to_steady(config_.handler_timeout);
  options.directory_limits.concurrency = config_.handler_concurrency;
  options.hooks = dispatcher_hooks();
  dispatcher_ = std::make_unique<handlers::Dispatcher>(io_, std::move(options));
  auto specs = make_handler_specs(config_.event_handlers, config_);
  if (!specs) return tl::unexpected(specs.error());
  dispatcher_->set_handlers(std::move(*specs));
  missed_ = std::make_unique<MissedEvents>(io_, [this](handlers::Event event) {
    dispatcher_->dispatch(std::move(event), to_host(cluster_->node().self()));
  });
  set_missed_policy();
  return {};
}

void Agent::set_missed_policy() {
  bool latest = false;
  bool past = false;
  for (const HandlerConfig& handler : config_.event_handlers) {
    latest = latest || handler.missed == "latest";
    past = past || handler.missed == "latest" || handler.missed == "all";
  }
  missed_->set_wanted(latest);
  cluster_->set_wants_past(past);
}

ClusterHooks Agent::cluster_hooks() {
  ClusterHooks hooks;
  hooks.member = [this](const membership::MemberEvent& event) {
    admission_->saw(event);
    service_->saw(event);
    dispatcher_->dispatch(to_handler_event(event, store_->epoch(), ++member_events_),
                          to_host(cluster_->node().self()));
  };
  add_judges(hooks);
  hooks.user_event_seen = [this](const membership::UserEventArrived& event) {
    service_->saw(event);
    return dispatcher_->has_handler(to_handler_event(event));
  };
  hooks.user_event = [this](const membership::UserEventArrived& event, const OrderVerdict& verdict,
                            bool pending) {
    if (!verdict.allowed) return jobs_->refuse(event.id, verdict.reason);
    if (!pending) return jobs_->note_unwanted(event.id);
    jobs_->expect(event.id);
    missed_->arrived(to_handler_event(event, verdict.signer));
  };
  hooks.query = [this](const membership::QueryArrived& query, const OrderVerdict& verdict) {
    if (query.name == kReachabilityQuery) return report_ways(query.id);
    if (query.name == kKeysQuery) return answer_about_keys(query);
    if (query.name == kJobQuery) return answer_about_jobs(query);
    if (query.name == kNodesQuery) return admission_->answer(query);
    service_->saw(query);
    dispatcher_->dispatch_query(to_handler_event(query, verdict.signer),
                                to_host(cluster_->node().self()),
                                [this, id = query.id](handlers::QueryOutcome outcome) {
                                  service_->handlers_answered(id, to_answer(std::move(outcome)));
                                });
  };
  hooks.query_over = [this](const membership::MessageId& id) {
    dispatcher_->cancel_query(query_event_id(id));
  };
  hooks.left = [this] { left(); };
  return hooks;
}

handlers::DispatcherHooks Agent::dispatcher_hooks() {
  handlers::DispatcherHooks hooks;
  hooks.number = [this] { return jobs_->next_number(); };
  add_permits(hooks);
  hooks.planned = [this](const handlers::Event& event,
                         const std::vector<handlers::PlannedJob>& jobs,
                         const handlers::PlanState& state) {
    for (const handlers::PlannedJob& planned : jobs) {
      if (planned.refused) job_refused(planned.job, *planned.refused);
    }
    jobs_->planned(event, jobs, state);
  };
  hooks.starting = [this](const handlers::JobName& job, const handlers::Event& event,
                          std::function<void(handlers::JobPermit)> proceed) {
    jobs_->starting(job, event, std::move(proceed));
  };
  hooks.finished = [this](const handlers::JobReport& report, std::function<void(bool)> recorded) {
    job_finished(report);
    jobs_->finished(report, std::move(recorded));
  };
  hooks.dropped = [this](const handlers::JobName& job, handlers::DropReason reason) {
    job_refused(job, reason);
    jobs_->dropped(job, reason);
  };
  return hooks;
}

/// Another member, or this one, asks how this member reaches the others.
void Agent::report_ways(const membership::MessageId& query) {
  const proto::ReachabilityReport report =
      report_reachability(cluster_->node(), cluster_->transport().strangers(),
                          std::chrono::steady_clock::now(), unix_milliseconds());
  membership::Answer answer;
  answer.payload = report.SerializeAsString();
  cluster_->answer_query(query, std::move(answer));
}

/// A member, this one included, asks all to change their keys, or to tell them.
void Agent::answer_about_keys(const membership::QueryArrived& query) {
  control::KeysRequest request;
  const bool read = request.ParseFromString(query.payload);
  const auto answer =
      [this, id = query.id, asker = query.source, list = !read || !is_order(request),
       what = "to " + order_of(request).name + " a cluster key"](Result<control::KeysReply> reply) {
        if (reply) {
          if (!list) log_->info("keys", asker + " has asked " + what + ": done");
          return cluster_->answer_query(
              id, {membership::ReplyKind::kResponse, reply->SerializeAsString(), {}});
        }
        if (!list) log_->warn("keys", asker + " has asked " + what + ": " + reply.error().message);
        cluster_->answer_query(id, {membership::ReplyKind::kFailed, {}, reply.error().message});
      };
  if (!read) return answer(fail(ErrorKind::kInvalid, "the request cannot be read"));
  keys_->ask(request, answer);
}

/// Another member's user asks about a job of this host.
void Agent::answer_about_jobs(const membership::QueryArrived& query) {
  const auto answer = [this, id = query.id](const Result<control::JobReply>& reply) {
    if (reply) {
      cluster_->answer_query(id,
                             {membership::ReplyKind::kResponse, reply->SerializeAsString(), {}});
    } else {
      cluster_->answer_query(id, {membership::ReplyKind::kFailed, {}, reply.error().message});
    }
  };
  control::JobRequest request;
  if (!request.ParseFromString(query.payload)) {
    return answer(fail(ErrorKind::kInvalid, "the request cannot be read"));
  }
  if (request.action() == control::JobRequest::KILL ||
      request.action() == control::JobRequest::RETRY ||
      request.action() == control::JobRequest::PRUNE) {
    log_->info("jobs", query.source + " asks to " +
                           (request.action() == control::JobRequest::KILL    ? "kill job "
                            : request.action() == control::JobRequest::RETRY ? "retry job "
                                                                             : "prune jobs ") +
                           (request.number() > 0 ? std::to_string(request.number()) : ""));
  }
  desk_->ask(request, answer);
}

void Agent::job_refused(const handlers::JobName& job, handlers::DropReason reason) {
  const bool expected =
      reason == handlers::DropReason::kSuperseded || reason == handlers::DropReason::kNotWanted;
  const LogLevel level = expected ? LogLevel::kDebug : LogLevel::kWarn;
  if (!log_->enabled(level)) return;
  log_->write(level, "handlers",
              "job " + std::to_string(job.number) + " is not run: " + job.handler + " for " +
                  job.event + ": " + std::string(handlers::drop_reason_name(reason)));
}

void Agent::job_finished(const handlers::JobReport& report) {
  const bool failed = !report.error.empty();
  const LogLevel level = failed ? LogLevel::kError : LogLevel::kDebug;
  if (!log_->enabled(level)) return;
  std::string line = "job " + std::to_string(report.job.number) + ": " + report.job.handler +
                     " for " + report.job.event + ": " + (failed ? report.error : "done") +
                     " after " + handlers::format_duration(report.duration);
  if (report.output_bytes > 0) {
    line += ", output (" + std::to_string(report.output_bytes) +
            " bytes): " + handlers::readable_end(report.output, kLoggedOutput);
  }
  log_->write(level, "handlers", line);
}

/// What an earlier process accepted and did not come to, or left running.
void Agent::resume_jobs() {
  const handlers::Host host = to_host(cluster_->node().self());
  StoredState state = std::exchange(state_, {});
  dispatcher_->set_host(host);
  jobs_->resume(*dispatcher_, std::move(state.jobs), state.last_job);
  for (const PendingEvent& event : state.pending) {
    jobs_->expect(event.id);
    missed_->arrived(to_handler_event(event));
  }
}

}  // namespace starling::agent
