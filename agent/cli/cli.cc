// SPDX-License-Identifier: Apache-2.0
//
// The only file that sees CLI11. Its tree has one option with one value per flag, and gets command
// lines that arguments.cc has brought into one form.
#include "agent/cli/cli.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "agent/cli/arguments.h"
#include "agent/cli/commands.h"
#include "agent/cli/help.h"
#include "agent/config/text.h"

namespace starling::agent {
namespace {

constexpr int kNoSuchCommand = 127;

/// Every value is kept as it was written, in its order.
CLI::Option* add_raw_option(CLI::App& app, const std::string& name, std::string_view help) {
  CLI::Option* option =
      app.add_option(name, [](const CLI::results_t&) { return true; }, std::string(help));
  option->type_size(1);
  option->expected(1);
  option->allow_extra_args(false);  // otherwise "[a,b]" would be taken apart
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return option;
}

class Parser {
 public:
  explicit Parser(const Command& command) : app_("starling") {
    app_.set_help_flag();
    app_.require_subcommand(1);
    subcommand_ = app_.add_subcommand(std::string(command.name), std::string(command.description));
    subcommand_->set_help_flag();
    for (const FlagSpec& flag : flags_of(command)) {
      names_[add_raw_option(*subcommand_, "--" + std::string(flag.name), flag.help)] = flag.name;
    }
  }

  Result<Invocation> parse(const Command& command, std::vector<std::string> words) {
    // Pairs of flag and value, "--", arguments. Their exact number is said to CLI11, so that it
    // need not allow extra arguments: see add_raw_option().
    std::size_t mark = 0;
    while (mark < words.size() && words[mark] != "--") mark += 2;
    const int count = static_cast<int>(words.size()) - static_cast<int>(mark) - 1;
    CLI::Option* arguments = nullptr;
    if (count > 0) {
      arguments = add_raw_option(*subcommand_, "arguments", command.arguments);
      arguments->expected(count);
    }
    words.insert(words.begin(), std::string(command.name));
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    try {
      app_.parse(std::move(words));
    } catch (const CLI::Error& error) {
      return fail(ErrorKind::kInvalid, error.what());
    }
    Invocation invocation;
    invocation.command = &command;
    if (arguments != nullptr) invocation.arguments = arguments->results();
    std::map<const CLI::Option*, std::size_t> used;
    for (const CLI::Option* option : subcommand_->parse_order()) {
      const auto name = names_.find(option);
      if (name == names_.end()) continue;
      const std::string& value = option->results().at(used[option]++);
      invocation.flags.push_back({std::string(name->second), value});
    }
    return invocation;
  }

 private:
  CLI::App app_;
  CLI::App* subcommand_ = nullptr;
  std::map<const CLI::Option*, std::string_view> names_;
};

const Command* find_command(std::string_view name) {
  for (const Command* command : all_commands()) {
    if (command->name == name) return command;
  }
  return nullptr;
}

int no_such_command(Context& context, std::string_view name) {
  std::vector<std::string_view> names = {"help"};
  for (const Command* command : all_commands()) names.push_back(command->name);
  context.err << "starling: there is no command '" << name << "'";
  if (const auto near = config::nearest(name, names); !near.empty()) {
    context.err << "; did you mean '" << near << "'?";
  }
  context.err << "\nSee: starling --help\n";
  return kNoSuchCommand;
}

int show_help(Context& context, std::span<const std::string> arguments) {
  if (arguments.empty()) {
    context.out << overview();
    return 0;
  }
  const Command* command = find_command(arguments[0]);
  if (command == nullptr) return no_such_command(context, arguments[0]);
  context.out << command_help(*command);
  return 0;
}

int run_command(const Command& command, std::span<const std::string> arguments, Context& context) {
  Invocation invocation;
  invocation.command = &command;
  const auto words = normalize_arguments(arguments, flags_of(command));
  if (!words) return usage_error(invocation, context, words.error().message);
  if (words->size() == 1 && words->front() == "--help") {
    context.out << command_help(command);
    return 0;
  }
  auto parsed = Parser(command).parse(command, *words);
  if (!parsed) return usage_error(invocation, context, parsed.error().message);
  invocation = *std::move(parsed);
  return command.run(invocation, context);
}

int dispatch(std::span<const std::string> arguments, Context& context) {
  if (arguments.empty()) {
    context.err << overview();
    return kNoSuchCommand;
  }
  if (asks_for_version(arguments)) return run_command(version_command(), {}, context);
  const std::string& name = arguments[0];
  if (is_help_flag(name) || name == "help") return show_help(context, arguments.subspan(1));
  if (name.starts_with('-')) {
    context.err << "starling: there is no flag " << name << " before the command\n"
                << "See: starling --help\n";
    return 1;
  }
  const Command* command = find_command(name);
  if (command == nullptr) return no_such_command(context, name);
  return run_command(*command, arguments.subspan(1), context);
}

/// Overwrites the values of flags that are secrets: every user of the host can read the arguments
/// of a process, for as long as it runs.
void hide_secrets(std::span<char*> arguments) {
  constexpr auto kSecrets =
      std::to_array<std::string_view>({"encrypt", "rpc-auth", "install", "use", "remove"});
  bool next = false;
  for (char* argument : arguments) {
    char* secret = std::exchange(next, false) ? argument : nullptr;
    std::string_view name = argument;
    if (secret == nullptr && name.starts_with('-')) {
      name.remove_prefix(name.starts_with("--") ? 2 : 1);
      const size_t equals = std::min(name.find('='), name.size());
      if (std::ranges::find(kSecrets, name.substr(0, equals)) == kSecrets.end()) continue;
      next = equals == name.size();
      secret = next ? nullptr : argument + (name.data() - argument) + equals + 1;
    }
    if (secret != nullptr) std::fill_n(secret, std::strlen(secret), 'x');
  }
}

std::size_t terminal_rows() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

}  // namespace

int run_cli(const std::vector<std::string>& arguments, Context& context) {
  const int status = dispatch(arguments, context);
  context.out.flush();
  if (context.out.good()) return status;
  context.err << "starling: the output could not be written\n";
  return status == 0 ? 1 : status;
}

int run_cli(int argc, char** argv, AgentRunner run_agent, AgentRunner check_agent) {
  std::ios::sync_with_stdio(false);
  Context context{std::cout,
                  std::cerr,
                  ::isatty(STDOUT_FILENO) == 1,
                  ::isatty(STDERR_FILENO) == 1,
                  Environment::of_process(),
                  std::move(run_agent),
                  std::move(check_agent),
                  argc > 0 && std::filesystem::path(argv[0]).filename() == "serf",
                  &std::cin,
                  terminal_rows()};
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  hide_secrets(std::span(argv, static_cast<size_t>(argc)).subspan(std::min(argc, 1)));
  return run_cli(arguments, context);
}

}  // namespace starling::agent
