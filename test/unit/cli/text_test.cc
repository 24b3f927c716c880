// SPDX-License-Identifier: Apache-2.0
//
// Tables, terminal text, member text, JSON: what needs no agent.
#include <ctime>
#include <map>
#include <sstream>

#include "agent/cli/commands.h"
#include "agent/cli/help.h"
#include "agent/cli/json.h"
#include "agent/cli/member_text.h"
#include "agent/cli/table.h"
#include "agent/cli/terminal.h"
#include "test/catch.h"

using std::string_literals::operator""s;
using starling::agent::all_commands;
using starling::agent::Color;
using starling::agent::Command;
using starling::agent::command_help;
using starling::agent::Context;
using starling::agent::endpoint_text;
using starling::agent::FlagSpec;
using starling::agent::format_table;
using starling::agent::local_time;
using starling::agent::one_line;
using starling::agent::overview;
using starling::agent::QueryOutcome;
using starling::agent::uses_color;
namespace control = starling::control;

namespace {

control::Member member_at(const std::string& address, std::uint32_t port) {
  control::Member member;
  member.set_address(address);
  member.set_port(port);
  return member;
}

}  // namespace

TEST_CASE("columns are two spaces apart and end with their last word") {
  CHECK(format_table({{{"a1"}, {"127.0.0.31:7946"}, {"alive"}, {"dc=x,role=web"}},
                      {{"longername2"}, {"127.0.0.32:7946"}, {"alive"}, {""}}},
                     false) ==
        "a1           127.0.0.31:7946  alive  dc=x,role=web\n"
        "longername2  127.0.0.32:7946  alive\n");
}

TEST_CASE("an empty cell leaves its column free") {
  CHECK(format_table({{{"a"}, {"dc=x"}, {"end"}}, {{"b"}, {""}, {"end"}}, {{"c"}}}, false) ==
        "a  dc=x  end\n"
        "b        end\n"
        "c\n");
  CHECK(format_table({}, false).empty());
}

TEST_CASE("widths count characters and not bytes or colours") {
  CHECK(format_table({{{"wéird"}, {"x"}}, {{"plain"}, {"y"}}}, false) == "wéird  x\nplain  y\n");
  CHECK(format_table({{{"up", Color::kGreen}, {"x"}}, {{"down", Color::kRed}, {"y"}}}, true) ==
        "\x1b[32mup\x1b[0m    x\n\x1b[31mdown\x1b[0m  y\n");
}

TEST_CASE("control characters from other hosts are shown and not obeyed") {
  CHECK(one_line("a\x1b[31mb\n\tc\x7f") == "a\\x1b[31mb\\n\\tc\\x7f");
  CHECK(one_line("\xc2\x9b"
                 "31m \xc2\xa9") ==
        "\\xc2\x9b"
        "31m \xc2\xa9");
  CHECK(format_table({{{"evil\n\x1b[2J"}}}, false) == "evil\\n\\x1b[2J\n");
}

TEST_CASE("a moment is told in this host's time zone") {
  constexpr std::int64_t kMoment = 1'767'323'045'678;
  const std::string told = local_time(kMoment);
  std::tm parts = {};
  REQUIRE(::strptime(told.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == told.c_str() + told.size());
  parts.tm_isdst = -1;
  CHECK(std::mktime(&parts) == kMoment / 1000);
  CHECK(local_time(0).empty());
  CHECK(local_time(0, "-") == "-");
}

TEST_CASE("colours need a terminal and no objection") {
  std::ostringstream out;
  std::map<std::string, std::string> variables;
  Context context{out, out};
  context.environment.variable = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  CHECK_FALSE(uses_color(context));
  context.out_terminal = true;
  CHECK(uses_color(context));
  variables["NO_COLOR"] = "";
  CHECK(uses_color(context));
  variables["NO_COLOR"] = "1";
  CHECK_FALSE(uses_color(context));
  variables = {{"TERM", "dumb"}};
  CHECK_FALSE(uses_color(context));
}

TEST_CASE("addresses of both families are written with their port") {
  CHECK(endpoint_text(member_at("\x7f\0\0\x01"s, 7946)) == "127.0.0.1:7946");
  CHECK(endpoint_text(member_at(std::string(15, '\0') + "\x01", 1)) == "[::1]:1");
  CHECK(endpoint_text(member_at(std::string(10, '\0') + "\xff\xff\x0a\0\0\x01"s, 7)) ==
        "10.0.0.1:7");
  CHECK(endpoint_text(member_at("", 7)) == "?:7");
}

TEST_CASE("JSON takes bytes that are not UTF-8") {
  QueryOutcome outcome;
  control::QueryAnswer answer;
  answer.set_from("a");
  answer.set_kind(control::QueryAnswer::RESPONSE);
  answer.set_payload("\xff\0"s);
  outcome.add(answer);
  const std::string json = starling::agent::query_json(outcome);
  CHECK(json.find("\"a\": \"\xef\xbf\xbd\\u0000\"") != std::string::npos);
  CHECK(json.find("\"ResponsesBase64\": {\n    \"a\": \"/wA=\"") != std::string::npos);
}

TEST_CASE("an outcome knows who will say no more") {
  QueryOutcome outcome;
  using Kind = control::QueryAnswer;
  for (const auto& [from, kind] : {std::pair("a", Kind::ACK), std::pair("a", Kind::NO_ANSWER),
                                   std::pair("b", Kind::ACK), std::pair("c", Kind::BUSY),
                                   std::pair("d", Kind::TOO_LARGE), std::pair("e", Kind::FAILED)}) {
    control::QueryAnswer answer;
    answer.set_from(from);
    answer.set_kind(kind);
    answer.set_last(kind != Kind::ACK);
    outcome.add(answer);
  }
  CHECK(outcome.acks == std::vector<std::string>{"a", "b"});
  CHECK(outcome.finished == std::set<std::string>{"a", "c", "d", "e"});
  CHECK(outcome.failures.size() == 3);
  CHECK(starling::agent::failure_text(outcome.failures[1]) == "its answer is too large");
  CHECK(outcome.no_answer == std::set<std::string>{"a"});
}

TEST_CASE("help of every command names all its flags and has an example") {
  for (const Command* command : all_commands()) {
    CAPTURE(command->name);
    const std::string help = command_help(*command);
    CHECK(help.starts_with("Usage: starling " + std::string(command->name)));
    CHECK(help.find("Example:\n\n  $ starling ") != std::string::npos);
    CHECK((help.find("-control=PATH") != std::string::npos) ==
          (command->client || command->name == "agent" || command->name == "config"));
    for (const FlagSpec& flag : command->flags) {
      CAPTURE(flag.name);
      CHECK(help.find("\n  -" + std::string(flag.name)) != std::string::npos);
    }
    CHECK(overview().find("\n    " + std::string(command->name) + " ") != std::string::npos);
  }
  CHECK(overview().find("\n    help ") != std::string::npos);
}
