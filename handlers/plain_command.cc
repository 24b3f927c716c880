// SPDX-License-Identifier: Apache-2.0
#include "handlers/plain_command.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>

namespace starling::handlers {
namespace {

constexpr std::string_view kShell = "/bin/sh";
// Signals of which a shell says nothing.
constexpr std::array<int, 2> kSilent = {SIGINT, SIGPIPE};
// Variables that the shell keeps for itself: what it hands on depends on its state.
constexpr std::array<std::string_view, 3> kOwnVariables = {"IFS", "OPTIND", "PPID"};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
/// Not special to a shell, wherever in a word it stands.
bool is_plain(char c) {
  return is_letter(c) || is_digit(c) ||
         std::string_view("/._-+:,@%=").find(c) != std::string_view::npos;
}

/// A shell keeps no other variables, and hands none on.
bool is_name(std::string_view name) {
  return !name.empty() && !is_digit(name.front()) &&
         std::ranges::all_of(name, [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
}

bool shell_is_dash() {
  static const bool is = [] {
    std::array<char, PATH_MAX> path{};
    return ::realpath(kShell.data(), path.data()) != nullptr &&
           std::string_view(path.data()).ends_with("/dash");
  }();
  return is;
}

/// The working directory as a shell calls it: by the name that it is told, if that is its name.
std::optional<std::string> working_directory(const char* told, const std::string& directory) {
  const char* const there = directory.empty() ? "." : directory.c_str();
  struct stat named{};
  struct stat actual{};
  if (told != nullptr && *told == '/' && ::stat(told, &named) == 0 && ::stat(there, &actual) == 0 &&
      named.st_dev == actual.st_dev && named.st_ino == actual.st_ino) {
    return told;
  }
  std::array<char, PATH_MAX> path{};
  if (::realpath(there, path.data()) == nullptr) return std::nullopt;
  return path.data();
}

}  // namespace

void prepare_plain_commands() {
  static_cast<void>(shell_is_dash());
}

std::optional<std::vector<std::string>> plain_words(std::string_view command) {
  std::vector<std::string> words;
  bool within = false;
  for (const char c : command) {
    const bool blank = c == ' ' || c == '\t';
    if (!blank && !is_plain(c)) return std::nullopt;
    if (!blank && !within) words.emplace_back();
    if (!blank) words.back().push_back(c);
    within = !blank;
  }
  if (words.empty()) return std::nullopt;
  // Without a '/' it may be a builtin, and is to be looked up; with a '=' it may be an assignment.
  const std::string& first = words.front();
  if (first.find('/') == std::string::npos || first.find('=') != std::string::npos)
    return std::nullopt;
  return words;
}

std::optional<PlainCommand> plain_command(const job::Order& order) {
  if (order.arguments_size() != 3 || order.arguments(0) != kShell || order.arguments(1) != "-c" ||
      !shell_is_dash()) {
    return std::nullopt;
  }
  auto words = plain_words(order.arguments(2));
  if (!words) return std::nullopt;
  PlainCommand plain;
  plain.arguments = *std::move(words);
  plain.environment.reserve(static_cast<size_t>(order.environment_size()) + 1);
  const char* told = nullptr;
  for (const std::string& variable : order.environment()) {
    const std::string_view name = std::string_view(variable).substr(0, variable.find('='));
    if (!is_name(name) || name.size() == variable.size()) continue;
    if (std::ranges::find(kOwnVariables, name) != kOwnVariables.end()) return std::nullopt;
    if (name == "PWD") {
      told = variable.c_str() + name.size() + 1;
    } else {
      plain.environment.push_back(variable);
    }
  }
  const auto directory = working_directory(told, order.directory());
  if (!directory) return std::nullopt;
  plain.environment.push_back("PWD=" + *directory);
  return plain;
}

int shell_status(int signal) {
  return 128 + signal;
}

std::string shell_remark(int signal, bool dumped) {
  if (std::ranges::find(kSilent, signal) != kSilent.end()) return {};
  return std::string(::strsignal(signal)) + (dumped ? " (core dumped)\n" : "\n");
}

}  // namespace starling::handlers
