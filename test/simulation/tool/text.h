// SPDX-License-Identifier: Apache-2.0
//
// How people write and read values: durations, shares, sizes, members. What is written by one of
// these functions is read back exactly by its counterpart. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "test/simulation/types.h"

namespace starling::simulation {

/// "20s", "250ms", "1.5h", "3m", "10us", "7ns"; none if it is something else. A number without a
/// unit is refused, but for 0.
std::optional<Duration> parse_duration(std::string_view text);
/// Exact, in the largest unit in which it needs no more than nine decimals: "250ms", "1.25s".
std::string write_duration(Duration duration);

/// "1%", "0.5%" or a number from 0 to 1.
std::optional<double> parse_share(std::string_view text);
/// Exact: "12.5%".
std::string write_share(double share);

/// Without sign and exponent: "0.05", "1200".
std::optional<double> parse_number(std::string_view text);
/// Exact, and as short as that can be.
std::string write_number(double value);

/// Digits only, at most 10^18.
std::optional<uint64_t> parse_count(std::string_view text);
/// Bytes: "64k", "1.5M", "125M" (powers of 1000) or a plain number.
std::optional<double> parse_bytes(std::string_view text);

/// For people, rounded to three digits: "870 us", "1.25 s", "4 min 10 s".
std::string show_duration(Duration duration);
/// For people: "12.5 %".
std::string show_share(double share);
/// For people: "512 B", "1.2 kB".
std::string show_bytes(double bytes);
/// "3", "3 and 4", "10 to 19", "1, 4 and 10 to 19", "1, 4, 9 and 17 others".
std::string show_nodes(std::vector<NodeIndex> nodes);
/// A list as scenario files hold it: "[1, 4, 10..19]".
std::string write_nodes(std::vector<NodeIndex> nodes);

/// The known word that is most like `word`, if one is alike enough to be meant.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& known);
/// "; did you mean 'crash'?" or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);
/// "a, b and c".
std::string enumerate(const std::vector<std::string>& parts);

/// printf into a string of at most 500 bytes.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

}  // namespace starling::simulation
