// SPDX-License-Identifier: Apache-2.0
//
// The keys `trusted_operators` (public keys, one line each) and `admission`. Internal to
// agent/config.
#pragma once

#include <string>

#include "agent/config/keys.h"

namespace starling::agent::config {

inline constexpr size_t kMostOperators = 256;

/// A list of lines as 'starling operator keygen' prints them. Lists of several files append; the
/// same line twice counts once. An error: two keys with one name, or one key with two.
Result<void> set_trusted_operators(Draft& draft, const Value& value);
std::string show_trusted_operators(const Config& config);

/// "open" or "operators".
Result<void> set_admission(Draft& draft, const Value& value);
std::string show_admission(const Config& config);

}  // namespace starling::agent::config
