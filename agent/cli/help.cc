// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/help.h"

#include <algorithm>
#include <sstream>

#include "agent/cli/commands.h"

namespace starling::agent {
namespace {

constexpr std::size_t kWidth = 80;

/// `text` in lines of at most kWidth columns, each behind `indent` spaces; words are not cut. The
/// first line is assumed to have its indent already.
std::string wrapped(std::string_view text, std::size_t indent) {
  std::istringstream words{std::string(text)};
  std::string result;
  std::size_t column = indent;
  for (std::string word; words >> word;) {
    if (column > indent && column + 1 + word.size() > kWidth) {
      result += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result + "\n";
}

std::string flag_label(const FlagSpec& flag) {
  const std::string label = "-" + std::string(flag.name);
  if (flag.value.empty()) return label;
  // "-tag=KEY=VALUE" is right, but hard to read.
  const bool has_equals = flag.value.find('=') != std::string_view::npos;
  return label + (has_equals ? " " : "=") + std::string(flag.value);
}

std::string flag_lines(const Command& command) {
  const std::vector<FlagSpec> flags = flags_of(command);
  std::size_t width = 0;
  for (const FlagSpec& flag : flags) width = std::max(width, flag_label(flag).size());
  std::string result;
  for (const FlagSpec& flag : flags) {
    std::string label = flag_label(flag);
    label.resize(width, ' ');
    const std::string help =
        std::string(flag.help) + (flag.repeats ? "; may be given several times" : "");
    result += "  " + label + "  " + wrapped(help, width + 4);
  }
  return result;
}

std::string indented(std::string_view lines) {
  std::istringstream stream{std::string(lines)};
  std::string result;
  for (std::string line; std::getline(stream, line);) {
    result += (line.empty() ? "" : "  ") + line + "\n";
  }
  return result;
}

}  // namespace

std::string usage_line(const Command& command) {
  const bool has_flags = command.client || !command.flags.empty();
  return "Usage: starling " + std::string(command.name) + (has_flags ? " [options]" : "") +
         (command.arguments.empty() ? "" : " ") + std::string(command.arguments) + "\n";
}

std::string command_help(const Command& command) {
  std::string result = usage_line(command) + "\n";
  std::string_view rest = command.description;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find("\n\n"), rest.size());
    result += "  " + wrapped(rest.substr(0, end), 2) + "\n";
    rest.remove_prefix(std::min(end + 2, rest.size()));
  }
  if (const std::string flags = flag_lines(command); !flags.empty()) {
    result += "Options:\n\n" + flags + "\n";
  }
  return result + "Example:\n\n" + indented(command.example);
}

std::string overview() {
  std::string result =
      "Usage: starling [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n";
  const auto line = [&result](std::string_view name, std::string_view summary) {
    std::string label(name);
    label.resize(14, ' ');
    result += "    " + label + std::string(summary) + "\n";
  };
  bool help_shown = false;
  for (const Command* command : all_commands()) {
    if (!help_shown && command->name > "help") {
      line("help", "Shows this overview, or the help of one command");
      help_shown = true;
    }
    line(command->name, command->summary);
  }
  return result + "\nFlags are written -flag=value, -flag value or with two dashes.\n" +
         "`starling <command> --help` shows a command's flags and an example.\n";
}

}  // namespace starling::agent
