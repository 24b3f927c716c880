// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/network.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace starling::simulation {

namespace {

constexpr Duration kLoopbackLatency = 20us;
/// First retransmission of a lost TCP segment (Linux: at least 200 ms), doubling.
constexpr Duration kRetransmit = 200ms;
constexpr int kRetransmitMax = 5;
constexpr double kSegment = 1400;
/// What a datagram's payload gets around it on the wire: seal, UDP, IP, Ethernet.
constexpr size_t kEnvelope = 102;

/// Evenly in [0, 1), the same for (a, b) and (b, a).
double pair_unit(uint64_t seed, uint64_t a, uint64_t b) {
  if (a > b) std::swap(a, b);
  return static_cast<double>(mix64(seed ^ mix64(a << 32 | b)) >> 11) * 0x1.0p-53;
}

Duration scaled(Duration duration, double factor) {
  return Duration(static_cast<int64_t>(static_cast<double>(duration.count()) * factor));
}

Duration transmission(size_t bytes, double bandwidth) {
  return Duration(static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / bandwidth));
}

}  // namespace

const Wire Network::kSound;

LinkModel LinkModel::wan() {
  LinkModel model;
  model.zones = 5;
  model.jitter = 1ms;
  return model;
}

Network::Network(const LinkModel& model, uint64_t seed)
    : model_(model), seed_(mix64(seed ^ 0x6e657477)), random_(seed_) {}

void Network::partition(const std::vector<std::vector<NodeIndex>>& groups) {
  heal();
  uint32_t group = 0;
  for (const auto& members : groups) {
    ++group;
    for (const NodeIndex node : members) edit(node).group = group;
  }
}

void Network::heal() {
  for (Wire& wire : wires_) wire.group = 0;
}

void Network::cut(NodeIndex from, NodeIndex to) {
  if (!cuts_.emplace(from, to).second) return;
  ++edit(from).cuts;
  ++edit(to).cuts;
}
void Network::mend(NodeIndex from, NodeIndex to) {
  if (cuts_.erase({from, to}) == 0) return;
  --edit(from).cuts;
  --edit(to).cuts;
}
void Network::mend_all() {
  cuts_.clear();
  link_loss_.clear();
  for (Wire& wire : wires_) wire.cuts = wire.lossy_links = 0;
}

void Network::set_link_loss(NodeIndex from, NodeIndex to, double loss) {
  if (loss > 0) {
    if (!link_loss_.insert_or_assign({from, to}, loss).second) return;
    ++edit(from).lossy_links;
    ++edit(to).lossy_links;
  } else if (link_loss_.erase({from, to}) > 0) {
    --edit(from).lossy_links;
    --edit(to).lossy_links;
  }
}

void Network::reset_wires() {
  mend_all();
  for (Wire& wire : wires_) {
    const uint32_t group = wire.group;
    wire = Wire();
    wire.group = group;
  }
}

bool Network::passes(NodeIndex from, NodeIndex to) const {
  const Wire& sender = wire(from);
  const Wire& receiver = wire(to);
  if (sender.group != receiver.group) return false;
  if (from != to && (sender.down || receiver.down)) return false;
  if (loss(from, to) >= 1) return false;  // nor would retransmissions arrive
  return sender.cuts == 0 || receiver.cuts == 0 || !cuts_.contains({from, to});
}

Duration Network::base_latency(NodeIndex a, NodeIndex b) const {
  if (a == b) return kLoopbackLatency;
  Duration latency = model_.latency_min + scaled(model_.latency_spread, pair_unit(seed_, a, b));
  const unsigned zone_a = zone(a);
  const unsigned zone_b = zone(b);
  if (zone_a != zone_b) {
    latency += model_.zone_latency_min + scaled(model_.zone_latency_max - model_.zone_latency_min,
                                                pair_unit(~seed_, zone_a, zone_b));
  }
  return latency;
}

Duration Network::jitter() {
  if (model_.jitter == Duration::zero()) return {};
  switch (model_.jitter_shape) {
    case JitterShape::kConstant:
      return model_.jitter;
    case JitterShape::kUniform:
      return scaled(model_.jitter, 2 * random_.unit());
    case JitterShape::kExponential:
      return scaled(model_.jitter, -std::log(1.0 - random_.unit()));
    case JitterShape::kLognormal: {
      // Box-Muller; with sigma 1 the mean is exp(mu + 1/2).
      const double normal = std::sqrt(-2 * std::log(1.0 - random_.unit())) *
                            std::cos(2 * std::numbers::pi * random_.unit());
      return scaled(model_.jitter, std::exp(normal - 0.5));
    }
  }
  return {};
}

Duration Network::latency(NodeIndex from, NodeIndex to) {
  Duration latency = base_latency(from, to) + jitter();
  if (from == to) return latency;
  latency += model_.extra_latency + wire(from).extra_latency + wire(to).extra_latency;
  if (model_.spikes > 0 && random_.chance(model_.spikes)) {
    latency += scaled(model_.spike_delay, 2 * random_.unit());
  }
  return latency;
}

double Network::loss(NodeIndex from, NodeIndex to) const {
  if (from == to) return 0;
  const Wire& sender = wire(from);
  const Wire& receiver = wire(to);
  double arrives = (1 - model_.loss) * (1 - sender.egress_loss) * (1 - receiver.ingress_loss);
  if (sender.lossy_links > 0 && receiver.lossy_links > 0) {
    const auto link = link_loss_.find({from, to});
    if (link != link_loss_.end()) arrives *= 1 - link->second;
  }
  return 1 - arrives;
}

std::optional<Duration> Network::leave_host(NodeIndex node, size_t bytes, TimePoint now) {
  if (node >= wires_.size() || wires_[node].bandwidth <= 0) return Duration::zero();
  Wire& wire = wires_[node];
  const Duration waiting = std::max(wire.free - now, Duration::zero());
  const Duration longest = transmission(model_.egress_queue, wire.bandwidth);
  if (waiting > std::min(longest, model_.egress_wait)) return std::nullopt;
  const Duration leaves = waiting + transmission(bytes, wire.bandwidth);
  wire.free = now + leaves;
  return leaves;
}

Network::Arrivals Network::datagram(NodeIndex from, NodeIndex to, size_t bytes, TimePoint now) {
  Arrivals arrivals;
  const std::optional<Duration> leaves =
      from == to ? Duration::zero() : leave_host(from, bytes + kEnvelope, now);
  if (!leaves || !passes(from, to)) return arrivals;
  const auto vanishes = [bytes](const Wire& wire) { return wire.mtu > 0 && bytes > wire.mtu; };
  if (from != to && (vanishes(wire(from)) || vanishes(wire(to)))) return arrivals;
  const double lost = loss(from, to);
  if (lost > 0 && random_.chance(lost)) return arrivals;
  arrivals.count = model_.duplication > 0 && random_.chance(model_.duplication) ? 2 : 1;
  for (size_t i = 0; i < arrivals.count; ++i) {
    arrivals.delay[i] = *leaves + latency(from, to);
    if (model_.reordering > 0 && random_.chance(model_.reordering)) {
      arrivals.delay[i] += scaled(model_.reorder_delay, random_.unit());
    }
  }
  return arrivals;
}

std::optional<Duration> Network::stream_message(NodeIndex from, NodeIndex to, size_t bytes,
                                                TimePoint now) {
  if (!connected(from, to)) return std::nullopt;
  const std::optional<Duration> leaves =
      from == to ? Duration::zero() : leave_host(from, bytes + kEnvelope, now);
  if (!leaves) return std::nullopt;
  Duration delay = *leaves + latency(from, to) + transmission(bytes, model_.bandwidth);
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
