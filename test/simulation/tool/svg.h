// SPDX-License-Identifier: Apache-2.0
//
// As much of SVG as charts need: a canvas of text, lines and boxes by class, and panels with axes.
// The style sheet serves light and dark pages. Pure: builds one string.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace starling::simulation {

class Svg {
 public:
  Svg(double width, double height);

  enum class Anchor : uint8_t { kStart, kMiddle, kEnd };
  void text(double x, double y, std::string_view words, const char* style,
            Anchor anchor = Anchor::kStart);
  void line(double x1, double y1, double x2, double y2, const char* style);
  /// `hint` is shown where the pointer rests on it.
  void box(double x, double y, double width, double height, const char* style, double round = 0,
           std::string_view hint = {});
  using Points = std::vector<std::pair<double, double>>;
  void curve(const Points& points, const char* style);

  [[nodiscard]] std::string take();

 private:
  std::string out_;
};

/// A scale of values along one side of a panel.
struct Scale {
  double from = 0;
  double to = 1;
  bool logarithmic = false;  ///< then 0 < from
  /// 0..1 between from and to; beyond them for others.
  [[nodiscard]] double share(double value) const;
  /// About `wanted` round values; decades, and 2 and 5 times them, when logarithmic.
  [[nodiscard]] std::vector<double> ticks(size_t wanted) const;
};

/// A rectangle with scales.
struct Panel {
  double left = 0;
  double top = 0;
  double width = 0;
  double height = 0;
  Scale x;
  Scale y;
  [[nodiscard]] double at_x(double value) const { return left + x.share(value) * width; }
  [[nodiscard]] double at_y(double value) const { return top + (1 - y.share(value)) * height; }
};

/// The least round number that is not below `value`, and at least 1.
[[nodiscard]] double round_up(double value);

}  // namespace starling::simulation
