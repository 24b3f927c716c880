// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/experiments/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

namespace starling::simulation {

namespace {

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) std::fprintf(stderr, "starling-sim: cannot write %s\n", path.c_str());
  return static_cast<bool>(file);
}

std::string command(const std::string& name, const ExperimentOptions& options) {
  std::string text = "starling-sim table " + name;
  if (options.seeds > 0) text += " --seeds " + std::to_string(options.seeds);
  if (options.first_seed != 1) text += " --first-seed " + std::to_string(options.first_seed);
  for (size_t i = 0; i < options.members.size(); ++i) {
    text += (i == 0 ? " --members " : ",") + std::to_string(options.members[i]);
  }
  if (!options.rows.empty()) text += " --rows '" + options.rows + "'";
  if (options.quick) text += " --quick";
  return text;
}

}  // namespace

Report::Report(std::string name, const ExperimentOptions& options, unsigned seeds,
               const std::string& varied)
    : name_(std::move(name)), out_(options.out) {
  text_ = command(name_, options) + "\n";
  text_ += "seeds " + std::to_string(options.first_seed) + ".." +
           std::to_string(options.first_seed + seeds - 1) + "\n" + varied + "\n";
}

void Report::add_table(const std::string& title,
                       const std::vector<std::vector<std::string>>& rows) {
  text_ += "\n" + title + "\n\n";
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (size_t line = 0; line < rows.size(); ++line) {
    std::string text;
    for (size_t i = 0; i < rows[line].size(); ++i) {
      const std::string& cell = rows[line][i];
      const std::string blanks(widths[i] - cell.size(), ' ');
      text += (i == 0 ? cell + blanks : "  " + blanks + cell);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text_ += text + "\n";
    if (line > 0) continue;
    for (size_t i = 0; i < widths.size(); ++i) {
      text_ += (i == 0 ? "" : "  ") + std::string(widths[i], '-');
    }
    text_ += "\n";
  }
}

int Report::finish() const {
  std::printf("%s", text_.c_str());
  std::fflush(stdout);
  if (out_.empty()) return 0;
  bool written = write_file(out_ + "/" + name_ + ".txt", text_);
  if (!charts_.empty())
    written = write_file(out_ + "/" + name_ + ".svg", svg_of(charts_)) && written;
  return written ? 0 : 1;
}

std::string figure(double value) {
  char text[32];
  const double size = std::abs(value);
  const int digits = size == 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string count(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", value);
  std::string result(text);
  for (size_t i = result.size(); i > 3;) {
    i -= 3;
    result.insert(i, " ");
  }
  return result;
}

std::optional<double> quantile(std::vector<double> values, double share) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  return values[std::min(values.size(), static_cast<size_t>(std::max(rank, 1.0))) - 1];
}

std::string figure(const std::optional<double>& value) {
  return value ? figure(*value) : "-";
}

}  // namespace starling::simulation
