// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <chrono>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/job_follow.h"
#include "agent/cli/json.h"
#include "agent/cli/payload.h"
#include "agent/cli/signing.h"
#include "agent/cli/terminal.h"
#include "agent/config/text.h"

namespace starling::agent {
namespace {

using std::chrono::milliseconds;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"coalesce", "", false,
     "of several events of this name in a short time, handlers may see only the last; "
     "-coalesce=false delivers each (default: true)"},
    {"payload-file", "FILE", false, "send the content of a file, up to 1 MiB"},
    {"confirm", "", false,
     "wait until every live member has the event; name those that have not, with status 1 "
     "(default: false)"},
    {"timeout", "DURATION", false, "how long -confirm waits (default: 10s)"},
    {"wait", "", false,
     "show on which members handlers run for it, until all have ended; status 0 only if all "
     "succeeded (default: false)"},
    {"wait-timeout", "DURATION", false, "how long -wait waits (default: until all have ended)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

/// -timeout; none, with the error reported, when it makes no sense.
std::optional<milliseconds> read_timeout(const Invocation& invocation, Context& context) {
  if (invocation.given("timeout") && !invocation.enabled("confirm")) {
    usage_error(invocation, context, "-timeout goes with -confirm.");
    return std::nullopt;
  }
  const auto timeout = config::parse_duration(invocation.value("timeout", "10s"));
  if (!timeout || *timeout < milliseconds(1) || *timeout > std::chrono::hours(24)) {
    report(context, Error{ErrorKind::kInvalid,
                          "invalid value for -timeout: " +
                              (timeout ? "wants 1ms to 24h" : timeout.error().message)});
    return std::nullopt;
  }
  return std::chrono::duration_cast<milliseconds>(*timeout);
}

void print_confirmation(Context& context, const control::EventConfirmDone& done) {
  const auto live = done.confirmed() + static_cast<std::uint32_t>(done.missing_size());
  context.out << "Confirmed by " << done.confirmed() << " of " << live << " live members\n";
  if (done.missing_size() == 0) return;
  context.out << "Not confirmed by:";
  for (const std::string& name : done.missing()) context.out << " " << one_line(name);
  context.out << "\n";
}

struct Sent {
  control::EventReply event;
  std::optional<control::EventConfirmDone> confirmation;
};

/// Sends it and reads what comes back; none when it failed (and was reported).
std::optional<Sent> send(const Invocation& invocation, Context& context,
                         const control::Request& request) {
  auto client = connect(invocation, context);
  if (!client) return std::nullopt;
  const milliseconds wait(request.event().confirm() ? request.event().timeout_ms() : 0);
  client->set_timeout(wait + Client::kDefaultTimeout);
  Sent sent;
  std::string error;
  const auto ended = client->call_stream(request, [&](const control::Reply& reply) {
    error = reply.error();
    if (reply.has_event()) sent.event = reply.event();
    if (reply.has_event_confirm_done()) sent.confirmation = reply.event_confirm_done();
    return true;
  });
  if (!ended) report(context, ended.error());
  if (ended && !error.empty()) context.err << "Error sending event: " << error << "\n";
  if (!ended || !error.empty()) return std::nullopt;
  return sent;
}

void print_sent(Context& context, const control::EventRequest& event, const Sent& sent) {
  context.out << "Event '" << event.name()
              << "' dispatched! Coalescing enabled: " << (event.coalesce() ? "true" : "false")
              << "\n";
  if (sent.confirmation) print_confirmation(context, *sent.confirmation);
}

/// Follows what handlers make of it; the exit status.
int wait(const Invocation& invocation, Context& context, const control::Request& request,
         const Sent& sent, FollowOptions options) {
  options.cause = "user-" + sent.event.id();
  const bool text = options.format == Format::kText;
  if (text) print_sent(context, request.event(), sent);
  JobBoard board;
  const bool followed = follow_jobs(invocation, context, options, board);
  if (!text) {
    context.out << event_json(request.event(), sent.event, sent.confirmation, &board) << "\n";
  }
  const bool confirmed = !sent.confirmation || sent.confirmation->missing_size() == 0;
  return followed && confirmed && board.succeeded() ? 0 : 1;
}

int run(const Invocation& invocation, Context& context) {
  const auto& arguments = invocation.arguments;
  if (arguments.empty())
    return usage_error(invocation, context, "An event name must be specified.");
  if (arguments.size() > 2) {
    return usage_error(invocation, context,
                       "Too many command line arguments. Only a name and payload must be "
                       "specified.");
  }
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  const auto timeout = read_timeout(invocation, context);
  if (!timeout) return 1;
  auto payload = read_payload(invocation, context);
  if (!payload) return 1;
  control::Request request;
  control::EventRequest& event = *request.mutable_event();
  event.set_name(arguments[0]);
  event.set_payload(*std::move(payload));
  event.set_coalesce(invocation.enabled("coalesce", true));
  event.set_confirm(invocation.enabled("confirm"));
  event.set_timeout_ms(static_cast<std::uint64_t>(timeout->count()));
  const auto wait_timeout = read_wait_timeout(invocation, context);
  if (!wait_timeout) return 1;
  if (!sign_if_asked(invocation, context, request)) return 1;
  const auto sent = send(invocation, context, request);
  if (!sent) return 1;
  if (invocation.enabled("wait")) {
    return wait(invocation, context, request, *sent, {{}, true, *format, *wait_timeout});
  }
  const bool confirmed = !sent->confirmation || sent->confirmation->missing_size() == 0;
  if (*format == Format::kJson) {
    context.out << event_json(event, sent->event, sent->confirmation) << "\n";
    return confirmed ? 0 : 1;
  }
  print_sent(context, event, *sent);
  return confirmed ? 0 : 1;
}

}  // namespace

const Command& event_command() {
  static const Command kCommand = {
      .name = "event",
      .arguments = "NAME [PAYLOAD]",
      .summary = "Sends a user event through the cluster",
      .description =
          "Dispatches a user event to every member of the cluster, where the handlers for it run "
          "with the payload on their standard input. A payload of '-' is read from standard "
          "input; one that begins with '-' goes behind --.\n\n"
          "When the command ends with status 0 this agent has written the event to its disk and "
          "begun to send it: it will reach everybody, even if the host fails now and comes "
          "back.\n\n"
          "With -wait it goes on: it shows which members have the event, which handlers run for it "
          "there, and how they end. The status is 0 if at least one has run, and all succeeded.",
      .example =
          "$ starling event deploy v1.2.3\n"
          "Event 'deploy' dispatched! Coalescing enabled: true\n"
          "$ starling event -confirm -payload-file app.conf config\n"
          "Event 'config' dispatched! Coalescing enabled: true\n"
          "Confirmed by 60 of 60 live members",
      .flags = kFlags,
      .run = run,
      .orders = true,
  };
  return kCommand;
}

}  // namespace starling::agent
