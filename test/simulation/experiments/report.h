// SPDX-License-Identifier: Apache-2.0
//
// A report of an experiment: says what was done, then tables and charts; printed, and written to
// docs/results. It names no date, machine or duration, so that equal seeds give equal files.
#pragma once

#include <string>
#include <vector>

#include "test/simulation/experiments/bar_chart.h"
#include "test/simulation/experiments/experiments.h"

namespace starling::simulation {

class Report {
 public:
  /// `varied` is free text: what is the same and what differs between the cells.
  Report(std::string name, const ExperimentOptions& options, unsigned seeds,
         const std::string& varied);

  /// The first row is the head. Numbers are right-aligned, first columns left-aligned.
  void add_table(const std::string& title, const std::vector<std::vector<std::string>>& rows);
  void add_note(const std::string& text) { text_ += text + "\n"; }
  void add_chart(BarChart chart) { charts_.push_back(std::move(chart)); }

  /// Prints the text and writes the files. 0, or 1 when a file could not be written.
  int finish() const;

 private:
  std::string name_;
  std::string out_;
  std::string text_;
  std::vector<BarChart> charts_;
};

/// "12", "3.4", "0.56": about three digits.
std::string figure(double value);
/// Thousands apart: "12 345".
std::string count(double value);

/// Value at a share (0..1) of the numbers, nearest rank; none of no numbers.
std::optional<double> quantile(std::vector<double> values, double share);
std::string figure(const std::optional<double>& value);

}  // namespace starling::simulation
