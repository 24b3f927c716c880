// SPDX-License-Identifier: Apache-2.0
//
// Columns for people and awk: aligned, two spaces apart, no header, nothing behind the last word.
// Pure.
#pragma once

#include <string>
#include <vector>

#include "agent/cli/terminal.h"

namespace starling::agent {

struct Cell {
  std::string text;  ///< made safe with one_line() by the table
  Color color = Color::kNone;
};

/// One line for each row. Rows may differ in length. Widths count characters of UTF-8, not bytes.
std::string format_table(const std::vector<std::vector<Cell>>& rows, bool color);

}  // namespace starling::agent
