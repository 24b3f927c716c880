// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <ostream>

#include "agent/cli/arguments.h"
#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/signing.h"
#include "agent/cli/terminal.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"set", "KEY=VALUE", true, "create or change a tag"},
    {"delete", "KEY", true, "remove a tag, if it is there"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

/// This member's tags as the agent has them, sorted; none when that failed (and was reported).
std::optional<control::InfoSection> own_tags(const Invocation& invocation, Context& context) {
  control::Request request;
  request.mutable_info();
  const auto reply = ask(invocation, context, request, "Error querying agent");
  if (!reply) return std::nullopt;
  control::InfoSection tags;
  for (const control::InfoSection& section : reply->info().sections()) {
    if (section.name() == "tags") tags = section;
  }
  std::sort(tags.mutable_values()->begin(), tags.mutable_values()->end(),
            [](const auto& a, const auto& b) { return a.key() < b.key(); });
  return tags;
}

int list_tags(const Invocation& invocation, Context& context, Format format) {
  const auto tags = own_tags(invocation, context);
  if (!tags) return 1;
  if (format == Format::kJson) {
    context.out << tags_json(*tags) << "\n";
    return 0;
  }
  for (const control::KeyValue& tag : tags->values()) {
    context.out << one_line(tag.key()) << "=" << one_line(tag.value()) << "\n";
  }
  return 0;
}

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  if (!invocation.given("set") && !invocation.given("delete")) {
    return list_tags(invocation, context, *format);
  }
  control::Request request;
  for (const std::string& text : invocation.values("set")) {
    const auto tag = parse_tag(text);
    if (!tag) return usage_error(invocation, context, tag.error().message);
    control::KeyValue& set = *request.mutable_tags()->add_set();
    set.set_key(tag->first);
    set.set_value(tag->second);
  }
  for (const std::string& key : invocation.values("delete")) {
    request.mutable_tags()->add_remove(key);
  }
  if (!sign_if_asked(invocation, context, request)) return 1;
  if (!ask(invocation, context, request, "Error setting tags", std::chrono::seconds(60))) return 1;
  if (*format == Format::kJson) return list_tags(invocation, context, *format);
  context.out << "Successfully updated agent tags\n";
  return 0;
}

}  // namespace

const Command& tags_command() {
  static const Command kCommand = {
      .name = "tags",
      .arguments = "",
      .summary = "Shows or changes the tags of the agent",
      .description =
          "Without -set and -delete, lists this member's tags. Otherwise removes and "
          "sets tags of the running agent, in that order, and tells the cluster.",
      .example =
          "$ starling tags -set role=web -delete dc\n"
          "Successfully updated agent tags\n"
          "$ starling tags\n"
          "role=web",
      .flags = kFlags,
      .run = run,
      .orders = true,
  };
  return kCommand;
}

}  // namespace starling::agent
