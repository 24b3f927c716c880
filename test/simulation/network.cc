// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/network.h"

#include <algorithm>
#include <cmath>

namespace starling::simulation {

namespace {

constexpr Duration kLoopbackLatency = 20us;
/// First retransmission of a lost TCP segment (Linux: at least 200 ms), doubling.
constexpr Duration kRetransmit = 200ms;
constexpr int kRetransmitMax = 5;
constexpr double kSegment = 1400;

/// Evenly in [0, 1), the same for (a, b) and (b, a).
double pair_unit(uint64_t seed, uint64_t a, uint64_t b) {
  if (a > b) std::swap(a, b);
  return static_cast<double>(mix64(seed ^ mix64(a << 32 | b)) >> 11) * 0x1.0p-53;
}

Duration scaled(Duration duration, double factor) {
  return Duration(static_cast<int64_t>(static_cast<double>(duration.count()) * factor));
}

}  // namespace

LinkModel LinkModel::wan() {
  LinkModel model;
  model.zones = 5;
  model.jitter = 1ms;
  return model;
}

Network::Network(const LinkModel& model, uint64_t seed)
    : model_(model), seed_(mix64(seed ^ 0x6e657477)), random_(seed_) {}

void Network::partition(const std::vector<std::vector<NodeIndex>>& groups) {
  group_.clear();
  uint32_t group = 0;
  for (const auto& members : groups) {
    ++group;
    for (const NodeIndex node : members) {
      if (node >= group_.size()) group_.resize(node + 1);
      group_[node] = group;
    }
  }
}

void Network::heal() {
  group_.clear();
}

void Network::cut(NodeIndex from, NodeIndex to) {
  cuts_.emplace(from, to);
}
void Network::mend(NodeIndex from, NodeIndex to) {
  cuts_.erase({from, to});
}
void Network::mend_all() {
  cuts_.clear();
}

size_t Network::cuts(NodeIndex node) const {
  return static_cast<size_t>(std::count_if(cuts_.begin(), cuts_.end(), [node](const auto& link) {
    return link.first == node || link.second == node;
  }));
}

void Network::set(std::vector<double>& values, NodeIndex node, double value) {
  if (node >= values.size()) values.resize(node + 1);
  values[node] = value;
}
void Network::set_ingress_loss(NodeIndex node, double loss) {
  set(ingress_loss_, node, loss);
}
void Network::set_egress_loss(NodeIndex node, double loss) {
  set(egress_loss_, node, loss);
}

bool Network::passes(NodeIndex from, NodeIndex to) const {
  if (at(group_, from) != at(group_, to)) return false;
  return cuts_.empty() || !cuts_.contains({from, to});
}

Duration Network::base_latency(NodeIndex a, NodeIndex b) const {
  if (a == b) return kLoopbackLatency;
  Duration latency = model_.latency_min + scaled(model_.latency_spread, pair_unit(seed_, a, b));
  if (model_.zones > 1) {
    const uint64_t zone_a = mix64(seed_ ^ a) % model_.zones;
    const uint64_t zone_b = mix64(seed_ ^ b) % model_.zones;
    if (zone_a != zone_b) {
      latency += model_.zone_latency_min + scaled(model_.zone_latency_max - model_.zone_latency_min,
                                                  pair_unit(~seed_, zone_a, zone_b));
    }
  }
  return latency;
}

Duration Network::exponential(Duration mean) {
  if (mean == Duration::zero()) return mean;
  return scaled(mean, -std::log(1.0 - random_.unit()));
}

double Network::loss(NodeIndex from, NodeIndex to) const {
  if (from == to) return 0;
  return 1 - (1 - model_.loss) * (1 - at(egress_loss_, from)) * (1 - at(ingress_loss_, to));
}

Network::Arrivals Network::datagram(NodeIndex from, NodeIndex to) {
  Arrivals arrivals;
  if (!passes(from, to)) return arrivals;
  const double lost = loss(from, to);
  if (lost > 0 && random_.chance(lost)) return arrivals;
  arrivals.count = model_.duplication > 0 && random_.chance(model_.duplication) ? 2 : 1;
  for (size_t i = 0; i < arrivals.count; ++i) {
    arrivals.delay[i] = latency(from, to);
    if (model_.reordering > 0 && random_.chance(model_.reordering)) {
      arrivals.delay[i] += scaled(model_.reorder_delay, random_.unit());
    }
  }
  return arrivals;
}

std::optional<Duration> Network::stream_message(NodeIndex from, NodeIndex to, size_t bytes) {
  if (!connected(from, to)) return std::nullopt;
  Duration delay =
      latency(from, to) +
      Duration(static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / model_.bandwidth));
  const double lost = loss(from, to);
  if (lost > 0) {
    // Within a long message most losses are mended by fast retransmission, one round trip each;
    // only what is lost at the end, or again, waits for a time-out.
    const double segments = std::ceil(static_cast<double>(bytes) / kSegment);
    delay += scaled(2 * base_latency(from, to), std::floor(segments * lost));
    Duration retransmit = kRetransmit;
    for (int i = 0; i < kRetransmitMax && random_.chance(lost); ++i) {
      delay += retransmit;
      retransmit *= 2;
    }
  }
  return delay;
}

}  // namespace starling::simulation
