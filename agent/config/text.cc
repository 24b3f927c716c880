// SPDX-License-Identifier: Apache-2.0
#include "agent/config/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <vector>

namespace starling::agent::config {

namespace {

using membership::Duration;

struct Unit {
  std::string_view name;
  int64_t nanoseconds;
};

constexpr Unit kNanosecond = {"ns", 1};
constexpr Unit kMicrosecond = {"us", 1'000};
constexpr Unit kMillisecond = {"ms", 1'000'000};
constexpr Unit kSecond = {"s", 1'000'000'000};
constexpr Unit kMinute = {"m", 60'000'000'000};
constexpr Unit kHour = {"h", 3'600'000'000'000};
/// The last two are the micro sign and the Greek letter, which look alike.
constexpr std::array<Unit, 8> kUnits = {
    kNanosecond, kMicrosecond, kMillisecond,       kSecond,
    kMinute,     kHour,        {"\u00b5s", 1'000}, {"\u03bcs", 1'000}};

constexpr std::string_view kDurationHint = "write it like 10s, 1m30s, 500ms or 24h";

tl::unexpected<Error> bad_duration(std::string_view text, std::string_view what) {
  return fail(ErrorKind::kInvalid,
              quoted(text) + " " + std::string(what) + ": " + std::string(kDurationHint));
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// "12.5" at the start of `text`, which it shortens. Plain digits and one point; none without
/// digit.
std::optional<double> take_decimal(std::string_view& text) {
  size_t length = 0;
  size_t digits = 0;
  bool point = false;
  while (length < text.size() && (is_digit(text[length]) || (text[length] == '.' && !point))) {
    point = point || text[length] == '.';
    digits += is_digit(text[length]) ? 1 : 0;
    ++length;
  }
  if (digits == 0) return std::nullopt;
  std::string number(text.substr(0, length));
  if (number.front() == '.') number.insert(0, 1, '0');
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

std::optional<int64_t> take_unit(std::string_view& text) {
  const size_t length = std::min(text.find_first_of("0123456789."), text.size());
  const std::string_view name = text.substr(0, length);
  for (const Unit& unit : kUnits) {
    if (unit.name != name) continue;
    text.remove_prefix(length);
    return unit.nanoseconds;
  }
  return std::nullopt;
}

/// Edits between two names: optimal string alignment, so that a swap counts as one.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  if (text == "0") return Duration::zero();
  if (text.empty()) return bad_duration(text, "is not a duration");
  if (text.front() == '-') return bad_duration(text, "is negative");
  if (parse_number(text)) return bad_duration(text, "has no unit");
  std::string_view rest = text;
  double total = 0;
  while (!rest.empty()) {
    const auto amount = take_decimal(rest);
    const auto unit = amount ? take_unit(rest) : std::nullopt;
    if (!unit) return bad_duration(text, "is not a duration");
    total += *amount * static_cast<double>(*unit);
    if (!(total <= static_cast<double>(kMaxDuration.count()))) {
      return fail(ErrorKind::kInvalid, quoted(text) + " is longer than ten years (87600h)");
    }
  }
  return Duration(std::llround(total));
}

std::string format_duration(Duration duration) {
  int64_t left = duration.count();
  if (left == 0) return "0s";
  std::string text;
  for (const Unit& unit : {kHour, kMinute, kSecond, kMillisecond, kMicrosecond, kNanosecond}) {
    const int64_t whole = left / unit.nanoseconds;
    if (whole == 0) continue;
    left %= unit.nanoseconds;
    text += std::to_string(whole);
    if (unit.nanoseconds <= kSecond.nanoseconds && left > 0) {  // the rest as its fraction
      const std::string digits = std::to_string(unit.nanoseconds + left).substr(1);
      text += "." + digits.substr(0, digits.find_last_not_of('0') + 1);
      left = 0;
    }
    text += unit.name;
  }
  return text;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 64;
  std::string shown;
  for (std::string_view rest = text.substr(0, std::min(text.size(), kShown)); !rest.empty();) {
    const size_t length = utf8_length(rest);
    const bool printable = length > 0 && !has_control_characters(rest.substr(0, 1));
    shown += printable ? rest.substr(0, length) : std::string_view("?");
    rest.remove_prefix(std::max<size_t>(length, 1));
  }
  return "'" + shown + (text.size() > kShown ? "..." : "") + "'";
}

std::string json_string(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      json += "\\u00";
      json += kHex[byte >> 4U];
      json += kHex[byte & 15U];
    } else {
      json += c;
    }
  }
  return json + "\"";
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> names) {
  constexpr size_t kLongest = 64;  // longer ones are no typing errors, and would cost time
  if (name.empty() || name.size() > kLongest) return {};
  std::string_view best;
  size_t least = kLongest;
  for (const std::string_view candidate : names) {
    const size_t count = edits(name, candidate);
    if (count < least && count * 3 <= std::max(name.size(), candidate.size())) {
      least = count;
      best = candidate;
    }
  }
  return best;
}

}  // namespace starling::agent::config
