// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <limits>
#include <ostream>

#include "agent/cli/arguments.h"
#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/job_board.h"
#include "agent/cli/json.h"
#include "agent/cli/signing.h"
#include "agent/cli/table.h"
#include "agent/cli/terminal.h"
#include "agent/config/text.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"attempt", "N", false, "logs: of this attempt (default: the last)"},
    {"below", "N", false, "list: only numbers below N: what comes behind the last list"},
    {"f", "", false, "logs: go on until the job has ended (default: false)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
    {"handler", "TEXT", false, "list: only jobs whose handler or event holds this"},
    {"keep", "N", false, "prune: keep the newest N that have ended (default: all)"},
    {"limit", "N", false, "list: the newest N, at most 1000 (default: 50)"},
    {"node", "NAME", false, "ask this member, through the cluster (default: this host)"},
    {"older-than", "DURATION", false, "prune: what ended longer ago, e.g. 24h (default: nothing)"},
    {"state", "STATE", true, "list: only jobs in this state"},
});

constexpr uint32_t kFollowWait_ms = 5000;

struct Call {
  const Invocation& invocation;
  Context& context;
  Format format;
  control::JobRequest request;
};

std::optional<control::Reply> ask_job(const Call& call) {
  control::Request request;
  *request.mutable_job() = call.request;
  return ask(call.invocation, call.context, std::move(request), "Error",
             Client::kDefaultTimeout + std::chrono::milliseconds(call.request.wait_ms()));
}

int list(Call& call) {
  const auto limit = config::parse_number(call.invocation.value("limit", "50"));
  if (!limit || *limit == 0 || *limit > 1000) {
    return usage_error(call.invocation, call.context, "-limit is a number from 1 to 1000");
  }
  const auto below = config::parse_number(call.invocation.value("below", "0"));
  if (!below) return usage_error(call.invocation, call.context, "-below is a number of a job");
  call.request.set_limit(static_cast<uint32_t>(*limit));
  call.request.set_below(*below);
  call.request.set_handler(call.invocation.value("handler"));
  for (const std::string& state : call.invocation.values("state")) call.request.add_states(state);
  const auto reply = ask_job(call);
  if (!reply) return 1;
  if (call.format == Format::kJson) {
    call.context.out << jobs_json(reply->job()) << "\n";
    return 0;
  }
  std::vector<std::vector<Cell>> rows;
  for (const control::Job& job : reply->job().jobs()) {
    rows.push_back({{std::to_string(job.number())},
                    {job.state(), job_color(job.state())},
                    {local_time(job.queued_ms(), "-")},
                    {job_took(job)},
                    {job.event()},
                    {job.handler()},
                    {job.reason()}});
  }
  call.context.out << format_table(rows, uses_color(call.context));
  return 0;
}

void print(Context& context, const control::Job& job) {
  const auto line = [&](const char* name, const std::string& value) {
    if (!value.empty()) context.out << name << " = " << one_line(value) << "\n";
  };
  line("job", std::to_string(job.number()));
  line("state", job.state());
  line("reason", job.reason());
  line("event", job.event());
  line("cause", job.cause());
  line("handler", job.handler());
  line("attempt", std::to_string(job.attempt()));
  line("queued", local_time(job.queued_ms(), "-"));
  line("started", local_time(job.started_ms(), "-"));
  line("ended", local_time(job.ended_ms(), "-"));
  line("took", job_took(job));
  if (job.ended_ms() > 0 && job.state() != "skipped") {
    line(job.signalled() ? "signal" : "exit status", std::to_string(job.status()));
  }
  line("output", std::to_string(job.output_bytes()) + " bytes");
}

int show(Call& call) {
  const auto reply = ask_job(call);
  if (!reply) return 1;
  if (call.format == Format::kJson) {
    call.context.out << jobs_json(reply->job()) << "\n";
  } else {
    for (const control::Job& job : reply->job().jobs()) print(call.context, job);
  }
  return 0;
}

int logs(Call& call) {
  const bool follow = call.invocation.enabled("f");
  const auto attempt = config::parse_number(call.invocation.value("attempt", "0"));
  if (!attempt || *attempt > std::numeric_limits<uint32_t>::max()) {
    return usage_error(call.invocation, call.context, "-attempt is a number");
  }
  call.request.set_attempt(static_cast<uint32_t>(*attempt));
  if (follow) call.request.set_wait_ms(kFollowWait_ms);
  while (true) {
    const auto reply = ask_job(call);
    if (!reply) return 1;
    const control::JobReply& piece = reply->job();
    if (piece.offset() > call.request.offset()) {
      call.context.err << "starling: " << piece.offset() - call.request.offset()
                       << " bytes before this are not kept\n";
    }
    call.context.out << payload_text(call.context, piece.output()) << std::flush;
    call.request.set_offset(piece.offset() + piece.output().size());
    if (!call.context.out.good()) return 1;
    if (call.request.offset() < piece.total()) continue;
    if (!follow) return 0;
    if (piece.jobs().empty() || !job_has_ended(piece.jobs(0))) continue;
    // What was printed between the log and the end was read in the last round.
    if (piece.output().empty()) return piece.jobs(0).state() == "succeeded" ? 0 : 1;
  }
}

/// What changes something on another host can be signed.
std::optional<control::Reply> order_job(const Call& call) {
  control::Request request;
  *request.mutable_job() = call.request;
  const bool remote = !call.request.node().empty();
  if (remote && !sign_if_asked(call.invocation, call.context, request)) return std::nullopt;
  return ask(call.invocation, call.context, std::move(request), "Error");
}

int change(Call& call, const char* done) {
  const auto reply = order_job(call);
  if (!reply) return 1;
  if (call.format == Format::kJson) {
    call.context.out << jobs_json(reply->job()) << "\n";
  } else {
    call.context.out << "Job " << call.request.number() << " of " << one_line(reply->job().node())
                     << " " << done << "\n";
  }
  return 0;
}

int prune(Call& call) {
  const auto& invocation = call.invocation;
  if (!invocation.given("keep") && !invocation.given("older-than")) {
    return usage_error(invocation, call.context, "say what to prune: -keep N or -older-than TIME");
  }
  const auto keep = config::parse_number(invocation.value("keep", "1000000"));
  const auto age = config::parse_duration(invocation.value("older-than", "87600h"));
  if (!keep || *keep > 1'000'000) {
    return usage_error(invocation, call.context, "-keep is a number up to 1000000");
  }
  if (!age) {
    return usage_error(invocation, call.context,
                       "invalid value for -older-than: " + age.error().message);
  }
  call.request.set_keep(static_cast<uint32_t>(*keep));
  call.request.set_older_than_ms(
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(*age).count()));
  const auto reply = order_job(call);
  if (!reply) return 1;
  if (call.format == Format::kJson) {
    call.context.out << jobs_json(reply->job()) << "\n";
  } else {
    call.context.out << "Pruned " << reply->job().count() << " jobs\n";
  }
  return 0;
}

int run(const Invocation& invocation, Context& context) {
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  if (invocation.arguments.empty()) {
    return usage_error(invocation, context, "say what: list, show, logs, kill, retry or prune");
  }
  const std::string& what = invocation.arguments[0];
  Call call{invocation, context, *format, {}};
  call.request.set_node(invocation.value("node"));
  const bool numbered = what == "show" || what == "logs" || what == "kill" || what == "retry";
  if (invocation.arguments.size() != (numbered ? 2 : 1)) {
    return usage_error(invocation, context,
                       numbered ? "job " + what + " takes the number of one job"
                                : "job " + what + " takes no further arguments");
  }
  if (numbered) {
    const auto number = config::parse_number(invocation.arguments[1]);
    if (!number || *number == 0) {
      return usage_error(invocation, context,
                         "'" + invocation.arguments[1] + "' is no number of a job");
    }
    call.request.set_number(*number);
  }
  if (what == "list") {
    call.request.set_action(control::JobRequest::LIST);
    return list(call);
  }
  if (what == "show") {
    call.request.set_action(control::JobRequest::SHOW);
    return show(call);
  }
  if (what == "logs") {
    call.request.set_action(control::JobRequest::LOGS);
    return logs(call);
  }
  if (what == "kill") {
    call.request.set_action(control::JobRequest::KILL);
    return change(call, "is told to end");
  }
  if (what == "retry") {
    call.request.set_action(control::JobRequest::RETRY);
    return change(call, "is queued again");
  }
  if (what == "prune") {
    call.request.set_action(control::JobRequest::PRUNE);
    return prune(call);
  }
  return usage_error(invocation, context,
                     "there is no 'job " + what + "': say list, show, logs, kill, retry or prune");
}

}  // namespace

const Command& job_command() {
  static const Command kCommand = {
      .name = "job",
      .arguments = "list | show N | logs N | kill N | retry N | prune",
      .summary = "Lists, follows, ends and repeats the runs of handlers",
      .description =
          "Each run of a handler is a job with a number on its host. 'list' shows the newest, "
          "'show' one with all that is known, 'logs' what it printed (-f: until it ends; the exit "
          "status is then 0 only if it succeeded), 'kill' ends one or takes it out of its queue, "
          "'retry' runs one again that has ended, and 'prune' forgets old ones with their logs.\n\n"
          "With -node the question goes through the cluster to another member, around a broken "
          "route if need be.",
      .example =
          "$ starling job list -state failed\n"
          "12  failed  2026-01-02T03:04:05  1m2s  user:deploy  deploy  exit status 3\n"
          "$ starling job logs -f 12\n"
          "...",
      .flags = kFlags,
      .run = run,
      .orders = true,
  };
  return kCommand;
}

}  // namespace starling::agent
