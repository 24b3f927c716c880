// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/experiments/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace starling::simulation {

namespace {

constexpr double kWidth = 960;
constexpr double kLeft = 70;
constexpr double kRight = 20;
constexpr double kPlotTop = 64;
constexpr double kPlotHeight = 260;
constexpr double kLegendColumn = 220;
constexpr double kLegendRow = 18;
/// Quiet ones for what Starling is compared with, strong ones for Starling.
constexpr const char* kOthers[] = {"#9aa5b1", "#c8b560", "#b98bb5",
                                   "#7fa9a3", "#d08c60", "#6b7a90"};
constexpr const char* kOwn[] = {"#1f6feb", "#2da44e", "#bf3989", "#8250df", "#cf222e", "#0a7ea4",
                                "#bc4c00", "#1b7c83", "#633c01", "#4d2d80", "#57606a"};

const char* colour(const BarChart& chart, size_t series) {
  const auto own = [&](size_t i) { return chart.series[i].name.starts_with("Starling"); };
  size_t before = 0;
  for (size_t i = 0; i < series; ++i) before += own(i) == own(series) ? 1 : 0;
  return own(series) ? kOwn[before % std::size(kOwn)] : kOthers[before % std::size(kOthers)];
}

std::string format(const char* pattern, double a, double b = 0, double c = 0, double d = 0) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, a, b, c, d);
  return text;
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else {
      result += c;
    }
  }
  return result;
}

std::string number(double value) {
  if (value >= 10000) return format("%.0fk", value / 1000);
  if (value >= 100 || value == std::floor(value)) return format("%.0f", value);
  return format(value >= 10 ? "%.1f" : "%.2f", value);
}

std::string text_at(double x, double y, const std::string& text, const char* extra = "") {
  return format("<text x=\"%.1f\" y=\"%.1f\" ", x, y) + extra + ">" + escaped(text) + "</text>\n";
}

/// From values to heights above the axis.
class Axis {
 public:
  explicit Axis(const BarChart& chart) : logarithmic_(chart.logarithmic) {
    double least = INFINITY;
    for (const BarChart::Series& series : chart.series) {
      for (const auto& value : series.values) {
        if (!value) continue;
        high_ = std::max(high_, *value);
        if (*value > 0) least = std::min(least, *value);
      }
    }
    if (logarithmic_) {
      low_ = std::pow(10, std::floor(std::log10(std::min(least, 1.0))));
      high_ = std::pow(10, std::ceil(std::log10(std::max(high_, 10 * low_))));
    } else {
      const double step = std::pow(10, std::floor(std::log10(std::max(high_, 1e-9))));
      step_ = high_ / step > 5 ? 2 * step : high_ / step > 2 ? step : step / 2;
      high_ = std::ceil(std::max(high_, 1e-9) / step_) * step_;
    }
  }
  [[nodiscard]] double height(double value) const {
    if (!logarithmic_) return value / high_ * kPlotHeight;
    if (value <= low_) return 0;
    return std::log10(value / low_) / std::log10(high_ / low_) * kPlotHeight;
  }
  [[nodiscard]] std::vector<double> ticks() const {
    std::vector<double> ticks;
    if (logarithmic_) {
      for (double tick = low_; tick <= high_ * 1.001; tick *= 10) ticks.push_back(tick);
    } else {
      for (double tick = 0; tick <= high_ * 1.001; tick += step_) ticks.push_back(tick);
    }
    return ticks;
  }

 private:
  bool logarithmic_;
  double low_ = 0;
  double high_ = 0;
  double step_ = 1;
};

std::string bars(const BarChart& chart, const Axis& axis, double base) {
  std::string out;
  const double group_width =
      (kWidth - kLeft - kRight) / static_cast<double>(std::max<size_t>(chart.groups.size(), 1));
  const double bar = std::min(
      60.0, group_width * 0.86 / static_cast<double>(std::max<size_t>(chart.series.size(), 1)));
  for (size_t group = 0; group < chart.groups.size(); ++group) {
    const double centre = kLeft + (static_cast<double>(group) + 0.5) * group_width;
    double x = centre - bar * static_cast<double>(chart.series.size()) / 2;
    for (size_t i = 0; i < chart.series.size(); ++i, x += bar) {
      const auto& value = chart.series[i].values.at(group);
      if (!value) continue;
      const double height = std::max(axis.height(*value), 1.5);
      out += format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"", x + 1,
                    base - height, std::max(bar - 2, 1.0), height) +
             " fill=\"" + colour(chart, i) + "\"><title>" +
             escaped(chart.series[i].name + ", " + chart.groups[group] + ": " + number(*value)) +
             "</title></rect>\n";
      if (bar >= 20) {
        out += text_at(x + bar / 2, base - height - 4, number(*value),
                       "text-anchor=\"middle\" font-size=\"10\"");
      }
    }
    out += text_at(centre, base + 17, chart.groups[group], "text-anchor=\"middle\"");
  }
  return out;
}

size_t legend_rows(const BarChart& chart) {
  const auto columns = static_cast<size_t>((kWidth - kLeft - kRight) / kLegendColumn);
  return (chart.series.size() + columns - 1) / columns;
}

std::string legend(const BarChart& chart, double top) {
  std::string out;
  const auto columns = static_cast<size_t>((kWidth - kLeft - kRight) / kLegendColumn);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const double x = kLeft + static_cast<double>(i % columns) * kLegendColumn;
    const double y = top + static_cast<double>(i / columns) * kLegendRow;
    out += format("<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" fill=\"", x, y) +
           colour(chart, i) + "\"/>\n" + text_at(x + 16, y + 10, chart.series[i].name);
  }
  return out;
}

std::string draw(const BarChart& chart) {
  const Axis axis(chart);
  const double base = kPlotTop + kPlotHeight;
  std::string out = text_at(kLeft, 26, chart.title, "font-size=\"15\" font-weight=\"bold\"");
  out += text_at(kLeft, 46, chart.y_label + (chart.logarithmic ? " (logarithmic)" : ""),
                 "fill=\"#57606a\"");
  for (const double tick : axis.ticks()) {
    const double y = base - axis.height(tick);
    out += format("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#d0d7de\"/>\n",
                  kLeft, kWidth - kRight, y, y);
    out += text_at(kLeft - 8, y + 4, number(tick), "text-anchor=\"end\"");
  }
  return out + bars(chart, axis, base) + legend(chart, base + 32);
}

}  // namespace

std::string svg_of(const std::vector<BarChart>& charts) {
  std::string body;
  double top = 0;
  for (const BarChart& chart : charts) {
    body += format("<g transform=\"translate(0 %.0f)\">\n", top) + draw(chart) + "</g>\n";
    top += kPlotTop + kPlotHeight + 44 + static_cast<double>(legend_rows(chart)) * kLegendRow;
  }
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" " +
         format("width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" ", kWidth, top, kWidth,
                top) +
         "font-family=\"sans-serif\" font-size=\"12\">\n"
         "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" +
         body + "</svg>\n";
}

}  // namespace starling::simulation
