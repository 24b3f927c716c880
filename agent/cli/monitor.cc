// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/member_text.h"
#include "agent/cli/terminal.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"log-level", "LEVEL", false,
     "least level of the log lines: TRACE, DEBUG, INFO, WARN or ERR (default: INFO)"},
    {"event", "FILTER", false,
     "only these events, as in -event-handler: member-join,user:deploy (default: *)"},
    {"format", "FORMAT", false, "output format, text or json, a line each (default: text)"},
});

/// ^C is how a monitor is meant to end, so it arrives as an ordinary thing, with exit status 0.
class Interrupt {
 public:
  Interrupt() {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGINT);
    ::sigaddset(&signals, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &signals, &before_);
    descriptor_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~Interrupt() {
    signalfd_siginfo taken = {};
    while (descriptor_ >= 0 && ::read(descriptor_, &taken, sizeof taken) > 0) {
    }
    if (descriptor_ >= 0) ::close(descriptor_);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  sigset_t before_ = {};
  int descriptor_ = -1;
};

/// Serf's block: the fields by name.
void print_event(Context& context, const control::MonitorRecord& record) {
  context.out << "Event Info:\n";
  if (record.event() == "user") {
    context.out << "\tCoalesce: " << (record.coalesce() ? "true" : "false") << "\n";
  }
  context.out << "\tEvent: \"" << one_line(record.event()) << "\"\n";
  if (record.event() == "user" || record.event() == "query") {
    context.out << "\tLTime: " << record.ltime() << "\n\tName: \"" << one_line(record.name())
                << "\"\n\tPayload: \"" << one_line(record.payload()) << "\"\n";
  }
  for (const control::Member& member : record.members()) {
    context.out << "\tMember: " << one_line(member.name()) << " " << endpoint_text(member) << " "
                << one_line(member.status()) << (member.tags_size() > 0 ? " " : "")
                << one_line(tags_text(member)) << "\n";
  }
}

void print_record(Context& context, const control::MonitorRecord& record, Format format) {
  if (format == Format::kJson) {
    context.out << monitor_json(record) << "\n" << std::flush;
    return;
  }
  if (record.dropped() > 0) {
    context.err << "starling: " << record.dropped()
                << " log lines and events were lost: they came faster than this reader took them\n";
  }
  if (!record.log().empty()) context.out << payload_text(context, record.log()) << "\n";
  if (!record.event().empty()) print_event(context, record);
  context.out << std::flush;
}

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  control::Request request;
  request.mutable_monitor()->set_log_level(invocation.value("log-level", "INFO"));
  request.mutable_monitor()->set_event_filter(invocation.value("event", "*"));
  const Interrupt interrupt;
  auto client = connect(invocation, context);
  if (!client) return 1;
  client->set_interrupt(interrupt.descriptor());
  client->set_timeout(std::nullopt);
  std::string error;
  const auto ended = client->call_stream(request, [&](const control::Reply& reply) {
    error = reply.error();
    if (reply.has_monitor()) print_record(context, reply.monitor(), *format);
    return context.out.good();
  });
  if (!error.empty()) {
    context.err << "Error starting monitor: " << error << "\n";
    return 1;
  }
  if (ended || ended.error().kind == ErrorKind::kConflict) return 0;
  if (ended.error().kind == ErrorKind::kUnavailable) {
    context.err << "Remote side ended the monitor! This usually means that the\n"
                   "remote side has exited or crashed.\n";
    return 1;
  }
  report(context, ended.error());
  return 1;
}

}  // namespace

const Command& monitor_command() {
  static const Command kCommand = {
      .name = "monitor",
      .arguments = "",
      .summary = "Streams log lines and events of the agent",
      .description =
          "Prints the agent's log lines and events as they come, until it is "
          "interrupted. The level may be lower than that of the agent's own log.",
      .example =
          "$ starling monitor -log-level WARN -event user:deploy\n"
          "Event Info:\n"
          "\tCoalesce: true\n"
          "\tEvent: \"user\"\n"
          "\tLTime: 3\n"
          "\tName: \"deploy\"\n"
          "\tPayload: \"v1.2.3\"",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
