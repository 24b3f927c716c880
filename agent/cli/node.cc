// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/signing.h"
#include "agent/cli/table.h"
#include "agent/cli/terminal.h"
#include "agent/config/text.h"
#include "agent/trust/statement.h"
#include "proto/support/unix_time.h"

namespace starling::agent {
namespace {

using control::NodesRequest;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"as", "PATTERN", false,
     "admit: only under a name that this fits, with * and ? (default: the name that it has)"},
    {"for", "DURATION", false, "admit: for this long (default: for good)"},
    {"reason", "TEXT", false, "ban: why, for those who wonder"},
    {"force", "", false, "close: also if members are not admitted, who will then be shut out"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

constexpr size_t kIdDigits = 2 * kNodeIdSize;

bool is_id(const std::string& word) {
  return word.size() == kIdDigits &&
         word.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string bytes_of_id(const std::string& digits) {
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::optional<control::NodesReply> ask_nodes(const Invocation& invocation, Context& context,
                                             NodesRequest::Action action) {
  control::Request request;
  request.mutable_nodes()->set_action(action);
  const auto reply = ask(invocation, context, request, "Error");
  if (!reply) return std::nullopt;
  return reply->nodes();
}

int show(const Invocation& invocation, Context& context, Format format,
         NodesRequest::Action action) {
  const auto nodes = ask_nodes(invocation, context, action);
  if (!nodes) return 1;
  if (format == Format::kJson) {
    context.out << nodes_json(*nodes) << "\n";
    return 0;
  }
  std::vector<std::vector<Cell>> rows;
  for (const control::NodeStatement& node : nodes->nodes()) {
    const bool admitted = node.state() == "admitted";
    const Color color = admitted                   ? Color::kGreen
                        : node.state() == "banned" ? Color::kRed
                                                   : Color::kGrey;
    rows.push_back({{node.id()},
                    {node.state(), color},
                    {admitted || node.state() == "expired" ? node.name() : node.reason()},
                    {node.operator_name()},
                    {local_time(node.issued_ms())},
                    {node.not_after_ms() > 0 ? "until " + local_time(node.not_after_ms()) : ""}});
  }
  for (const control::NodeKnock& knock : nodes->pending()) {
    rows.push_back({{knock.id()},
                    {knock.name().empty() ? "-" : knock.name()},
                    {knock.count() == 0 ? "member" : "refused"},
                    {local_time(knock.last_ms())}});
  }
  context.out << format_table(rows, uses_color(context));
  if (!nodes->required() && action == NodesRequest::PENDING) {
    context.err << "Nobody has to be admitted here: admission is not set to operators\n";
  } else if (nodes->required() && !nodes->enforced()) {
    context.err << "The cluster is not closed: everybody is heard\n";
  }
  return 0;
}

int show_id(const Invocation& invocation, Context& context, Format format) {
  const auto nodes = ask_nodes(invocation, context, NodesRequest::LIST);
  if (!nodes) return 1;
  context.out << (format == Format::kJson ? field_json("id", nodes->own_id()) : nodes->own_id())
              << "\n";
  return 0;
}

/// A node as the user has called it.
struct Named {
  std::string id;
  std::string name;  ///< empty: not known
};

/// An id, or the name of a member or of one that has knocked; none, with the error reported.
std::optional<Named> find_node(const Invocation& invocation, Context& context,
                               const std::string& word) {
  control::Request request;
  request.mutable_members();
  const auto members = ask(invocation, context, request, "Error");
  const auto nodes = members ? ask_nodes(invocation, context, NodesRequest::PENDING) : std::nullopt;
  if (!nodes) return std::nullopt;
  std::vector<Named> found;
  for (const control::Member& member : members->members().members()) {
    if (member.name() == word || member.id() == word) found.push_back({member.id(), member.name()});
  }
  for (const control::NodeKnock& knock : nodes->pending()) {
    const bool meant = knock.id() == word || knock.name() == word;
    const bool known =
        std::ranges::any_of(found, [&](const Named& each) { return each.id == knock.id(); });
    if (meant && !known) found.push_back({knock.id(), knock.name()});
  }
  if (found.empty() && is_id(word)) return Named{word, ""};
  if (found.size() == 1) return found[0];
  std::string ids;
  for (const Named& each : found) ids += " " + each.id;
  report(context,
         {ErrorKind::kNotFound,
          found.empty() ? "there is no member '" + word +
                              "', and nobody of that name has asked to be one; name the id that "
                              "'starling node id' prints on that host"
                        : "several nodes are called '" + word + "': name the id, one of" + ids});
  return std::nullopt;
}

/// -for as the end of the admission, unix milliseconds; none, with the error reported.
std::optional<int64_t> read_end(const Invocation& invocation, Context& context, int64_t now_ms) {
  if (!invocation.given("for")) return 0;
  const auto duration = config::parse_duration(invocation.value("for"));
  const int64_t ms =
      duration ? std::chrono::duration_cast<std::chrono::milliseconds>(*duration).count() : 0;
  if (ms > 0) return now_ms + ms;
  usage_error(
      invocation, context,
      "invalid value for -for: " + (duration ? "wants a time above 0" : duration.error().message));
  return std::nullopt;
}

/// Signs it, and has the agent tell everybody.
int send(const Invocation& invocation, Context& context, Format format, trust::Statement statement,
         const std::string& done) {
  const auto key = signing_key(invocation, context);
  if (!key) return 1;
  sign_statement(statement, *key, unix_milliseconds());
  control::Request request;
  request.mutable_nodes()->set_action(NodesRequest::STATE);
  request.mutable_nodes()->set_statement(statement.SerializeAsString());
  const auto reply = ask(invocation, context, request, "Error", std::chrono::seconds(60));
  if (!reply) return 1;
  const control::NodesReply& told = reply->nodes();
  if (format == Format::kJson) {
    context.out << nodes_json(told) << "\n";
  } else {
    context.out << done << ": " << told.taken() << " of " << told.asked() << " members know\n";
  }
  for (const std::string& refusal : told.refused()) context.err << one_line(refusal) << "\n";
  return told.refused_size() == 0 ? 0 : 1;
}

int state(const Invocation& invocation, Context& context, Format format, bool banned) {
  const auto node = find_node(invocation, context, invocation.arguments[1]);
  if (!node) return 1;
  if (!is_id(node->id)) {
    report(context, {ErrorKind::kInvalid, "the agent has no id for this node"});
    return 1;
  }
  trust::Statement statement;
  statement.set_node(bytes_of_id(node->id));
  statement.set_banned(banned);
  if (banned) {
    statement.set_reason(invocation.value("reason"));
  } else {
    statement.set_name(invocation.value("as", node->name));
  }
  if (statement.reason().size() > kMaxReason || statement.name().size() > kMaxNamePattern) {
    return usage_error(invocation, context, "-as and -reason have at most 128 bytes");
  }
  const auto end = read_end(invocation, context, unix_milliseconds());
  if (!end) return 1;
  statement.set_not_after_ms(*end);
  const std::string name = node->name.empty() ? "" : " (" + one_line(node->name) + ")";
  return send(invocation, context, format, statement,
              (banned ? "Banned " : "Admitted ") + node->id + name);
}

/// Closes the cluster to all that are not admitted, or opens it again.
int close(const Invocation& invocation, Context& context, Format format, bool closed) {
  if (closed && !invocation.enabled("force")) {
    const auto nodes = ask_nodes(invocation, context, NodesRequest::PENDING);
    if (!nodes) return 1;
    std::string names;
    for (const control::NodeKnock& knock : nodes->pending()) {
      if (knock.count() == 0) names += " " + one_line(knock.name());
    }
    if (!names.empty()) {
      report(context, {ErrorKind::kConflict,
                       "these members are not admitted, and would be shut out:" + names +
                           "; admit them, or say -force"});
      return 1;
    }
  }
  trust::Statement statement;
  statement.set_node(std::string(kNodeIdSize, '\0'));
  statement.set_banned(closed);
  return send(invocation, context, format, statement,
              closed ? "Closed to all that are not admitted" : "Open to all with the cluster key");
}

int run(const Invocation& invocation, Context& context) {
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  const std::string what = invocation.arguments.empty() ? "" : invocation.arguments[0];
  const size_t words = invocation.arguments.size();
  if (what == "id" && words == 1) return show_id(invocation, context, *format);
  if (what == "list" && words == 1) {
    return show(invocation, context, *format, NodesRequest::LIST);
  }
  if (what == "pending" && words == 1) {
    return show(invocation, context, *format, NodesRequest::PENDING);
  }
  if ((what == "admit" || what == "ban") && words == 2) {
    return state(invocation, context, *format, what == "ban");
  }
  if ((what == "close" || what == "open") && words == 1) {
    return close(invocation, context, *format, what == "close");
  }
  return usage_error(invocation, context,
                     "say what: id, list, pending, admit NAME, ban NAME (or the id of a node), "
                     "close or open");
}

}  // namespace

const Command& node_command() {
  static const Command kCommand = {
      .name = "node",
      .arguments = "id | list | pending | admit NAME | ban NAME | close | open",
      .summary = "Admits nodes to the cluster, and bans them",
      .description =
          "A node is a host's agent with its key; its id is a hash of that key. 'admit' and 'ban' "
          "sign a statement about one with an operator's key (-sign), which all members are told "
          "and keep. A banned node is heard by nobody any more. 'close' lets agents whose "
          "configuration says admission: operators hear only nodes that are admitted, and 'open' "
          "ends that.\n\n"
          "'id' shows the id of this host's agent, 'list' what operators have said, and 'pending' "
          "who is not admitted: members, and those who were refused. A node is named by its id, or "
          "by the "
          "name "
          "of a member or of one that is pending.",
      .example =
          "$ starling node pending\n"
          "e6a2c43efb7d8a7fb5e3a5b5d3a4a1f0  web3  refused  2026-01-02T03:04:05\n"
          "$ starling node admit -sign alice.key web3\n"
          "Admitted e6a2c43efb7d8a7fb5e3a5b5d3a4a1f0 (web3): 12 of 12 members know",
      .flags = kFlags,
      .run = run,
      .orders = true,
  };
  return kCommand;
}

}  // namespace starling::agent
