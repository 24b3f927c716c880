// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ostream>
#include <set>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/reachability_text.h"
#include "agent/cli/terminal.h"

namespace starling::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"all", "", false,
     "show all rows of the matrix, however many there are; otherwise, of more than 12 members, "
     "only "
     "what is not direct (default: false)"},
    {"verbose", "", false, "show each answer and the times (default: false)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

constexpr std::string_view kTroubleshooting =
    "\nTroubleshooting tips:\n"
    "* Ensure that the bind addr:port is accessible by all other nodes\n"
    "* If an advertise address is set, ensure it routes to the bind address\n"
    "* Check that no nodes are behind a NAT\n"
    "* If nodes are behind firewalls or iptables, check that Starling traffic is permitted (UDP "
    "and TCP)\n"
    "* Verify networking equipment is functional\n";

std::vector<std::string> difference(const std::vector<std::string>& a,
                                    const std::vector<std::string>& b) {
  std::vector<std::string> result;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(result));
  return result;
}

std::string seconds_text(Clock::duration duration) {
  std::array<char, 32> text = {};
  std::snprintf(text.data(), text.size(), "%.2f sec",
                std::chrono::duration<double>(duration).count());
  return text.data();
}

void print_names(Context& context, const std::vector<std::string>& names) {
  for (const std::string& name : names) context.out << "\t" << one_line(name) << "\n";
}

/// Who answered, in Serf's words. The advice is for what the findings do not explain.
void print_acks(Context& context, const Reachability& result) {
  if (result.missing.empty() && result.unexpected.empty()) {
    context.out << "Successfully contacted all live nodes\n";
    return;
  }
  if (!result.unexpected.empty()) {
    context.out << "Received more acks than live nodes! Acks from non-live nodes:\n";
    print_names(context, result.unexpected);
    context.out << "This could mean Starling is detecting false-failures due to a "
                   "misconfiguration or network issue.\n";
  }
  if (!result.missing.empty()) {
    context.out << "Received less acks than live nodes! Missing acks from:\n";
    print_names(context, result.missing);
    context.out << "This could mean Starling gossip packets are being lost due to a "
                   "misconfiguration or network issue.\n";
  }
  context.out << kTroubleshooting;
}

/// Members in all and alive, as the agent lists them; none when that failed (and was reported).
std::optional<Reachability> count_members(Client& client, Context& context) {
  control::Request request;
  request.mutable_members();
  const auto reply = client.call(request);
  if (!reply || !reply->error().empty()) {
    if (!reply) report(context, reply.error());
    if (reply) context.err << "Error getting members: " << reply->error() << "\n";
    return std::nullopt;
  }
  Reachability result;
  result.members = static_cast<std::size_t>(reply->members().members_size());
  for (const control::Member& member : reply->members().members()) {
    if (member.status() == "alive") result.alive.push_back(member.name());
  }
  return result;
}

/// Gathers the answers into `result`; false when the test itself failed (and was reported).
bool contact_members(Client& client, Context& context, Reachability& result, bool verbose) {
  control::Request request;
  if (client.speaks_serf()) {
    // As Serf's own command does it: who acknowledges is reached.
    request.mutable_query()->set_name("_serf_ping");
    request.mutable_query()->set_request_ack(true);
  } else {
    request.mutable_reachability();
  }
  client.set_timeout(std::chrono::seconds(60));
  std::set<std::string> alive;
  std::set<std::string> answered;
  std::string error;
  const auto start = Clock::now();
  auto last_answer = start;
  const auto ended = client.call_stream(request, [&](const control::Reply& reply) {
    error = reply.error();
    if (reply.reachability().done()) result.details = reply.reachability();
    alive.insert(reply.reachability().alive().begin(), reply.reachability().alive().end());
    std::vector<std::string> names(reply.reachability().answered().begin(),
                                   reply.reachability().answered().end());
    if (reply.has_query_answer()) names.push_back(reply.query_answer().from());
    for (const std::string& name : names) {
      if (!answered.insert(name).second) continue;
      last_answer = Clock::now();
      if (verbose) context.out << "\tAck from '" << one_line(name) << "'\n" << std::flush;
    }
    return true;
  });
  if (!ended || !error.empty()) {
    if (!ended) report(context, ended.error());
    if (ended) context.err << "Error sending query: " << error << "\n";
    return false;
  }
  if (verbose) {
    context.out << "Query time: " << seconds_text(Clock::now() - start)
                << ", time to last response: " << seconds_text(last_answer - start) << "\n";
  }
  // The agent's own list at the moment of the test is the fairer measure.
  if (!alive.empty()) result.alive.assign(alive.begin(), alive.end());
  std::sort(result.alive.begin(), result.alive.end());
  result.answered.assign(answered.begin(), answered.end());
  result.missing = difference(result.alive, result.answered);
  result.unexpected = difference(result.answered, result.alive);
  return true;
}

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  auto client = connect(invocation, context);
  if (!client) return 1;
  auto result = count_members(*client, context);
  if (!result) return 1;
  if (*format == Format::kJson) {
    if (!contact_members(*client, context, *result, false)) return 1;
    context.out << reachability_json(*result) << "\n";
    return result->well() ? 0 : 1;
  }
  context.out << "Total members: " << result->members << ", live members: " << result->alive.size()
              << "\nStarting reachability test...\n"
              << std::flush;
  if (!contact_members(*client, context, *result, invocation.enabled("verbose"))) return 1;
  print_acks(context, *result);
  if (!client->speaks_serf()) {
    context.out << reachability_text(result->details, invocation.enabled("all"),
                                     uses_color(context));
  }
  return result->well() ? 0 : 1;
}

}  // namespace

bool Reachability::well() const {
  return missing.empty() && unexpected.empty() &&
         std::ranges::all_of(details.findings(),
                             [](const auto& finding) { return finding.cause() == "down"; });
}

const Command& reachability_command() {
  static const Command kCommand = {
      .name = "reachability",
      .arguments = "",
      .summary = "Tests network reachability of the members",
      .description =
          "Asks every member that is believed alive how it reaches the others, and shows who "
          "reaches "
          "whom directly, indirectly or not at all, as their probes of the last minutes found it, "
          "with the likely cause of what is wrong. The exit status is 1 if anything is, or if a "
          "member gives no answer.",
      .example =
          "$ starling reachability\n"
          "Total members: 3, live members: 3\n"
          "Starting reachability test...\n"
          "Successfully contacted all live nodes\n"
          "from \\ to  a1      b1      c1\n"
          "a1         -       direct  via b1\n"
          "b1         direct  -       direct\n"
          "c1         via b1  direct  -\n"
          "* a1 <-> c1: not directly, reached through b1; datagrams between them get no answer but "
          "streams open: UDP port 7946 is blocked between them; allow it in both directions",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
