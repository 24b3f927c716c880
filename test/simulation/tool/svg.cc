// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/svg.h"

#include <algorithm>
#include <cmath>

#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

// Plain rules first for viewers that know no media queries.
constexpr const char* kStyle = R"(<style>
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2937; font-size: 12px }
.page { fill: #ffffff }
.title { font-size: 20px; font-weight: 600 }
.heading { font-size: 14px; font-weight: 600 }
.muted { fill: #6b7280 }
.small { font-size: 11px; fill: #6b7280 }
.lane { font-size: 11px; fill: #1f2937 }
.grid { stroke: #e5e7eb; stroke-width: 1 }
.axis { stroke: #9ca3af; stroke-width: 1 }
.mark { stroke: #6b7280; stroke-width: 1; stroke-dasharray: 4 3 }
.curve { fill: none; stroke-linejoin: round; stroke-linecap: round }
.true { stroke: #2563eb; stroke-width: 1.6; stroke-opacity: .75 }
.wrong { stroke: #dc2626; stroke-width: 1.8; stroke-opacity: .85 }
.disturbed { stroke: #d97706; stroke-width: 1.4; stroke-opacity: .7 }
.apart { stroke: #7c3aed; stroke-width: 1.2; stroke-opacity: .45 }
.thin { stroke: #0d9488; stroke-width: 1; stroke-opacity: .3 }
.faint { stroke: #0d9488; stroke-width: 1; stroke-opacity: .13 }
.bold { stroke: #0f766e; stroke-width: 2.6 }
.mean { stroke: #2563eb; stroke-width: 2 }
.worst { stroke: #93a4bf; stroke-width: 1.2 }
.shade { fill: #f59e0b; fill-opacity: .08 }
.fault { fill: #f59e0b; fill-opacity: .38 }
.gone { fill: #ef4444; fill-opacity: .30 }
.route { fill: #8b5cf6; fill-opacity: .30 }
.own-0 { fill: #1f6feb } .own-1 { fill: #2da44e } .own-2 { fill: #bf3989 } .own-3 { fill: #8250df }
.own-4 { fill: #cf222e } .own-5 { fill: #0a7ea4 } .own-6 { fill: #bc4c00 } .own-7 { fill: #1b7c83 }
.own-8 { fill: #9a6700 } .own-9 { fill: #6639ba } .own-10 { fill: #57606a }
.other-0 { fill: #9aa5b1 } .other-1 { fill: #c8b560 } .other-2 { fill: #b98bb5 }
.other-3 { fill: #7fa9a3 } .other-4 { fill: #d08c60 } .other-5 { fill: #6b7a90 }
@media (prefers-color-scheme: dark) {
  text, .lane { fill: #e5e7eb }
  .page { fill: #111827 }
  .muted, .small { fill: #9ca3af }
  .grid { stroke: #1f2937 }
  .axis { stroke: #6b7280 }
  .mark { stroke: #9ca3af }
  .true, .mean { stroke: #60a5fa }
  .wrong { stroke: #f87171 }
  .disturbed { stroke: #fbbf24 }
  .apart { stroke: #a78bfa }
  .thin, .faint { stroke: #2dd4bf }
  .bold { stroke: #5eead4 }
  .worst { stroke: #64748b }
  .shade { fill-opacity: .10 }
}
</style>
)";

std::string escaped(std::string_view words) {
  std::string out;
  for (const char c : words) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

/// Short, and the same everywhere.
std::string number(double value) {
  std::string text = format("%.1f", value);
  if (text.ends_with(".0")) text.erase(text.size() - 2);
  return text == "-0" ? "0" : text;
}

}  // namespace

Svg::Svg(double width, double height) {
  const std::string size = number(width) + ' ' + number(height);
  out_ = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + size + "\" width=\"" +
         number(width) + "\" height=\"" + number(height) + "\" role=\"img\">\n" + kStyle;
  box(0, 0, width, height, "page");
}

void Svg::text(double x, double y, std::string_view words, const char* style, Anchor anchor) {
  out_ += "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" class=\"" + style + '"';
  if (anchor == Anchor::kMiddle) out_ += " text-anchor=\"middle\"";
  if (anchor == Anchor::kEnd) out_ += " text-anchor=\"end\"";
  out_ += '>' + escaped(words) + "</text>\n";
}

void Svg::line(double x1, double y1, double x2, double y2, const char* style) {
  out_ += "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) +
          "\" y2=\"" + number(y2) + "\" class=\"" + style + "\"/>\n";
}

void Svg::box(double x, double y, double width, double height, const char* style, double round,
              std::string_view hint) {
  out_ += "<rect x=\"" + number(x) + "\" y=\"" + number(y) + "\" width=\"" + number(width) +
          "\" height=\"" + number(height) + '"';
  if (round > 0) out_ += " rx=\"" + number(round) + '"';
  out_ += std::string(" class=\"") + style + '"';
  out_ += hint.empty() ? "/>\n" : "><title>" + escaped(hint) + "</title></rect>\n";
}

void Svg::curve(const Points& points, const char* style) {
  if (points.size() < 2) return;
  out_ += std::string("<polyline class=\"curve ") + style + "\" points=\"";
  for (const auto& [x, y] : points) out_ += number(x) + ',' + number(y) + ' ';
  out_.back() = '"';
  out_ += "/>\n";
}

std::string Svg::take() {
  return std::move(out_) + "</svg>\n";
}

double Scale::share(double value) const {
  if (!logarithmic) return (value - from) / (to - from);
  return std::log(std::max(value, from) / from) / std::log(to / from);
}

std::vector<double> Scale::ticks(size_t wanted) const {
  std::vector<double> ticks;
  if (logarithmic) {
    const bool few = to / from < 5e3;
    for (double decade = from; decade <= to * 1.001; decade *= 10) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        if ((few || factor == 1.0) && decade * factor <= to * 1.001) {
          ticks.push_back(decade * factor);
        }
      }
    }
    return ticks;
  }
  const double rough = (to - from) / static_cast<double>(std::max<size_t>(wanted, 1));
  double step = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if (step * factor >= rough) {
      step *= factor;
      break;
    }
  }
  for (double tick = std::ceil(from / step) * step; tick <= to + step / 1000; tick += step) {
    ticks.push_back(tick);
  }
  return ticks;
}

double round_up(double value) {
  double power = 1;
  while (true) {
    for (const double factor : {1.0, 1.5, 2.0, 3.0, 5.0, 7.5}) {
      if (power * factor >= value) return power * factor;
    }
    power *= 10;
  }
}

}  // namespace starling::simulation
