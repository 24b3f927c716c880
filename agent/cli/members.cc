// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <ostream>

#include "agent/cli/arguments.h"
#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/member_text.h"
#include "agent/cli/table.h"

namespace starling::agent {
namespace {

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"degraded", "", false, "only members that others reach badly, but not never"},
    {"detailed", "", false, "also show protocol versions, in text (default: false)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
    {"name", "REGEXP", false, "only members whose whole name matches"},
    {"role", "REGEXP", false, "older form of -tag role=REGEXP"},
    {"status", "REGEXP", false,
     "only members whose whole status matches: alive, leaving, left, failed"},
    {"tag", "KEY=REGEXP", true, "only members whose whole tag matches"},
});

Color status_color(const std::string& status) {
  if (status == "alive") return Color::kGreen;
  if (status == "failed") return Color::kRed;
  if (status == "leaving") return Color::kYellow;
  return Color::kGrey;
}

std::string members_table(const control::MembersReply& reply, bool detailed, bool color) {
  std::vector<std::vector<Cell>> rows;
  rows.reserve(static_cast<std::size_t>(reply.members_size()));
  for (const control::Member& member : reply.members()) {
    auto& row = rows.emplace_back();
    row.push_back({member.name()});
    row.push_back({endpoint_text(member)});
    row.push_back({member.status(), status_color(member.status())});
    row.push_back({tags_text(member)});
    if (detailed) {
      const std::string max = std::to_string(member.protocol_max());
      row.push_back({"Protocol Version: " + max});
      row.push_back({"Available Protocol Range: [" + std::to_string(member.protocol_min()) + ", " +
                     max + "]"});
    }
    // Behind Serf's columns, which scripts count.
    if (member.degraded()) row.push_back({"degraded", Color::kYellow});
  }
  return format_table(rows, color);
}

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  control::Request request;
  control::MembersRequest& members = *request.mutable_members();
  members.set_name(invocation.value("name"));
  members.set_status(invocation.value("status"));
  members.set_degraded(invocation.enabled("degraded"));
  std::vector<std::string> tags = invocation.values("tag");
  if (invocation.given("role")) tags.push_back("role=" + invocation.value("role"));
  for (const std::string& text : tags) {
    const auto tag = parse_tag(text);
    if (!tag) return usage_error(invocation, context, tag.error().message);
    control::KeyValue& filter = *members.add_tags();
    filter.set_key(tag->first);
    filter.set_value(tag->second);
  }
  const auto reply = ask(invocation, context, request, "Error retrieving members");
  if (!reply) return 1;
  if (*format == Format::kJson) {
    context.out << members_json(reply->members()) << "\n";
  } else {
    context.out << members_table(reply->members(), invocation.enabled("detailed"),
                                 uses_color(context));
  }
  return 0;
}

}  // namespace

const Command& members_command() {
  static const Command kCommand = {
      .name = "members",
      .arguments = "",
      .summary = "Lists the members of the cluster",
      .description =
          "Prints the members that the agent knows: name, address, status, tags, and 'degraded' "
          "behind one that others reach badly. Regular expressions have to match from the first "
          "character to the last.",
      .example =
          "$ starling members -status alive -tag role=web\n"
          "web1  10.0.0.1:7946  alive  dc=x,role=web\n"
          "web2  10.0.0.2:7946  alive  dc=y,role=web",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
