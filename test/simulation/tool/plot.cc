// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/plot.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "test/simulation/tool/summary.h"
#include "test/simulation/tool/svg.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

constexpr double kWidth = 960;
constexpr double kLeft = 64;
constexpr double kPlotWidth = kWidth - kLeft - 28;
constexpr double kLane = 19;
constexpr size_t kLanesMax = 10;
/// Members and events of which each gets a curve of its own.
constexpr size_t kCurvesMax = 300;
/// From here on the curves of single events step back behind that of all.
constexpr size_t kManyEvents = 30;
/// About what a letter of the small size takes.
constexpr double kLetter = 6.1;

/// In the order in which they are drawn: what matters most comes last, on top.
enum class Group : uint8_t { kApart, kDisturbed, kTrue, kWrong };

const char* style_of(Group group) {
  switch (group) {
    case Group::kApart:
      return "apart";
    case Group::kDisturbed:
      return "disturbed";
    case Group::kTrue:
      return "true";
    case Group::kWrong:
      return "wrong";
  }
  return "";
}

const char* words_of(Group group) {
  switch (group) {
    case Group::kApart:
      return "cut off, yet running";
    case Group::kDisturbed:
      return "disturbed, yet running";
    case Group::kTrue:
      return "really gone";
    case Group::kWrong:
      return "healthy: wrongly failed";
  }
  return "";
}

class Picture {
 public:
  Picture(const Scenario& scenario, const Record& record, const ScenarioResult& result)
      : scenario_(scenario),
        record_(record),
        end_(std::max(1.0, seconds(result.virtual_time) - seconds(record.begin - kStart))),
        lanes_(assign_lanes()),
        svg_(kWidth, height()) {}

  std::string draw() {
    title();
    double y = 84;
    y = faults(y);
    y = failures(y);
    y = traffic(y);
    spread(y);
    return svg_.take();
  }

 private:
  struct Lane {
    const Episode* episode;
    size_t lane;
    bool labelled;
  };
  std::vector<Lane> assign_lanes();
  [[nodiscard]] size_t lane_count() const;
  [[nodiscard]] double height() const { return 84 + faults_height() + 270 + 220 + 262; }
  [[nodiscard]] double faults_height() const {
    return lanes_.empty() ? 0 : 34 + kLane * static_cast<double>(lane_count());
  }
  [[nodiscard]] double share_of_time(double second) const { return second / end_; }
  [[nodiscard]] Panel time_panel(double top, double height, double most) const {
    return {kLeft, top, kPlotWidth, height, {0, end_, false}, {0, most, false}};
  }

  void title();
  double faults(double y);
  double failures(double y);
  double traffic(double y);
  void spread(double y);
  void frame(const Panel& panel, const std::string& y_words, bool time);
  void shades(const Panel& panel);
  void legend(double right, double y, const std::vector<std::pair<const char*, std::string>>& keys);
  [[nodiscard]] std::map<NodeIndex, Group> groups() const;
  [[nodiscard]] std::map<NodeIndex, Svg::Points> failed_curves(const Panel& panel) const;

  const Scenario& scenario_;
  const Record& record_;
  double end_;  ///< seconds since the beginning of the timeline
  size_t hidden_ = 0;
  std::vector<Lane> lanes_;
  Svg svg_;
};

// --- frame -------------------------------------------------------------------------------------

void Picture::title() {
  svg_.text(kLeft - 40, 36, scenario_.name, "title");
  const auto spread = figures(record_.events);
  const TrafficFigures traffic = traffic_figures(record_);
  std::string words = std::to_string(scenario_.nodes) + " members, seed " +
                      std::to_string(scenario_.world.seed) + "  \u00b7  " +
                      std::to_string(record_.failures.size()) + " failures, " +
                      std::to_string(record_.count(Cause::kHealthy)) + " false  \u00b7  events " +
                      "everywhere within " + time_or_never(spread.all) + "  \u00b7  " +
                      format("%.1f packets per member and second", traffic.datagrams);
  svg_.text(kLeft - 40, 58, words, "muted");
}

void Picture::frame(const Panel& panel, const std::string& y_words, bool time) {
  for (const double tick : panel.y.ticks(4)) {
    const double y = panel.at_y(tick);
    svg_.line(panel.left, y, panel.left + panel.width, y, "grid");
    svg_.text(panel.left - 8, y + 4, format("%.10g", tick) + y_words, "small", Svg::Anchor::kEnd);
  }
  const double bottom = panel.top + panel.height;
  for (const double tick : panel.x.ticks(10)) {
    const double x = panel.at_x(tick);
    svg_.line(x, bottom, x, bottom + 4, "axis");
    const std::string words = time            ? format("%.10g s", tick)
                              : tick < 0.9e-3 ? format("%.10g us", tick * 1e6)
                              : tick < 0.9    ? format("%.10g ms", tick * 1e3)
                                              : format("%.10g s", tick);
    svg_.text(x, bottom + 17, words, "small", Svg::Anchor::kMiddle);
  }
  svg_.line(panel.left, bottom, panel.left + panel.width, bottom, "axis");
}

void Picture::legend(double right, double y,
                     const std::vector<std::pair<const char*, std::string>>& keys) {
  double x = right;
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    svg_.text(x, y, key->second, "small", Svg::Anchor::kEnd);
    x -= kLetter * static_cast<double>(key->second.size()) + 6;
    svg_.curve({{x - 18, y - 4}, {x, y - 4}}, key->first);
    x -= 36;
  }
}

// --- faults ------------------------------------------------------------------------------------

/// Episodes under each other where they overlap, labels included. Equal ones share a lane and, from
/// the first on, a label.
std::vector<Picture::Lane> Picture::assign_lanes() {
  struct Alike {
    double from = 0;
    double to = 0;
    std::vector<const Episode*> episodes;
  };
  std::vector<std::string> order;
  std::map<std::string, Alike> groups;
  for (const Episode& episode : record_.episodes) {
    const double from = share_of_time(seconds(episode.begin)) * kPlotWidth;
    const double to = share_of_time(seconds(episode.end)) * kPlotWidth;
    const std::string label = episode.label();
    const auto [place, created] = groups.try_emplace(label);
    Alike& alike = place->second;
    if (created) {
      order.push_back(label);
      alike.from = from;
      alike.to = from + kLetter * static_cast<double>(label.size()) + 14;
    }
    alike.to = std::max(alike.to, to + 4);
    alike.episodes.push_back(&episode);
  }
  std::vector<Lane> lanes;
  std::vector<double> free;  // by lane: the pixel from which it is
  for (const std::string& label : order) {
    const Alike& alike = groups.at(label);
    size_t lane = 0;
    while (lane < free.size() && free[lane] > alike.from) ++lane;
    if (lane >= kLanesMax) {
      hidden_ += alike.episodes.size();
      continue;
    }
    if (lane == free.size()) free.push_back(0);
    free[lane] = alike.to;
    for (const Episode* episode : alike.episodes) {
      lanes.push_back({episode, lane, episode == alike.episodes.front()});
    }
  }
  return lanes;
}

size_t Picture::lane_count() const {
  size_t count = 0;
  for (const Lane& lane : lanes_) count = std::max(count, lane.lane + 1);
  return count;
}

double Picture::faults(double y) {
  if (lanes_.empty()) return y;
  svg_.text(kLeft - 40, y, "Faults", "heading");
  if (hidden_ > 0) {
    svg_.text(kLeft + 20, y, "and " + std::to_string(hidden_) + " more", "small");
  }
  const double top = y + 10;
  for (const Lane& lane : lanes_) {
    const Episode& episode = *lane.episode;
    const double x = kLeft + share_of_time(seconds(episode.begin)) * kPlotWidth;
    const double width =
        std::max(3.0, share_of_time(seconds(episode.end - episode.begin)) * kPlotWidth);
    const char* style = episode.kind == StepKind::kCrash || episode.kind == StepKind::kHostDown
                            ? "gone"
                        : separates(episode.kind) ? "route"
                                                  : "fault";
    const double lane_top = top + kLane * static_cast<double>(lane.lane);
    svg_.box(x, lane_top, width, kLane - 4, style, 3);
    if (!lane.labelled) continue;
    const std::string label = episode.label();
    const double length = kLetter * static_cast<double>(label.size());
    const bool fits = x + length + 6 < kWidth - 8;
    svg_.text(fits ? x + 5 : x - 5, lane_top + 11.5, label, "lane",
              fits ? Svg::Anchor::kStart : Svg::Anchor::kEnd);
  }
  return y + faults_height();
}

void Picture::shades(const Panel& panel) {
  // Overlapping shades would add up to a dark block: their union, by pixel.
  std::vector<bool> dark(static_cast<size_t>(panel.width) + 1);
  for (const Episode& episode : record_.episodes) {
    const auto from = static_cast<size_t>(panel.x.share(seconds(episode.begin)) * panel.width);
    const auto to = static_cast<size_t>(panel.x.share(seconds(episode.end)) * panel.width);
    for (size_t x = from; x <= to && x < dark.size(); ++x) dark[x] = true;
  }
  for (size_t x = 0; x < dark.size();) {
    size_t end = x;
    while (end < dark.size() && dark[end]) ++end;
    if (end > x) {
      svg_.box(panel.left + static_cast<double>(x), panel.top, static_cast<double>(end - x),
               panel.height, "shade");
    }
    x = end + 1;
  }
  if (record_.healing == kNever) return;
  const double x = panel.at_x(seconds(record_.offset(record_.healing)));
  svg_.line(x, panel.top, x, panel.top + panel.height, "mark");
  svg_.text(x, panel.top - 4, "all heals", "small", Svg::Anchor::kMiddle);
}

// --- who is shown as failed --------------------------------------------------------------------

std::map<NodeIndex, Group> Picture::groups() const {
  std::map<NodeIndex, Group> groups;
  for (const FalseFailure& failure : record_.false_failures) {
    const Group group = failure.cause == Cause::kHealthy     ? Group::kWrong
                        : failure.cause == Cause::kDisturbed ? Group::kDisturbed
                                                             : Group::kApart;
    const auto [place, created] = groups.emplace(failure.subject, group);
    if (!created) place->second = std::max(place->second, group);
  }
  // Emplaced only: who was wrongly failed, too, stays red.
  for (const Failure& failure : record_.failures) groups.emplace(failure.node, Group::kTrue);
  return groups;
}

/// By subject: how many observers show it as failed, in steps, at most two points per pixel.
std::map<NodeIndex, Svg::Points> Picture::failed_curves(const Panel& panel) const {
  struct Course {
    Svg::Points points;
    double count = 0;
  };
  std::map<NodeIndex, Course> courses;
  for (const Shown& shown : record_.shown) {
    if (shown.at < record_.begin) continue;
    if (!courses.contains(shown.subject) && courses.size() >= kCurvesMax) continue;
    Course& course = courses[shown.subject];
    const double x = panel.at_x(seconds(record_.offset(shown.at)));
    if (course.points.empty()) course.points.emplace_back(x, panel.at_y(0));
    course.count += shown.failed ? 1 : -1;
    if (x - course.points.back().first > 0.5) {
      course.points.emplace_back(x, course.points.back().second);
    }
    const double y = panel.at_y(std::max(course.count, 0.0));
    if (course.points.size() > 1 && x - course.points[course.points.size() - 2].first < 0.5) {
      course.points.back().second = y;
    } else {
      course.points.emplace_back(x, y);
    }
  }
  std::map<NodeIndex, Svg::Points> curves;
  for (auto& [subject, course] : courses) {
    course.points.emplace_back(panel.left + panel.width, course.points.back().second);
    curves.emplace(subject, std::move(course.points));
  }
  return curves;
}

double Picture::failures(double y) {
  svg_.text(kLeft - 40, y + 4, "Shown as failed, by how many members", "heading");
  const Panel panel =
      time_panel(y + 30, 180, 1.06 * std::max<double>(4, static_cast<double>(record_.members)));
  shades(panel);
  frame(panel, "", true);
  const auto groups = this->groups();
  const auto curves = failed_curves(panel);
  std::map<Group, size_t> counts;
  for (const Group group : {Group::kApart, Group::kDisturbed, Group::kTrue, Group::kWrong}) {
    for (const auto& [subject, points] : curves) {
      const auto found = groups.find(subject);
      if ((found == groups.end() ? Group::kTrue : found->second) != group) continue;
      svg_.curve(points, style_of(group));
      ++counts[group];
    }
  }
  std::vector<std::pair<const char*, std::string>> keys;
  for (const auto& [group, count] : counts) {
    keys.emplace_back(style_of(group), std::to_string(count) + ' ' + words_of(group));
  }
  if (keys.empty()) {
    svg_.text(panel.left + panel.width / 2, panel.top + panel.height / 2,
              "nobody was shown as failed", "muted", Svg::Anchor::kMiddle);
  }
  legend(panel.left + panel.width, y + 4, keys);
  return y + 270;
}

// --- packets -----------------------------------------------------------------------------------

double Picture::traffic(double y) {
  svg_.text(kLeft - 40, y + 4, "Packets per second", "heading");
  Svg::Points mean;
  Svg::Points worst;
  double most = 1;
  const double begin = seconds(record_.begin - kStart);
  // The last second is not a whole one.
  for (size_t i = 0; i + 1 < record_.traffic.size(); ++i) {
    const Traffic& second = record_.traffic[i];
    if (static_cast<double>(i) < begin || second.members == 0) continue;
    const double middle = static_cast<double>(i) + 0.5 - begin;
    mean.emplace_back(middle,
                      static_cast<double>(second.datagrams) / static_cast<double>(second.members));
    worst.emplace_back(middle, static_cast<double>(second.worst));
    most = std::max(most, worst.back().second);
  }
  const Panel panel = time_panel(y + 30, 130, round_up(most));
  shades(panel);
  frame(panel, "", true);
  for (Svg::Points* points : {&worst, &mean}) {
    for (auto& [x, value] : *points) {
      x = panel.at_x(x);
      value = panel.at_y(value);
    }
  }
  svg_.curve(worst, "worst");
  svg_.curve(mean, "mean");
  legend(panel.left + panel.width, y + 4,
         {{"worst", "the busiest member"}, {"mean", "mean of all members"}});
  return y + 220;
}

// --- events ------------------------------------------------------------------------------------

void Picture::spread(double y) {
  svg_.text(kLeft - 40, y + 4, "Events: who has them, by time since they were sent", "heading");
  double least = 1e-3;
  double last = 1e-2;
  for (const Spread& event : record_.events) {
    for (const Duration arrival : event.arrivals) {
      const double second = seconds(arrival);
      if (second > 1e-5) least = std::min(least, second);
      last = std::max(last, second);
    }
  }
  const double from = std::pow(10, std::floor(std::log10(least)));
  const double to = std::pow(10, std::ceil(std::log10(last)));
  const Panel panel{kLeft, y + 20, kPlotWidth, 180, {from, to, true}, {0, 100, false}};
  frame(panel, " %", false);
  if (record_.events.empty()) {
    svg_.text(panel.left + panel.width / 2, panel.top + panel.height / 2, "no event was sent",
              "muted", Svg::Anchor::kMiddle);
    return;
  }
  const auto course = [&](const std::vector<Duration>& arrivals, size_t expected) {
    Svg::Points points{{panel.at_x(from), panel.at_y(0)}};
    for (size_t i = 0; i < arrivals.size(); ++i) {
      const double x = panel.at_x(seconds(arrivals[i]));
      const double share =
          100 * static_cast<double>(i + 1) / static_cast<double>(std::max<size_t>(expected, 1));
      if (x - points.back().first > 0.5) points.emplace_back(x, points.back().second);
      if (points.size() > 1 && x - points[points.size() - 2].first < 0.5) {
        points.back().second = panel.at_y(share);
      } else {
        points.emplace_back(x, panel.at_y(share));
      }
    }
    points.emplace_back(panel.left + panel.width, points.back().second);
    return points;
  };
  Spread all;
  size_t drawn = 0;
  for (const Spread& event : record_.events) {
    all.expected += event.expected;
    all.arrivals.insert(all.arrivals.end(), event.arrivals.begin(), event.arrivals.end());
    if (drawn++ >= kCurvesMax) continue;
    svg_.curve(course(event.arrivals, event.expected),
               record_.events.size() > kManyEvents ? "faint" : "thin");
  }
  std::sort(all.arrivals.begin(), all.arrivals.end());
  svg_.curve(course(all.arrivals, all.expected), "bold");
  if (record_.events.size() > 1) {
    legend(panel.left + panel.width, y + 4,
           {{"thin", "one event"},
            {"bold", "all " + std::to_string(record_.events.size()) + " together"}});
  }
  std::string words = "50 % within " + time_or_never(all.reached(0.5)) + ", 99 % within " +
                      time_or_never(all.reached(0.99)) + ", 100 % within " +
                      time_or_never(all.reached(1));
  svg_.text(panel.left + panel.width, panel.top + panel.height + 38, words, "muted",
            Svg::Anchor::kEnd);
}

}  // namespace

std::string plot(const Scenario& scenario, const Record& record, const ScenarioResult& result) {
  return Picture(scenario, record, result).draw();
}

}  // namespace starling::simulation
