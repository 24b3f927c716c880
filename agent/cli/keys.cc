// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/signing.h"
#include "agent/cli/terminal.h"

namespace starling::agent {
namespace {

using control::KeysRequest;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"install", "KEY", false, "give every member another key, with which it can read"},
    {"use", "KEY", false, "let every member seal with this key, which all must have"},
    {"remove", "KEY", false, "take a key away, which must not be the one in use"},
    {"list", "", false, "show all keys, and how many members have each"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

/// What an operation is called, in Serf's words.
struct Words {
  std::string_view flag;
  KeysRequest::Operation operation;
  std::string_view begins;
  std::string_view done;
  std::string_view failed;
};
constexpr auto kWords = std::to_array<Words>({
    {"install", KeysRequest::INSTALL, "Installing key on all members...",
     "Successfully installed key!", "Error installing key"},
    {"use", KeysRequest::USE, "Changing primary key on all members...",
     "Successfully changed primary key!", "Error changing primary key"},
    {"remove", KeysRequest::REMOVE, "Removing key on all members...", "Successfully removed key!",
     "Error removing key"},
    {"list", KeysRequest::LIST, "Asking all members for installed keys...",
     "Keys gathered, listing cluster keys...", "Failed to gather member keys"},
});

/// The one operation that was asked for; null: none or several.
const Words* operation_of(const Invocation& invocation) {
  const Words* found = nullptr;
  for (const Words& each : kWords) {
    const bool asked = each.operation == KeysRequest::LIST ? invocation.enabled(each.flag)
                                                           : invocation.given(each.flag);
    if (!asked) continue;
    if (found != nullptr) return nullptr;
    found = &each;
  }
  return found;
}

void print_messages(std::ostream& out, const std::string& what, const control::KeysReply& keys) {
  std::size_t width = 0;
  for (const control::KeyValue& said : keys.messages()) {
    width = std::max(width, one_line(said.key()).size());
  }
  for (const control::KeyValue& said : keys.messages()) {
    std::string name = one_line(said.key());
    name.resize(width, ' ');
    out << what << name << "  " << one_line(said.value()) << "\n";
  }
}

void print_keys(std::ostream& out, const control::KeysReply& keys) {
  out << "\n";
  for (const control::KeyHolders& key : keys.keys()) {
    out << one_line(key.key()) << "  [" << key.members() << "/" << keys.members() << "]\n";
  }
}

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  const Words* words = operation_of(invocation);
  if (words == nullptr) {
    return usage_error(invocation, context,
                       "Only one of -install, -use, -remove, or -list allowed");
  }
  control::Request request;
  request.mutable_keys()->set_operation(words->operation);
  if (words->operation != KeysRequest::LIST) {
    request.mutable_keys()->set_key(invocation.value(words->flag));
    if (!sign_if_asked(invocation, context, request)) return 1;
  }
  auto client = connect(invocation, context);
  if (!client) return 1;
  client->set_timeout(std::chrono::seconds(60));
  if (*format == Format::kText) context.out << "==> " << words->begins << "\n" << std::flush;
  const auto reply = client->call(std::move(request));
  if (!reply) {
    report(context, reply.error());
    return 1;
  }
  const std::string& error = reply->error();
  if (*format == Format::kJson) context.out << keys_json(reply->keys(), error) << "\n";
  if (!error.empty()) {
    if (*format == Format::kText) print_messages(context.err, "failed:  ", reply->keys());
    context.err << "\n" << words->failed << ": " << error << "\n";
    return 1;
  }
  if (*format == Format::kJson) return 0;
  context.out << "==> " << words->done << "\n";
  print_messages(context.err, "note:    ", reply->keys());
  if (words->operation == KeysRequest::LIST) print_keys(context.out, reply->keys());
  return 0;
}

}  // namespace

const Command& keys_command() {
  static const Command kCommand = {
      .name = "keys",
      .arguments = "",
      .summary = "Changes or lists the cluster's keys",
      .description =
          "Asks every member to change its keys, and names those that did not. To change the "
          "cluster's key: install the new one, use it, remove the old one. The exit status is 1 "
          "unless every member has done it.",
      .example =
          "$ starling keys -list\n"
          "==> Asking all members for installed keys...\n"
          "==> Keys gathered, listing cluster keys...\n"
          "\n"
          "4iTlfvTbjnQyGUIcHknHGK/+4KylNrpTIsx5lHwEs+M=  [3/3]",
      .flags = kFlags,
      .run = run,
      .orders = true,
  };
  return kCommand;
}

}  // namespace starling::agent
