// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/experiments/bar_chart.h"

#include <algorithm>
#include <cmath>

#include "test/simulation/tool/svg.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

constexpr double kWidth = 960;
constexpr double kLeft = 70;
constexpr double kRight = 20;
constexpr double kPlotTop = 64;
constexpr double kPlotHeight = 260;
constexpr double kLegendColumn = 220;
constexpr double kLegendRow = 18;
/// Classes of the style sheet: quiet ones for what Starling is compared with, strong ones for it.
constexpr const char* kOthers[] = {"other-0", "other-1", "other-2",
                                   "other-3", "other-4", "other-5"};
constexpr const char* kOwn[] = {"own-0", "own-1", "own-2", "own-3", "own-4", "own-5",
                                "own-6", "own-7", "own-8", "own-9", "own-10"};

const char* style(const BarChart& chart, size_t series) {
  const auto own = [&](size_t i) { return chart.series[i].name.starts_with("Starling"); };
  size_t before = 0;
  for (size_t i = 0; i < series; ++i) before += own(i) == own(series) ? 1 : 0;
  return own(series) ? kOwn[before % std::size(kOwn)] : kOthers[before % std::size(kOthers)];
}

std::string number(double value) {
  if (value >= 10000) return format("%.0fk", value / 1000);
  if (value >= 100 || value == std::floor(value)) return format("%.0f", value);
  return format(value >= 10 ? "%.1f" : "%.2f", value);
}

Scale scale_of(const BarChart& chart) {
  double least = INFINITY;
  double most = 0;
  for (const BarChart::Series& series : chart.series) {
    for (const auto& value : series.values) {
      if (!value) continue;
      most = std::max(most, *value);
      if (*value > 0) least = std::min(least, *value);
    }
  }
  Scale scale;
  scale.logarithmic = chart.logarithmic;
  if (chart.logarithmic) {
    scale.from = std::pow(10, std::floor(std::log10(std::min(least, 1.0) / 2)));
    scale.to = std::pow(10, std::ceil(std::log10(std::max(most, 10 * scale.from))));
  } else {
    scale.to = std::max(most, 1e-9);
    const std::vector<double> ticks = scale.ticks(5);
    scale.to = std::ceil(scale.to / ticks[1] - 1e-9) * ticks[1];
  }
  return scale;
}

void draw_bars(Svg& svg, const BarChart& chart, const Panel& panel) {
  const double base = panel.top + panel.height;
  const double group_width =
      panel.width / static_cast<double>(std::max<size_t>(chart.groups.size(), 1));
  const double bar = std::min(
      60.0, group_width * 0.86 / static_cast<double>(std::max<size_t>(chart.series.size(), 1)));
  for (size_t group = 0; group < chart.groups.size(); ++group) {
    const double centre = panel.left + (static_cast<double>(group) + 0.5) * group_width;
    double x = centre - bar * static_cast<double>(chart.series.size()) / 2;
    for (size_t i = 0; i < chart.series.size(); ++i, x += bar) {
      const auto& value = chart.series[i].values.at(group);
      if (!value) continue;
      const double height = std::max(base - panel.at_y(*value), 1.5);
      svg.box(x + 1, base - height, std::max(bar - 2, 1.0), height, style(chart, i), 0,
              chart.series[i].name + ", " + chart.groups[group] + ": " + number(*value));
      if (bar >= 20) {
        svg.text(x + bar / 2, base - height - 4, number(*value), "small", Svg::Anchor::kMiddle);
      }
    }
    svg.text(centre, base + 17, chart.groups[group], "label", Svg::Anchor::kMiddle);
  }
}

size_t legend_columns() {
  return static_cast<size_t>((kWidth - kLeft - kRight) / kLegendColumn);
}

void draw_legend(Svg& svg, const BarChart& chart, double top) {
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const double x = kLeft + static_cast<double>(i % legend_columns()) * kLegendColumn;
    const double y = top + static_cast<double>(i / legend_columns()) * kLegendRow;
    svg.box(x, y, 11, 11, style(chart, i));
    svg.text(x + 16, y + 10, chart.series[i].name, "label");
  }
}

void draw(Svg& svg, const BarChart& chart, double top) {
  Panel panel{kLeft, top + kPlotTop, kWidth - kLeft - kRight, kPlotHeight, {}, scale_of(chart)};
  svg.text(kLeft, top + 26, chart.title, "heading");
  svg.text(kLeft, top + 46, chart.y_label + (chart.logarithmic ? " (logarithmic)" : ""), "muted");
  for (const double tick : panel.y.ticks(5)) {
    svg.line(kLeft, panel.at_y(tick), kWidth - kRight, panel.at_y(tick), "grid");
    svg.text(kLeft - 8, panel.at_y(tick) + 4, number(tick), "small", Svg::Anchor::kEnd);
  }
  draw_bars(svg, chart, panel);
  draw_legend(svg, chart, panel.top + panel.height + 32);
}

double height_of(const BarChart& chart) {
  const size_t rows = (chart.series.size() + legend_columns() - 1) / legend_columns();
  return kPlotTop + kPlotHeight + 44 + static_cast<double>(rows) * kLegendRow;
}

}  // namespace

std::string svg_of(const std::vector<BarChart>& charts) {
  double height = 0;
  for (const BarChart& chart : charts) height += height_of(chart);
  Svg svg(kWidth, height);
  double top = 0;
  for (const BarChart& chart : charts) {
    draw(svg, chart, top);
    top += height_of(chart);
  }
  return svg.take();
}

}  // namespace starling::simulation
