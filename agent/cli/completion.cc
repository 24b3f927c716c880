// SPDX-License-Identifier: Apache-2.0
//
// Completion scripts for shells, written from the table of commands.
#include <ostream>

#include "agent/cli/commands.h"

namespace starling::agent {
namespace {

/// Files and folders are what the value of such a flag completes to.
bool takes_path(const FlagSpec& flag) {
  return flag.value == "FILE" || flag.value == "DIR" || flag.value == "PATH";
}

/// In single quotes, for any of the shells.
std::string quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

/// For a description in zsh, where brackets and colons end it.
std::string zsh_text(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

void bash(std::ostream& out) {
  out << "# bash completion for starling and serf\n"
         "_starling() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "    COMPREPLY=($(compgen -W \"help";
  for (const Command* command : all_commands()) out << " " << command->name;
  out << "\" -- \"$word\"))\n    return\n  fi\n";
  out << "  case ${COMP_WORDS[1]} in\n";
  for (const Command* command : all_commands()) {
    std::string paths;
    std::string names;
    for (const FlagSpec& flag : flags_of(*command)) {
      names += (names.empty() ? "-" : " -") + std::string(flag.name);
      if (takes_path(flag)) paths += (paths.empty() ? "-" : "|-") + std::string(flag.name);
    }
    out << "    " << command->name << ")\n";
    if (!paths.empty()) {
      out << "      case $before in\n        " << paths
          << ") COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n      esac\n";
    }
    out << "      words=\"" << names << "\" ;;\n";
  }
  out << "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
         "}\n"
         "complete -o default -F _starling starling serf\n";
}

void zsh(std::ostream& out) {
  out << "#compdef starling serf\n"
         "_starling() {\n"
         "  local -a commands\n"
         "  commands=(\n    'help:Shows this overview, or the help of one command'\n";
  for (const Command* command : all_commands()) {
    out << "    " << quoted(std::string(command->name) + ":" + zsh_text(command->summary)) << "\n";
  }
  out << "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words\n"
         "  (( CURRENT-- ))\n"
         "  case $command in\n";
  for (const Command* command : all_commands()) {
    out << "    " << command->name << ")\n      _arguments";
    for (const FlagSpec& flag : flags_of(*command)) {
      std::string spec =
          (flag.repeats ? "*-" : "-") + std::string(flag.name) + "[" + zsh_text(flag.help) + "]";
      if (!flag.value.empty()) {
        spec += ":" + zsh_text(flag.value) + ":" + (takes_path(flag) ? "_files" : "");
      }
      out << " \\\n        " << quoted(spec);
    }
    out << " \\\n        '*::argument:_default' ;;\n";
  }
  out << "  esac\n}\ncompdef _starling starling serf\n";
}

void fish(std::ostream& out) {
  out << "# fish completion for starling and serf\n"
         "for program in starling serf\n"
         "  complete -c $program -n __fish_use_subcommand -f -a help -d 'Shows this overview, or "
         "the help of one command'\n";
  for (const Command* command : all_commands()) {
    out << "  complete -c $program -n __fish_use_subcommand -f -a " << command->name << " -d "
        << quoted(command->summary) << "\n";
    for (const FlagSpec& flag : flags_of(*command)) {
      out << "  complete -c $program -n '__fish_seen_subcommand_from " << command->name << "' -o "
          << flag.name
          << (flag.value.empty() ? ""
              : takes_path(flag) ? " -r -F"
                                 : " -x")
          << " -d " << quoted(flag.help) << "\n";
    }
  }
  out << "end\n";
}

int run(const Invocation& invocation, Context& context) {
  const std::string shell = invocation.arguments.size() == 1 ? invocation.arguments[0] : "";
  if (shell == "bash") {
    bash(context.out);
  } else if (shell == "zsh") {
    zsh(context.out);
  } else if (shell == "fish") {
    fish(context.out);
  } else {
    return usage_error(invocation, context, "Name one shell: bash, zsh or fish");
  }
  return 0;
}

}  // namespace

const Command& completion_command() {
  static const Command kCommand = {
      .name = "completion",
      .arguments = "SHELL",
      .summary = "Prints a completion script for bash, zsh or fish",
      .description =
          "Prints what makes the shell complete commands and flags. Let the shell read it at its "
          "start: for bash, write it to /etc/bash_completion.d/starling; for zsh, to _starling in "
          "a folder of $fpath; for fish, to ~/.config/fish/completions/starling.fish.",
      .example = "$ starling completion bash > /etc/bash_completion.d/starling",
      .flags = {},
      .client = false,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
