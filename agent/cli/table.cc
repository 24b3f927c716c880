// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/table.h"

#include <algorithm>

namespace starling::agent {
namespace {

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;  // not a continuation
  }));
}

}  // namespace

std::string format_table(const std::vector<std::vector<Cell>>& rows, bool color) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], characters(one_line(row[i].text)));
    }
  }
  std::string result;
  for (const auto& row : rows) {
    std::string line;
    std::size_t gap = 0;  // owed before the next cell that is not empty
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string text = one_line(row[i].text);
      if (!text.empty()) {
        line.append(gap, ' ');
        line += color ? painted(text, row[i].color) : text;
        gap = 0;
      }
      gap += widths[i] - characters(text) + 2;
    }
    result += line + "\n";
  }
  return result;
}

}  // namespace starling::agent
