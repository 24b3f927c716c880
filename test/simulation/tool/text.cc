// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <numeric>

namespace starling::simulation {

namespace {

struct Unit {
  std::string_view name;
  int64_t nanoseconds;
};
/// Longest names first among those with a common end.
constexpr std::array<Unit, 6> kUnits = {{{"ns", 1},
                                         {"us", 1'000},
                                         {"ms", 1'000'000},
                                         {"s", 1'000'000'000},
                                         {"m", 60'000'000'000},
                                         {"h", 3'600'000'000'000}}};
constexpr size_t kMaxDecimals = 9;
/// Of a duration: three years.
constexpr int64_t kMaxNanoseconds = 100'000'000'000'000'000;

bool digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// `digits[.digits]` times `unit`, exactly; none when it is no number or has a finer part.
std::optional<int64_t> scaled(std::string_view text, int64_t unit) {
  const size_t dot = text.find('.');
  const std::string_view whole = text.substr(0, dot);
  const std::string_view decimals = dot == std::string_view::npos ? "0" : text.substr(dot + 1);
  if (!digits(whole) || !digits(decimals)) return std::nullopt;
  if (whole.size() > 17 || decimals.size() > kMaxDecimals) return std::nullopt;
  const auto number = [](std::string_view part) {
    int64_t value = 0;
    std::from_chars(part.data(), part.data() + part.size(), value);
    return value;
  };
  if (number(whole) > kMaxNanoseconds / unit) return std::nullopt;
  int64_t power = 1;
  for (size_t i = 0; i < decimals.size(); ++i) power *= 10;
  // unit is at most 3.6e12 and a decimal part below 1e9: their product needs more than 64 bits.
  const auto part = static_cast<__int128>(number(decimals)) * unit;
  if (part % power != 0) return std::nullopt;
  return number(whole) * unit + static_cast<int64_t>(part / power);
}

/// Ascending runs of neighbours: first and last.
std::vector<std::pair<NodeIndex, NodeIndex>> runs(std::vector<NodeIndex> nodes) {
  std::sort(nodes.begin(), nodes.end());
  std::vector<std::pair<NodeIndex, NodeIndex>> runs;
  for (const NodeIndex node : nodes) {
    if (!runs.empty() && node <= runs.back().second + 1) {
      runs.back().second = node;
    } else {
      runs.emplace_back(node, node);
    }
  }
  return runs;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0U);
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t change = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  if (text == "0") return Duration::zero();
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    std::string_view number = text.substr(0, text.size() - unit.name.size());
    while (number.ends_with(' ')) number.remove_suffix(1);
    if (number.empty() || number.back() < '0' || number.back() > '9') continue;
    const auto value = scaled(number, unit.nanoseconds);
    if (!value) return std::nullopt;
    return Duration(*value);
  }
  return std::nullopt;
}

std::optional<double> parse_number(std::string_view text) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0)) {
    return std::nullopt;
  }
  return value;
}

std::string write_number(double value) {
  std::array<char, 64> buffer{};
  const auto result =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  return {buffer.data(), result.ptr};
}

std::string write_duration(Duration duration) {
  const int64_t count = duration.count();
  const Unit& unit = count % 60'000'000'000 == 0 && count >= 60'000'000'000 ? kUnits[4]
                     : count >= 1'000'000'000 || count == 0                 ? kUnits[3]
                     : count >= 1'000'000                                   ? kUnits[2]
                     : count >= 1'000                                       ? kUnits[1]
                                                                            : kUnits[0];
  std::string text = std::to_string(count / unit.nanoseconds);
  if (count % unit.nanoseconds != 0) {
    std::string decimals = std::to_string(unit.nanoseconds + count % unit.nanoseconds).substr(1);
    decimals.erase(decimals.find_last_not_of('0') + 1);
    text += '.' + decimals;
  }
  return text + std::string(unit.name);
}

std::optional<double> parse_share(std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  const auto number = parse_number(text);
  if (!number) return std::nullopt;
  const double share = percent ? *number / 100 : *number;
  if (share > 1) return std::nullopt;
  return share;
}

std::string write_share(double share) {
  const std::string percent = write_number(share * 100);
  if (percent.size() <= 6 && parse_share(percent + '%') == share) return percent + '%';
  return write_number(share);
}

std::optional<uint64_t> parse_count(std::string_view text) {
  if (!digits(text) || text.size() > 18) return std::nullopt;
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::optional<double> parse_bytes(std::string_view text) {
  double unit = 1;
  if (text.ends_with('k')) unit = 1e3;
  if (text.ends_with('M')) unit = 1e6;
  if (text.ends_with('G')) unit = 1e9;
  if (unit > 1) text.remove_suffix(1);
  const auto number = parse_number(text);
  if (!number) return std::nullopt;
  return *number * unit;
}

std::string show_duration(Duration duration) {
  const double nanoseconds = static_cast<double>(duration.count());
  const auto three = [](double value, const char* unit) {
    return format("%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, unit);
  };
  if (nanoseconds <= 0) return "0 s";
  if (nanoseconds < 1e6) return format("%.0f us", nanoseconds / 1e3);
  if (nanoseconds < 0.9995e9) return three(nanoseconds / 1e6, "ms");
  if (nanoseconds < 120e9) return three(nanoseconds / 1e9, "s");
  const auto whole = static_cast<long>(std::lround(nanoseconds / 1e9));
  return whole % 60 == 0 ? format("%ld min", whole / 60)
                         : format("%ld min %ld s", whole / 60, whole % 60);
}

std::string show_share(double share) {
  const double percent = share * 100;
  std::string text = format("%.*f", percent < 1 ? 3 : 1, percent);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
  }
  return text + " %";
}

std::string show_bytes(double bytes) {
  if (bytes < 1000) return format("%.0f B", bytes);
  if (bytes < 1e6) return format("%.1f kB", bytes / 1e3);
  if (bytes < 1e9) return format("%.1f MB", bytes / 1e6);
  return format("%.1f GB", bytes / 1e9);
}

std::string enumerate(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " and " : ", ";
    text += parts[i];
  }
  return text;
}

std::string show_nodes(std::vector<NodeIndex> nodes) {
  constexpr size_t kShown = 8;
  const size_t count = nodes.size();
  size_t named = 0;
  std::vector<std::string> parts;
  for (const auto& [first, last] : runs(std::move(nodes))) {
    if (parts.size() == kShown) break;
    if (last == first + 1 && parts.size() + 2 <= kShown) {
      parts.push_back(std::to_string(first));
      parts.push_back(std::to_string(last));
    } else {
      parts.push_back(std::to_string(first) +
                      (last > first ? " to " + std::to_string(last) : std::string()));
    }
    named += last - first + 1;
  }
  if (named < count) parts.push_back(std::to_string(count - named) + " others");
  return enumerate(parts);
}

std::string write_nodes(std::vector<NodeIndex> nodes) {
  std::vector<NodeIndex> once;
  for (const NodeIndex node : nodes) {
    if (std::find(once.begin(), once.end(), node) == once.end()) once.push_back(node);
  }
  nodes = std::move(once);
  if (!std::is_sorted(nodes.begin(), nodes.end())) {  // the order means something
    std::string text;
    for (const NodeIndex node : nodes) text += (text.empty() ? "" : ", ") + std::to_string(node);
    return '[' + text + ']';
  }
  std::string text;
  for (const auto& [first, last] : runs(std::move(nodes))) {
    if (!text.empty()) text += ", ";
    text += std::to_string(first);
    if (last > first) text += ".." + std::to_string(last);
  }
  return '[' + text + ']';
}

std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& known) {
  const std::string* best = nullptr;
  size_t distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t d = edit_distance(word, candidate);
    if (d < distance) {
      distance = d;
      best = &candidate;
    }
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const auto meant = nearest(word, known);
  return meant ? "; did you mean '" + *meant + "'?" : "";
}

std::string format(const char* pattern, ...) {
  std::array<char, 512> buffer{};
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(buffer.data(), buffer.size(), pattern, arguments);
  va_end(arguments);
  return buffer.data();
}

}  // namespace starling::simulation
