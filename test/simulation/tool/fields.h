// SPDX-License-Identifier: Apache-2.0
//
// The options that a scenario file may set, by name: one table for each struct, read and written by
// the same code. Names are those of the members, with dashes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "test/simulation/scenario.h"

namespace starling::simulation {

/// A double is a share from 0 to 1, or a number of bytes; an int is in parts per million.
template <typename T>
struct Field {
  const char* name;
  std::variant<Duration T::*, double T::*, unsigned T::*, size_t T::*, int T::*, bool T::*,
               JitterShape T::*>
      member;
  bool bytes = false;
};

/// Under `network:`.
[[nodiscard]] std::span<const Field<LinkModel>> link_fields();
/// Under `hosts:`.
[[nodiscard]] std::span<const Field<WorldOptions>> host_fields();
/// Under `node:`.
[[nodiscard]] std::span<const Field<membership::Options>> node_fields();
/// Under `guards:`.
[[nodiscard]] std::span<const Field<membership::Guards>> guard_fields();
/// Under `checks:`.
[[nodiscard]] std::span<const Field<CheckerOptions>> check_fields();
[[nodiscard]] std::span<const Field<Scenario>> bound_fields();

/// Sets the field from `text`; otherwise what should have been there: "a time with its unit, such
/// as 250ms".
template <typename T>
std::string set_field(const Field<T>& field, std::string_view text, T& target);
/// As set_field reads it.
template <typename T>
std::string write_field(const Field<T>& field, const T& source);

}  // namespace starling::simulation
