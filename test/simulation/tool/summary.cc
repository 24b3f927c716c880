// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/summary.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "test/simulation/tool/ordered.h"
#include "test/simulation/tool/text.h"

namespace starling::simulation {

namespace {

constexpr size_t kShownViolations = 10;
constexpr size_t kShownFailures = 12;
/// Steps of one kind in a row of which all are told.
constexpr size_t kAlike = 3;

struct Line {
  Duration at{};
  std::string text;
  bool outcome = false;  ///< indented: came of the steps
};

std::string plural(size_t count, const std::string& noun) {
  return std::to_string(count) + ' ' + noun + (count == 1 ? "" : "s");
}

void add_steps(const Scenario& scenario, std::vector<Line>& lines) {
  const auto& steps = scenario.steps;
  for (size_t i = 0; i < steps.size();) {
    size_t end = i;
    while (end < steps.size() && steps[end].kind == steps[i].kind) ++end;
    if (end - i <= kAlike) {
      for (; i < end; ++i) lines.push_back({steps[i].at, sentence(steps[i])});
      continue;
    }
    lines.push_back({steps[i].at, sentence(steps[i])});
    lines.push_back({steps[i].at, "... and so on: " + std::to_string(end - i - 1) +
                                      " more of the kind until " +
                                      show_duration(steps[end - 1].at)});
    i = end;
  }
}

void add_failures(const Record& record, std::vector<Line>& lines) {
  for (const Failure& failure : record.failures) {
    if (failure.seen.empty()) continue;
    const std::string who = "member " + std::to_string(failure.node);
    const Duration at = record.offset(failure.at);
    const auto first =
        std::min_element(failure.seen.begin(), failure.seen.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    lines.push_back({record.offset(first->second),
                     "member " + std::to_string(first->first) + " is the first to declare " + who +
                         " failed, " + show_duration(first->second - failure.at) + " after its end",
                     true});
    if (failure.all) {
      lines.push_back({at + *failure.all,
                       "everybody knows of the failure of " + who + ", " +
                           show_duration(*failure.all) + " after its end",
                       true});
    }
  }
}

/// Notices of one cause that followed each other within a second are one line.
void add_false_failures(const Record& record, Cause cause, const char* why,
                        std::vector<Line>& lines) {
  std::vector<const FalseFailure*> group;
  const auto flush = [&] {
    if (group.empty()) return;
    std::vector<NodeIndex> subjects;
    for (const FalseFailure* one : group) subjects.push_back(one->subject);
    std::sort(subjects.begin(), subjects.end());
    subjects.erase(std::unique(subjects.begin(), subjects.end()), subjects.end());
    lines.push_back({record.offset(group.front()->at),
                     plural(group.size(), "notice") + " of failure " + why + show_nodes(subjects),
                     true});
    group.clear();
  };
  for (const FalseFailure& failure : record.false_failures) {
    if (failure.cause != cause || failure.at < record.begin) continue;
    if (!group.empty() && failure.at - group.back()->at > 1s) flush();
    group.push_back(&failure);
  }
  flush();
}

std::string row(const std::string& label, const std::string& text) {
  return format("  %-16s ", label.c_str()) + text + '\n';
}

void add_failure_rows(const Record& record, std::string& out) {
  if (record.failures.empty()) {
    out += row("failures", "none");
    return;
  }
  size_t known = 0;
  size_t too_short = 0;
  for (const Failure& failure : record.failures) {
    if (failure.all) {
      ++known;
    } else if (failure.ended != kNever) {
      ++too_short;
    }
  }
  std::string text = std::to_string(record.failures.size()) + ", " + std::to_string(known) +
                     " noticed by everybody";
  if (too_short > 0) text += ", " + std::to_string(too_short) + " over before that";
  out += row("failures", text);
  out += row("", "                               first    median       all");
  size_t shown = 0;
  for (const Failure& failure : record.failures) {
    if (++shown > kShownFailures) {
      out +=
          row("", "... and " + std::to_string(record.failures.size() - kShownFailures) + " more");
      break;
    }
    const std::string what = "member " + std::to_string(failure.node) +
                             (failure.kind == StopKind::kHostDown ? " silent" : " crashed") +
                             " at " + show_duration(record.offset(failure.at));
    out +=
        row("", format("%-26s %9s %9s %9s", what.c_str(), time_or_never(failure.first).c_str(),
                       time_or_never(failure.median).c_str(), time_or_never(failure.all).c_str()) +
                    (failure.ended != kNever
                         ? "  back after " + show_duration(failure.ended - failure.at)
                     : failure.missing > 0 && !failure.all
                         ? "  " + plural(failure.missing, "member") + " never knew"
                         : std::string()));
  }
}

std::string spread_text(const SpreadFigures& spread, const char* verb) {
  if (spread.count == 0) return "none";
  return std::to_string(spread.count) + " sent, " + std::to_string(spread.arrived) + " of " +
         std::to_string(spread.expected) + ' ' + verb + "; 50 % within " +
         time_or_never(spread.half) + ", 99 % " + time_or_never(spread.most) + ", 100 % " +
         time_or_never(spread.all);
}

std::string traffic_text(const Record& record) {
  const TrafficFigures mean = traffic_figures(record);
  std::string text = format("%.1f packets and %s per member and second", mean.datagrams,
                            show_bytes(mean.bytes).c_str());
  if (const auto worst = record.worst_second()) {
    const Traffic& second = record.traffic[*worst];
    text += "; at most " + std::to_string(second.worst) + " packets of one member in one second (" +
            "member " + std::to_string(second.worst_node) + " at " +
            show_duration(record.offset(kStart + Duration(1s) * static_cast<int64_t>(*worst))) +
            ")";
  }
  return text;
}

void add_invariants(const ScenarioResult& result, std::string& out) {
  if (result.ok()) {
    out += row("invariants", std::to_string(invariant_names().size()) + " checked, all held");
    return;
  }
  std::set<std::string> broken;
  for (const Violation& violation : result.violations) broken.insert(violation.invariant);
  out += row("invariants", std::to_string(invariant_names().size()) + " checked, " +
                               std::to_string(broken.size()) +
                               " broken: " + enumerate({broken.begin(), broken.end()}));
  size_t shown = 0;
  for (const Violation& violation : result.violations) {
    if (++shown > kShownViolations) break;
    out += row("", violation.to_string());
  }
  if (result.violations.size() > kShownViolations) {
    out += row("", "... " + std::to_string(result.violations.size()) + " in all");
  }
}

}  // namespace

std::string time_or_never(const std::optional<Duration>& time) {
  return time ? show_duration(*time) : "never";
}

std::string timeline(const Scenario& scenario, const Record& record, const ScenarioResult& result) {
  std::vector<Line> lines;
  add_steps(scenario, lines);
  if (record.begin != kNever) {
    add_failures(record, lines);
    add_false_failures(record, Cause::kHealthy, "that are wrong, about healthy: ", lines);
    add_false_failures(record, Cause::kDisturbed,
                       "about members that are disturbed but run: ", lines);
    add_false_failures(record, Cause::kCutOff, "between members that are cut off, about ", lines);
    for (const Violation& violation : result.violations) {
      lines.push_back({violation.at - record.begin,
                       "BROKEN " + violation.invariant + ": " + violation.message, true});
      if (&violation - result.violations.data() >= 9) break;
    }
  }
  sort_by(lines, [](const Line& line) { return line.at; });
  std::string healing = "everything heals";
  if (!scenario.back.empty()) {
    healing += "; " + show_nodes(scenario.back) + " start again if they are down";
  }
  lines.push_back({scenario.chaos, healing});
  const auto end = std::prev(lines.end());
  std::rotate(
      std::find_if(lines.begin(), end, [&](const Line& line) { return line.at > scenario.chaos; }),
      end, lines.end());
  if (record.agreed != kNever && result.ok()) {
    lines.push_back({scenario.chaos + result.recovery, "everybody agrees again", true});
  }
  std::string out;
  for (const Line& line : lines) {
    out += format("%10.3f s  ", seconds(line.at)) + (line.outcome ? "   " : "") + line.text + '\n';
  }
  return out;
}

SpreadFigures figures(const std::vector<Spread>& spreads) {
  SpreadFigures figures;
  Spread all;
  for (const Spread& spread : spreads) {
    ++figures.count;
    figures.expected += spread.expected;
    figures.arrived += spread.arrivals.size();
    all.arrivals.insert(all.arrivals.end(), spread.arrivals.begin(), spread.arrivals.end());
  }
  all.expected = figures.expected;
  std::sort(all.arrivals.begin(), all.arrivals.end());
  figures.half = all.reached(0.5);
  figures.most = all.reached(0.99);
  figures.all = all.reached(1);
  return figures;
}

TrafficFigures traffic_figures(const Record& record) {
  TrafficFigures figures;
  if (record.begin == kNever) return figures;
  double member_seconds = 0;
  for (auto second = static_cast<size_t>(seconds(record.begin - kStart)) + 1;
       second < record.traffic.size(); ++second) {
    const Traffic& traffic = record.traffic[second];
    figures.datagrams += static_cast<double>(traffic.datagrams);
    figures.bytes += static_cast<double>(traffic.bytes);
    member_seconds += static_cast<double>(traffic.members);
  }
  if (member_seconds > 0) {
    figures.datagrams /= member_seconds;
    figures.bytes /= member_seconds;
  }
  return figures;
}

std::string summary(const Scenario& scenario, const Record& record, const ScenarioResult& result) {
  std::string out;
  const double virtual_time = seconds(result.virtual_time);
  std::string members = std::to_string(scenario.nodes);
  if (record.members > scenario.nodes) {
    members += ", later " + std::to_string(record.members);
  }
  out += row("members", members + "; seed " + std::to_string(scenario.world.seed));
  out +=
      row("time", format("%.1f s of virtual time in %.2f s: %.0f times real time", virtual_time,
                         result.wall_seconds, virtual_time / std::max(result.wall_seconds, 1e-6)));
  out += row("boot", "all agree after " + show_duration(result.boot));
  add_failure_rows(record, out);
  out += row("false failures",
             std::to_string(record.count(Cause::kHealthy)) + " about healthy members, " +
                 std::to_string(record.count(Cause::kDisturbed)) + " about disturbed ones, " +
                 std::to_string(record.count(Cause::kCutOff)) + " between members cut off");
  out += row("agreement", record.agreed == kNever
                              ? "not reached"
                              : show_duration(result.recovery) + " after the healing");
  out += row("events", spread_text(figures(record.events), "delivered"));
  out += row("queries", spread_text(figures(record.queries), "answered"));
  out += row("traffic", traffic_text(record));
  add_invariants(result, out);
  out += row("trace hash", format("%016llx", static_cast<unsigned long long>(result.trace_hash)));
  return out;
}

// --- expectations ------------------------------------------------------------------------------

namespace {

Verdict within(const char* what, Duration bound, const std::optional<Duration>& worst,
               const std::string& nothing = "never") {
  return {worst && *worst <= bound, std::string(what) + " within " + show_duration(bound) + ": " +
                                        (worst ? show_duration(*worst) : nothing)};
}

Verdict at_most(const std::string& what, size_t bound, double value, const char* pattern) {
  return {value <= static_cast<double>(bound),
          "at most " + std::to_string(bound) + ' ' + what + ": " + format(pattern, value)};
}

/// The worst over all failures that lasted at least `bound`; a missing one counts as never.
Verdict detection(const char* what, Duration bound, const Record& record,
                  std::optional<Duration> Failure::* time) {
  std::optional<Duration> worst = Duration::zero();
  size_t counted = 0;
  for (const Failure& failure : record.failures) {
    const std::optional<Duration>& took = failure.*time;
    if (!took && failure.ended != kNever && failure.ended - failure.at < bound) continue;
    ++counted;
    if (!took) {
      return {false, std::string(what) + " within " + show_duration(bound) + ": member " +
                         std::to_string(failure.node) + " never"};
    }
    worst = std::max(*worst, *took);
  }
  if (counted == 0) worst.reset();
  return within(what, bound, worst, "there was no failure that lasted as long");
}

}  // namespace

std::vector<Verdict> judge(const Expectations& expect, const Record& record,
                           const ScenarioResult& result) {
  std::vector<Verdict> verdicts;
  if (expect.boot_within) {
    verdicts.push_back(within("all agree after the boot", *expect.boot_within, result.boot));
  }
  if (expect.first_detection_within) {
    verdicts.push_back(detection("each failure noticed by the first",
                                 *expect.first_detection_within, record, &Failure::first));
  }
  if (expect.detected_within) {
    verdicts.push_back(detection("each failure noticed by everybody", *expect.detected_within,
                                 record, &Failure::all));
  }
  if (expect.agree_within) {
    verdicts.push_back(
        within("all agree after the healing", *expect.agree_within,
               record.agreed == kNever ? std::nullopt : std::optional<Duration>(result.recovery)));
  }
  if (expect.event_within) {
    std::optional<Duration> worst;
    if (!record.events.empty()) worst = Duration::zero();
    for (const Spread& event : record.events) {
      const auto took = event.reached(1);
      worst = took && worst ? std::optional<Duration>(std::max(*worst, *took)) : std::nullopt;
    }
    verdicts.push_back(within("each event everywhere", *expect.event_within, worst));
  }
  const auto failures = [&](const std::optional<size_t>& bound, Cause cause, const char* what) {
    if (bound) {
      verdicts.push_back(at_most(what, *bound, static_cast<double>(record.count(cause)), "%.0f"));
    }
  };
  failures(expect.false_failures, Cause::kHealthy, "failures of healthy members");
  failures(expect.disturbed_failures, Cause::kDisturbed, "failures of disturbed members");
  failures(expect.cut_off_failures, Cause::kCutOff, "failures between members cut off");
  if (expect.packets_per_second) {
    verdicts.push_back(at_most("packets per member and second", *expect.packets_per_second,
                               traffic_figures(record).datagrams, "%.1f"));
  }
  return verdicts;
}

}  // namespace starling::simulation
