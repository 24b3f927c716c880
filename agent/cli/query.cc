// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <ostream>

#include "agent/cli/arguments.h"
#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/job_follow.h"
#include "agent/cli/json.h"
#include "agent/cli/query_outcome.h"
#include "agent/cli/signing.h"
#include "agent/cli/terminal.h"
#include "agent/config/text.h"

namespace starling::agent {
namespace {

constexpr std::size_t kMostResponses = 1'000'000'000;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
    {"limit", "N", false, "end as soon as N responses have come (default: 0, wait for all)"},
    {"no-ack", "", false, "members need not acknowledge the query (default: false)"},
    {"node", "NAME", true, "ask only this member; * and ? make it a pattern"},
    {"relay-factor", "N", false, "0 to 255 further members that relay each answer (default: 0)"},
    {"status", "STATUS", false,
     "ask only members that are alive (all that run), healthy or degraded (default: alive)"},
    {"tag", "KEY=REGEXP", true, "ask only members whose tag matches, anywhere in its value"},
    {"timeout", "DURATION", false,
     "longest wait for answers, e.g. 15s (default: computed from the size of the cluster)"},
    {"wait-jobs", "", false,
     "members that answer with a job (mode: job): show how it goes on, until all have ended; "
     "status "
     "0 only if all succeeded (default: false)"},
    {"wait-timeout", "DURATION", false,
     "how long -wait-jobs waits behind the answers (default: until all have ended)"},
});

// Of one reason for having no answer; JSON has all.
constexpr std::size_t kMostNames = 20;

/// The job that a handler of mode `job` has answered with.
std::optional<uint64_t> promised_job(const control::QueryAnswer& answer) {
  constexpr std::string_view kPrefix = "job:";
  std::string_view text = answer.payload();
  if (answer.kind() != control::QueryAnswer::RESPONSE || !text.starts_with(kPrefix)) {
    return std::nullopt;
  }
  text.remove_prefix(kPrefix.size());
  if (text.ends_with('\n')) text.remove_suffix(1);
  const auto number = config::parse_number(text);
  return number ? std::optional<uint64_t>(*number) : std::nullopt;
}

/// Prints what arrives, and on a terminal how far it has come, on a line that is always the last.
class Printer {
 public:
  /// With `board`, answers that are jobs go there and are not printed.
  Printer(Context& context, Format format, JobBoard* board)
      : context_(context), format_(format), board_(board) {}

  void started(const std::string& name, const control::QueryStarted& start) {
    outcome_.addressed = start.addressed();
    if (format_ == Format::kText) context_.out << "Query '" << name << "' dispatched\n";
    show_progress();
  }

  void answer(const control::QueryAnswer& answer) {
    hide_progress();
    outcome_.add(answer);
    const auto job = board_ == nullptr ? std::nullopt : promised_job(answer);
    if (job) board_->promise(answer.from(), *job);
    if (format_ == Format::kText && !job) print(answer);
    show_progress();
  }

  void done(const control::QueryDone& done, const control::QueryRequest& query) {
    hide_progress();
    outcome_.end(done);
    if (format_ == Format::kJson) {
      if (board_ == nullptr) print_json();
      return;
    }
    if (query.request_ack()) context_.out << "Total Acks: " << outcome_.acks.size() << "\n";
    context_.out << "Total Responses: " << outcome_.response_count << "\n";
    if (!outcome_.failures.empty()) {
      context_.out << "Total Failures: " << outcome_.failures.size() << "\n";
    }
    for (const auto& [why, nodes] : outcome_.missing()) print_missing(why, nodes);
    if (outcome_.limited) {
      context_.out << "Ended at the limit of " << query.limit()
                   << (query.limit() == 1 ? " response" : " responses") << "\n";
    }
  }

  void print_json() { context_.out << query_json(outcome_, board_) << "\n"; }

  /// Everybody has answered, and nobody with a failure.
  [[nodiscard]] bool all_well() const {
    return outcome_.failures.empty() && outcome_.silent.empty() && outcome_.lost.empty();
  }

  void hide_progress() {
    if (shown_) context_.err << "\r\x1b[K" << std::flush;
    shown_ = false;
  }

 private:
  /// The first response of a node has Serf's form; others, of further handlers there, name theirs.
  void print(const control::QueryAnswer& answer) {
    const std::string from = "'" + one_line(answer.from()) + "'";
    const std::string handler =
        answer.responder().empty() ? "" : " (" + one_line(answer.responder()) + ")";
    if (answer.kind() == control::QueryAnswer::ACK) {
      context_.out << "Ack from " << from << "\n";
    } else if (answer.kind() == control::QueryAnswer::RESPONSE) {
      const bool first = outcome_.responses[answer.from()].size() == 1;
      print_text("Response from " + from + (first ? "" : handler), answer.payload());
    } else if (answer.kind() != control::QueryAnswer::NO_ANSWER &&
               answer.kind() != control::QueryAnswer::NO_HANDLER) {
      print_text("Failure from " + from + handler, failure_text(outcome_.failures.back()));
    }
    context_.out << std::flush;
  }

  void print_text(const std::string& what, std::string_view text) {
    if (text.ends_with('\n')) text.remove_suffix(1);
    context_.out << what << ": " << payload_text(context_, text) << "\n";
  }

  void print_missing(const std::string& why, const std::vector<std::string>& nodes) {
    context_.out << "No answer from: ";
    const std::size_t shown = nodes.size() <= kMostNames ? nodes.size() : kMostNames - 1;
    for (std::size_t i = 0; i < shown; ++i) {
      context_.out << (i == 0 ? "" : ", ") << one_line(nodes[i]);
    }
    if (shown < nodes.size()) context_.out << " and " << nodes.size() - shown << " more";
    context_.out << " (" << why << ")\n";
  }

  void show_progress() {
    if (!context_.err_terminal || outcome_.addressed == 0) return;
    context_.err << "\r\x1b[K" << outcome_.finished.size() << "/" << outcome_.addressed
                 << " answered" << std::flush;
    shown_ = true;
  }

  Context& context_;
  Format format_;
  JobBoard* board_;
  QueryOutcome outcome_;
  bool shown_ = false;
};

Result<void> set_filters(const Invocation& invocation, control::QueryRequest& query) {
  for (const std::string& node : invocation.values("node")) query.add_nodes(node);
  for (const std::string& text : invocation.values("tag")) {
    const auto tag = parse_tag(text);
    if (!tag) return tl::unexpected(tag.error());
    control::KeyValue& filter = *query.add_tags();
    filter.set_key(tag->first);
    filter.set_value(tag->second);
  }
  return {};
}

Result<control::Request> query_request(const Invocation& invocation) {
  control::Request request;
  control::QueryRequest& query = *request.mutable_query();
  query.set_name(invocation.arguments[0]);
  if (invocation.arguments.size() == 2) query.set_payload(invocation.arguments[1]);
  query.set_request_ack(!invocation.enabled("no-ack"));
  if (auto filters = set_filters(invocation, query); !filters) {
    return tl::unexpected(filters.error());
  }
  const auto relay_factor = config::parse_number(invocation.value("relay-factor", "0"));
  if (!relay_factor || *relay_factor > 255) {
    return fail(ErrorKind::kInvalid, "Relay factor must be between 0 and 255");
  }
  query.set_relay_factor(static_cast<std::uint32_t>(*relay_factor));
  query.set_status(invocation.value("status", ""));
  const auto limit = config::parse_number(invocation.value("limit", "0"));
  if (!limit || *limit > kMostResponses) {
    return fail(ErrorKind::kInvalid, "invalid value for -limit: not a number from 0 to " +
                                         std::to_string(kMostResponses));
  }
  query.set_limit(static_cast<std::uint32_t>(*limit));
  const auto timeout = config::parse_duration(invocation.value("timeout", "0"));
  if (!timeout) {
    return fail(ErrorKind::kInvalid, "invalid value for -timeout: " + timeout.error().message);
  }
  query.set_timeout_ms(
      static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(*timeout).count()));
  return request;
}

/// Sends the query and prints what comes back. Its id; none when it failed (and was reported).
std::optional<std::string> ask_all(const Invocation& invocation, Context& context,
                                   const control::Request& request, Printer& printer) {
  auto client = connect(invocation, context);
  if (!client) return std::nullopt;
  std::string id;
  std::string error;
  const auto ended = client->call_stream(request, [&](const control::Reply& reply) {
    error = reply.error();
    if (reply.has_query_started()) {
      id = reply.query_started().id();
      printer.started(request.query().name(), reply.query_started());
      // From here on the agent is silent while members are.
      client->set_timeout(std::chrono::milliseconds(reply.query_started().timeout_ms()) +
                          Client::kDefaultTimeout);
    }
    if (reply.has_query_answer()) printer.answer(reply.query_answer());
    if (reply.has_query_done()) printer.done(reply.query_done(), request.query());
    return context.out.good();
  });
  printer.hide_progress();
  if (!error.empty()) {
    context.err << "Error sending query: " << error << "\n";
    return std::nullopt;
  }
  if (ended) return id;
  report(context, ended.error());
  return std::nullopt;
}

int run(const Invocation& invocation, Context& context) {
  if (invocation.arguments.empty()) {
    return usage_error(invocation, context, "A query name must be specified.");
  }
  if (invocation.arguments.size() > 2) {
    return usage_error(invocation, context,
                       "Too many command line arguments. Only a name and payload must be "
                       "specified.");
  }
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  auto request = query_request(invocation);
  if (!request) return usage_error(invocation, context, request.error().message);
  const auto wait_timeout = read_wait_timeout(invocation, context);
  if (!wait_timeout || !sign_if_asked(invocation, context, *request)) return 1;
  if (!invocation.enabled("wait-jobs")) {
    Printer printer(context, *format, nullptr);
    return ask_all(invocation, context, *request, printer) ? 0 : 1;
  }
  JobBoard board;
  Printer printer(context, *format, &board);
  const auto id = ask_all(invocation, context, *request, printer);
  if (!id) return 1;
  const bool followed =
      follow_jobs(invocation, context, {"query-" + *id, false, *format, *wait_timeout}, board);
  if (*format == Format::kJson) printer.print_json();
  return followed && printer.all_well() && board.succeeded() ? 0 : 1;
}

}  // namespace

const Command& query_command() {
  static const Command kCommand = {
      .name = "query",
      .arguments = "NAME [PAYLOAD]",
      .summary = "Sends a query to the cluster and prints the answers",
      .description =
          "Asks the members of the cluster, or those that -node, -tag and -status choose, and "
          "prints "
          "their answers as they come: what each member's handlers for the query printed, or why "
          "they failed. Ends as soon as every living member that was asked has answered, or -limit "
          "responses have come, at the latest after -timeout, and names those that did not answer, "
          "with the reason.\n\n"
          "The exit status is 0 even if some members fail or do not answer; it is 1 if the query "
          "could not be sent. With -wait-jobs it is 0 only if everybody has answered, nobody with "
          "a "
          "failure, and the jobs have all succeeded.",
      .example =
          "$ starling query -tag role=web uptime\n"
          "Query 'uptime' dispatched\n"
          "Ack from 'web1'\n"
          "Response from 'web1': up 3 days\n"
          "Total Acks: 1\n"
          "Total Responses: 1\n"
          "No answer from: web2 (nothing heard by the deadline)",
      .flags = kFlags,
      .run = run,
      .orders = true,
  };
  return kCommand;
}

}  // namespace starling::agent
