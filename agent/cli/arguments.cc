// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/arguments.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>

#include "agent/config/text.h"

namespace starling::agent {
namespace {

constexpr auto kTrue = std::to_array<std::string_view>({"1", "t", "T", "true", "True", "TRUE"});
constexpr auto kFalse = std::to_array<std::string_view>({"0", "f", "F", "false", "False", "FALSE"});

bool contains(std::span<const std::string_view> words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_flag(std::string_view argument) {
  return argument.size() > 1 && argument[0] == '-' &&
         std::isdigit(static_cast<unsigned char>(argument[1])) == 0;
}

struct GivenFlag {
  std::string_view name;
  std::optional<std::string_view> value;
};

GivenFlag split_flag(std::string_view argument) {
  argument.remove_prefix(argument.starts_with("--") ? 2 : 1);
  const std::size_t equals = argument.find('=');
  if (equals == std::string_view::npos) return {argument, std::nullopt};
  return {argument.substr(0, equals), argument.substr(equals + 1)};
}

std::string unknown_flag(std::string_view name, std::span<const FlagSpec> flags,
                         bool after_argument) {
  std::vector<std::string_view> names;
  names.reserve(flags.size());
  for (const FlagSpec& flag : flags) names.push_back(flag.name);
  std::string message = "there is no flag -" + std::string(name);
  if (const auto near = config::nearest(name, names); !near.empty()) {
    message += "; did you mean -" + std::string(near) + "?";
  } else if (after_argument) {
    message += "; put -- before an argument that begins with '-'";
  }
  return message;
}

}  // namespace

Result<std::vector<std::string>> normalize_arguments(std::span<const std::string> arguments,
                                                     std::span<const FlagSpec> flags) {
  std::vector<std::string> result;
  std::vector<std::string> others;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      others.insert(others.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                    arguments.end());
      break;
    }
    if (is_help_flag(argument)) return std::vector<std::string>{"--help"};
    if (!is_flag(argument)) {
      others.push_back(argument);
      continue;
    }
    const GivenFlag given = split_flag(argument);
    const auto flag = std::find_if(flags.begin(), flags.end(),
                                   [&](const FlagSpec& each) { return each.name == given.name; });
    if (flag == flags.end()) {
      return fail(ErrorKind::kInvalid, unknown_flag(given.name, flags, !others.empty()));
    }
    result.push_back("--" + std::string(flag->name));
    if (flag->value.empty()) {
      const auto value = parse_boolean(given.value.value_or("true"));
      if (!value) {
        return fail(ErrorKind::kInvalid, "invalid boolean value \"" + std::string(*given.value) +
                                             "\" for -" + std::string(flag->name) + ": give -" +
                                             std::string(flag->name) + "=true or -" +
                                             std::string(flag->name) + "=false");
      }
      result.emplace_back(*value ? "true" : "false");
    } else if (given.value) {
      result.emplace_back(*given.value);
    } else if (i + 1 < arguments.size()) {
      result.push_back(arguments[++i]);
    } else {
      return fail(ErrorKind::kInvalid, "flag needs a value: -" + std::string(flag->name) + " " +
                                           std::string(flag->value));
    }
  }
  if (!others.empty()) {
    result.emplace_back("--");
    result.insert(result.end(), others.begin(), others.end());
  }
  return result;
}

bool asks_for_version(std::span<const std::string> arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--") return false;
    if (argument == "-v" || argument == "-version" || argument == "--version") return true;
  }
  return false;
}

bool is_help_flag(std::string_view argument) {
  return argument == "-h" || argument == "-help" || argument == "--help";
}

Result<bool> parse_boolean(std::string_view text) {
  if (contains(kTrue, text)) return true;
  if (contains(kFalse, text)) return false;
  return fail(ErrorKind::kInvalid, "\"" + std::string(text) + "\" is neither true nor false");
}

Result<std::pair<std::string, std::string>> parse_tag(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return fail(ErrorKind::kInvalid,
                "Error: Invalid tag: '" + std::string(text) + "'; give it as KEY=VALUE");
  }
  return std::pair(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
}

}  // namespace starling::agent
