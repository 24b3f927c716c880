// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/shrink.h"

#include <algorithm>
#include <chrono>

#include "test/simulation/tool/step_words.h"

namespace starling::simulation {

namespace {

constexpr size_t kMembersMin = 2;
constexpr Duration kChaosMin = 100ms;
/// Quiet times up to this are left as they are.
constexpr Duration kGap = 2s;

class Shrinker {
 public:
  Shrinker(const Scenario& scenario, const std::function<bool(const Scenario&)>& fails,
           const ShrinkOptions& options)
      : best_(scenario), fails_(fails), options_(options) {}

  Shrunk run(Duration violated) {
    shorten_to(violated + 1s);
    bool better = true;
    while (better && !exhausted()) {
      better = drop_steps();
      better |= fewer_members();
      better |= shorten();
      better |= skip_quiet_time();
      better |= drop_dimensions();
      better |= thin_steps();
    }
    return {std::move(best_), attempts_, exhausted()};
  }

 private:
  [[nodiscard]] bool exhausted() const {
    return attempts_ >= options_.attempts ||
           std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count() >
               options_.seconds;
  }
  /// Takes the candidate over if it still fails.
  bool attempt(Scenario candidate) {
    if (exhausted()) return false;
    ++attempts_;
    if (!fails_(candidate)) return false;
    best_ = std::move(candidate);
    return true;
  }

  bool shorten_to(Duration chaos) {
    if (chaos >= best_.chaos || chaos < kChaosMin) return false;
    Scenario candidate = best_;
    candidate.chaos = chaos;
    std::erase_if(candidate.steps, [&](const Step& step) { return step.at > chaos; });
    return attempt(std::move(candidate));
  }
  bool shorten() {
    bool better = false;
    while (shorten_to(best_.chaos / 2)) better = true;
    if (shorten_to(best_.chaos / 4 * 3)) better = true;
    return better;
  }

  /// Moves what follows a long quiet time to the front, one gap at a time.
  bool skip_quiet_time() {
    bool better = false;
    for (size_t i = 0; i < best_.steps.size() && !exhausted(); ++i) {
      const Duration before = i == 0 ? Duration::zero() : best_.steps[i - 1].at;
      const Duration gap = best_.steps[i].at - before;
      if (gap < kGap) continue;
      Scenario candidate = best_;
      for (size_t j = i; j < candidate.steps.size(); ++j) candidate.steps[j].at -= gap - kGap / 2;
      candidate.chaos -= gap - kGap / 2;
      better |= attempt(std::move(candidate));
    }
    return better;
  }

  /// Leaves ever smaller chunks of steps out, and at last single ones.
  bool drop_steps() {
    bool better = false;
    if (!best_.back.empty()) {
      Scenario candidate = best_;
      candidate.back.clear();
      better |= attempt(std::move(candidate));
    }
    for (size_t chunk = (best_.steps.size() + 1) / 2; chunk > 0;
         chunk = chunk == 1 ? 0 : (chunk + 1) / 2) {
      // From the end: what comes late is caused by nothing that follows.
      for (size_t end = best_.steps.size(); end > 0 && !exhausted();) {
        const size_t begin = end > chunk ? end - chunk : 0;
        Scenario candidate = best_;
        candidate.steps.erase(candidate.steps.begin() + static_cast<std::ptrdiff_t>(begin),
                              candidate.steps.begin() + static_cast<std::ptrdiff_t>(end));
        better |= attempt(std::move(candidate));
        end = begin;
      }
    }
    return better;
  }

  /// The first `count` members only, or others put in the place of those that go.
  static Scenario with_members(const Scenario& scenario, size_t count, bool fold) {
    Scenario candidate = scenario;
    candidate.nodes = count;
    const auto keep = [&](std::vector<NodeIndex>& nodes) {
      std::vector<NodeIndex> kept;
      for (NodeIndex node : nodes) {
        if (node >= count && !fold) continue;
        node %= static_cast<NodeIndex>(count);
        if (std::find(kept.begin(), kept.end(), node) == kept.end()) kept.push_back(node);
      }
      nodes = std::move(kept);
    };
    std::erase_if(candidate.steps, [&](Step& step) {
      const size_t before = step.nodes.size();
      keep(step.nodes);
      const bool link = step_info(step.kind).nodes == StepInfo::Nodes::kPair;
      return before > 0 && (step.nodes.empty() || (link && step.nodes.size() < before));
    });
    keep(candidate.back);
    return candidate;
  }
  bool fewer_members() {
    bool better = false;
    for (const double share : {0.125, 0.25, 0.5, 0.75, 0.9}) {
      const auto count =
          std::max(kMembersMin, static_cast<size_t>(share * static_cast<double>(best_.nodes)));
      for (const bool fold : {false, true}) {
        if (count < best_.nodes && attempt(with_members(best_, count, fold))) better = true;
      }
    }
    while (best_.nodes > kMembersMin && !exhausted()) {
      if (!attempt(with_members(best_, best_.nodes - 1, false)) &&
          !attempt(with_members(best_, best_.nodes - 1, true))) {
        break;
      }
      better = true;
    }
    return better;
  }

  template <typename Change>
  bool change(Change change) {
    Scenario candidate = best_;
    return change(candidate) && attempt(std::move(candidate));
  }
  /// Gives one field of the scenario its usual value, where it has another.
  template <typename T>
  static bool reset(T& value, const T& usual) {
    if (value == usual) return false;
    value = usual;
    return true;
  }
  bool drop_dimensions() {
    const WorldOptions usual;
    bool better = false;
    better |= change([&](Scenario& s) { return reset(s.world.links.loss, 0.0); });
    better |= change([&](Scenario& s) { return reset(s.world.links.duplication, 0.0); });
    better |= change([&](Scenario& s) { return reset(s.world.links.reordering, 0.0); });
    better |= change([&](Scenario& s) { return reset(s.world.links.zones, 1U); });
    better |= change([&](Scenario& s) {
      const bool other = s.world.links.latency_min != usual.links.latency_min ||
                         s.world.links.latency_spread != usual.links.latency_spread ||
                         s.world.links.jitter != usual.links.jitter;
      s.world.links = LinkModel::lan();
      return other;
    });
    better |=
        change([&](Scenario& s) { return reset(s.world.clock_skew_ppm, usual.clock_skew_ppm); });
    better |= change([&](Scenario& s) { return reset(s.world.refusals, usual.refusals); });
    better |=
        change([&](Scenario& s) { return reset(s.world.timer_lateness, usual.timer_lateness); });
    return better;
  }

  /// Fewer members in each step: halves, then single ones.
  bool thin_steps() {
    bool better = false;
    for (size_t i = 0; i < best_.steps.size(); ++i) {
      if (step_info(best_.steps[i].kind).nodes == StepInfo::Nodes::kPair) continue;
      for (size_t chunk = best_.steps[i].nodes.size() / 2; chunk > 0; chunk /= 2) {
        for (size_t end = best_.steps[i].nodes.size(); end >= chunk && !exhausted(); end -= chunk) {
          if (best_.steps[i].nodes.size() <= chunk) break;
          Scenario candidate = best_;
          auto& nodes = candidate.steps[i].nodes;
          nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(end - chunk),
                      nodes.begin() + static_cast<std::ptrdiff_t>(end));
          better |= attempt(std::move(candidate));
        }
      }
    }
    return better;
  }

  Scenario best_;
  const std::function<bool(const Scenario&)>& fails_;
  ShrinkOptions options_;
  size_t attempts_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

Shrunk shrink(const Scenario& scenario, Duration violated,
              const std::function<bool(const Scenario&)>& fails, const ShrinkOptions& options) {
  return Shrinker(scenario, fails, options).run(violated);
}

}  // namespace starling::simulation
