// SPDX-License-Identifier: Apache-2.0
//
// Bar charts as one SVG: groups along the x axis, in each one bar per series. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace starling::simulation {

struct BarChart {
  std::string title;
  std::string y_label;
  bool logarithmic = false;
  std::vector<std::string> groups{};
  struct Series {
    std::string name;
    /// One per group; none: nothing was measured. 0 is drawn as a mark on the axis.
    std::vector<std::optional<double>> values;
  };
  std::vector<Series> series{};
};

/// The charts one below the other.
std::string svg_of(const std::vector<BarChart>& charts);

}  // namespace starling::simulation
