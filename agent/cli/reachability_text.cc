// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/reachability_text.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "agent/cli/table.h"

namespace starling::agent {
namespace {

constexpr std::size_t kWholeMatrix = 12;
constexpr int kWaysOfRow = 4;
constexpr std::size_t kLines = 40;

Cell cell_of(const control::ReachabilityWay& way) {
  if (way.reach() == "indirect") {
    return {way.via().empty() ? "indirect" : "via " + way.via(), Color::kYellow};
  }
  if (way.reach() == "direct") return {"udp only", Color::kYellow};
  if (way.reach() == "unknown") return {"?", Color::kGrey};
  if (way.reach() == "stream") return {"tcp only", Color::kYellow};
  return {"none", Color::kRed};
}

std::string time_text(std::uint64_t milliseconds) {
  const std::uint64_t seconds = milliseconds / 1000;
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 7200) return std::to_string(seconds / 60) + " min";
  return std::to_string(seconds / 3600) + " h";
}

std::vector<std::vector<Cell>> whole_matrix(const control::ReachabilityReply& reply) {
  std::set<std::string> columns;
  for (const control::ReachabilityRow& row : reply.rows()) {
    columns.insert(row.from());
    for (const control::ReachabilityWay& way : row.ways()) columns.insert(way.to());
  }
  std::vector<std::vector<Cell>> table;
  std::vector<Cell>& head = table.emplace_back();
  head.push_back({"from \\ to", Color::kGrey});
  for (const std::string& name : columns) head.push_back({name, Color::kNone});
  for (const control::ReachabilityRow& row : reply.rows()) {
    std::map<std::string, const control::ReachabilityWay*> ways;
    for (const control::ReachabilityWay& way : row.ways()) ways[way.to()] = &way;
    std::vector<Cell>& line = table.emplace_back();
    line.push_back({row.from(), Color::kNone});
    for (const std::string& name : columns) {
      const auto way = ways.find(name);
      if (name == row.from()) {
        line.push_back({"-", Color::kGrey});
      } else if (way != ways.end()) {
        line.push_back(cell_of(*way->second));
      } else {
        line.push_back(row.reported() ? Cell{"direct", Color::kGreen} : Cell{"?", Color::kGrey});
      }
    }
  }
  return table;
}

/// How many ways there are of each kind.
std::string counts_text(const control::ReachabilityReply& reply) {
  std::uint64_t direct = 0;
  std::uint64_t unknown = 0;
  std::map<std::string, std::uint64_t> others;
  for (const control::ReachabilityRow& row : reply.rows()) {
    direct += row.direct();
    unknown += row.unprobed();
    if (row.omitted() > 0) others["not listed"] += row.omitted();
    for (const control::ReachabilityWay& way : row.ways()) {
      if (way.reach() != "unknown") ++others[cell_of(way).text.substr(0, 3)];
    }
  }
  const auto of = [&](const char* key, const char* text) {
    return others[key] == 0 ? "" : ", " + std::to_string(others[key]) + " " + text;
  };
  std::string text = "Ways between members: " + std::to_string(direct) + " direct";
  text += of("via", "through others") + of("ind", "through others") + of("tcp", "by streams only");
  text += of("udp", "by datagrams only") + of("non", "not at all") + of("not listed", "not listed");
  if (unknown > 0) text += ", " + std::to_string(unknown) + " not probed yet";
  return text + "\n";
}

std::vector<std::vector<Cell>> troubled_rows(const control::ReachabilityReply& reply,
                                             std::size_t& left_out) {
  std::vector<std::vector<Cell>> table;
  const auto add = [&](std::vector<Cell> line) {
    if (table.size() < kLines) {
      table.push_back(std::move(line));
    } else {
      ++left_out;
    }
  };
  for (const control::ReachabilityRow& row : reply.rows()) {
    std::map<std::string, int> kinds;
    std::vector<const control::ReachabilityWay*> ways;
    for (const control::ReachabilityWay& way : row.ways()) {
      if (way.reach() == "unknown") continue;
      ways.push_back(&way);
      ++kinds[way.reach() == "indirect" ? "indirect" : cell_of(way).text];
    }
    if (static_cast<int>(ways.size()) > kWaysOfRow) {
      std::string text;
      for (const auto& [kind, count] : kinds) {
        text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + kind;
      }
      add({{row.from(), Color::kNone},
           {"->", Color::kGrey},
           {std::to_string(ways.size()) + " members", Color::kNone},
           {text, Color::kYellow}});
      continue;
    }
    for (const control::ReachabilityWay* way : ways) {
      add({{row.from(), Color::kNone},
           {"->", Color::kGrey},
           {way->to(), Color::kNone},
           cell_of(*way),
           {way->for_ms() > 0 ? "for " + time_text(way->for_ms()) : "", Color::kGrey}});
    }
  }
  return table;
}

}  // namespace

std::string reachability_text(const control::ReachabilityReply& reply, bool all, bool color) {
  std::string text;
  if (all || reply.rows_size() <= static_cast<int>(kWholeMatrix)) {
    if (reply.rows_size() > 1 || reply.findings_size() > 0) {
      text += format_table(whole_matrix(reply), color);
    }
  } else {
    std::size_t left_out = 0;
    text += counts_text(reply);
    text += format_table(troubled_rows(reply, left_out), color);
    if (left_out > 0) {
      text += "and " + std::to_string(left_out) + " more lines: -all shows the whole matrix\n";
    }
  }
  for (const control::ReachabilityFinding& finding : reply.findings()) {
    text += "* " + one_line(finding.text());
    if (finding.for_ms() > 0) text += " (for " + time_text(finding.for_ms()) + ")";
    text += "\n";
  }
  return text;
}

}  // namespace starling::agent
