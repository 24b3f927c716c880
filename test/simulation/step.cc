// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/step.h"

#include <algorithm>
#include <cstdio>

namespace starling::simulation {

namespace {

using Nodes = StepInfo::Nodes;
using Length = StepInfo::Length;
constexpr std::string_view kChance = "chance, 0..1";
constexpr double kHour = 3600;

constexpr StepInfo kInfos[] = {
    {StepKind::kLoss, "loss", Nodes::kNone, kChance, 0, 1, Length::kOptional,
     "all links lose datagrams"},
    {StepKind::kDuplication, "duplication", Nodes::kNone, kChance, 0, 1, Length::kOptional,
     "datagrams arrive twice"},
    {StepKind::kReordering, "reordering", Nodes::kNone, kChance, 0, 1, Length::kOptional,
     "datagrams are held up and overtaken"},
    {StepKind::kSpikes, "spikes", Nodes::kNone, kChance, 0, 1, Length::kOptional,
     "packets are held up by 300 ms on average"},
    {StepKind::kLatency, "latency", Nodes::kOptional, "seconds, one way", 0, 60, Length::kOptional,
     "more latency at these hosts, or on all links"},
    {StepKind::kIngressLoss, "ingress-loss", Nodes::kSome, kChance, 0, 1, Length::kOptional,
     "these hosts lose what they receive"},
    {StepKind::kEgressLoss, "egress-loss", Nodes::kSome, kChance, 0, 1, Length::kOptional,
     "these hosts lose what they send"},
    {StepKind::kLinkLoss, "link-loss", Nodes::kPair, kChance, 0, 1, Length::kOptional,
     "one link loses datagrams, in one direction"},
    {StepKind::kBandwidth, "bandwidth", Nodes::kSome, "bytes per second, 0 for no limit", 0, 1e12,
     Length::kOptional, "what these hosts send queues behind a slow wire"},
    {StepKind::kMtu, "mtu", Nodes::kSome, "bytes, 0 for no limit", 0, 65'535, Length::kOptional,
     "larger datagrams from or to these hosts vanish"},
    {StepKind::kPartition, "partition", Nodes::kSome, "", 0, 0, Length::kOptional,
     "these hosts against all others"},
    {StepKind::kPartitionZone, "partition-zone", Nodes::kNone, "number of the zone, from 0", 0,
     65'535, Length::kOptional, "one zone against all others"},
    {StepKind::kPartitionZones, "partition-zones", Nodes::kNone, "", 0, 0, Length::kOptional,
     "no zone reaches another"},
    {StepKind::kHeal, "heal", Nodes::kNone, "", 0, 0, Length::kNone, "ends the partition"},
    {StepKind::kCut, "cut", Nodes::kPair, "", 0, 0, Length::kOptional,
     "nothing passes on one link, in one direction"},
    {StepKind::kMend, "mend", Nodes::kNone, "", 0, 0, Length::kNone,
     "ends all cuts and losses of single links"},
    {StepKind::kFlap, "flap", Nodes::kSome, "period in seconds, 0 ends it", 0, kHour,
     Length::kOptional, "the links of these hosts go down and up, each for half a period"},
    {StepKind::kClog, "clog", Nodes::kSome, "", 0, 0, Length::kRequired,
     "the links of these hosts stop one by one and come back in another order"},
    {StepKind::kPause, "pause", Nodes::kSome, "", 0, 0, Length::kOptional,
     "SIGSTOP: nothing runs, inputs wait"},
    {StepKind::kResume, "resume", Nodes::kSome, "", 0, 0, Length::kNone, "SIGCONT"},
    {StepKind::kBlock, "block", Nodes::kSome, "", 0, 0, Length::kOptional,
     "sends and receives block while timers run (Lifeguard's anomaly)"},
    {StepKind::kUnblock, "unblock", Nodes::kSome, "", 0, 0, Length::kNone, "ends a block"},
    {StepKind::kSlow, "slow", Nodes::kSome, "seconds of processor time per input, 0 ends it", 0, 60,
     Length::kOptional, "a slow processor: inputs queue, timers are late"},
    {StepKind::kClockRate, "clock-rate", Nodes::kSome, "1 is right, 1.05 is 5 % too fast", 0.1, 10,
     Length::kOptional, "the clock runs at another rate"},
    {StepKind::kClockJump, "clock-jump", Nodes::kSome, "seconds forward", 0, kHour, Length::kNone,
     "the clock jumps forward"},
    {StepKind::kDiskFull, "disk-full", Nodes::kSome, "", 0, 0, Length::kOptional,
     "nothing is kept any more"},
    {StepKind::kDiskFree, "disk-free", Nodes::kSome, "", 0, 0, Length::kNone, "ends disk-full"},
    {StepKind::kCrash, "crash", Nodes::kSome, "", 0, 0, Length::kOptional,
     "killed, the host goes on; restarted after `length`"},
    {StepKind::kHostDown, "host-down", Nodes::kSome, "", 0, 0, Length::kOptional,
     "killed with the host: silence; restarted after `length`"},
    {StepKind::kRestart, "restart", Nodes::kSome, "", 0, 0, Length::kNone,
     "the same members again, with what their disks hold"},
    {StepKind::kRestartMoved, "restart-moved", Nodes::kSome, "", 0, 0, Length::kNone,
     "the same at a new address"},
    {StepKind::kRestartFresh, "restart-fresh", Nodes::kSome, "", 0, 0, Length::kNone,
     "as new members under the old names"},
    {StepKind::kAddNode, "add-node", Nodes::kNone, "", 0, 0, Length::kNone, "a new member joins"},
    {StepKind::kHostile, "hostile", Nodes::kSome, "", 0, 0, Length::kRequired,
     "they lie to all others about all others, ten times a second"},
    {StepKind::kLeave, "leave", Nodes::kSome, "", 0, 0, Length::kNone, "they leave"},
    {StepKind::kTags, "tags", Nodes::kSome, "", 0, 0, Length::kNone, "they get other tags"},
    {StepKind::kEvent, "event", Nodes::kFirst, "", 0, 0, Length::kNone, "sends a user event"},
    {StepKind::kQuery, "query", Nodes::kFirst, "", 0, 0, Length::kNone, "asks a query"},
};
static_assert(std::size(kInfos) == static_cast<size_t>(StepKind::kQuery) + 1);

}  // namespace

std::span<const StepInfo> step_infos() {
  return kInfos;
}

const StepInfo& step_info(StepKind kind) {
  return kInfos[static_cast<size_t>(kind)];
}

std::string_view step_name(StepKind kind) {
  return step_info(kind).name;
}

std::optional<StepKind> step_kind(std::string_view name) {
  const auto* found = std::find_if(std::begin(kInfos), std::end(kInfos),
                                   [name](const StepInfo& info) { return info.name == name; });
  if (found == std::end(kInfos)) return std::nullopt;
  return found->kind;
}

std::string Step::to_string() const {
  char text[64];
  std::snprintf(text, sizeof text, "at %8.3fs ", seconds(at));
  std::string line = text + std::string(step_name(kind));
  for (const NodeIndex node : nodes) line += ' ' + std::to_string(node);
  if (!step_info(kind).amount.empty()) {
    std::snprintf(text, sizeof text, " (%.6g)", amount);
    line += text;
  }
  if (length > Duration::zero()) {
    std::snprintf(text, sizeof text, " for %.3fs", seconds(length));
    line += text;
  }
  return line;
}

}  // namespace starling::simulation
