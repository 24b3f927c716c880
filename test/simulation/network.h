// SPDX-License-Identifier: Apache-2.0
//
// The fault model: what becomes of a packet between two hosts. It decides and keeps no packets
// itself; the world puts the arrivals on its event queue. Single-threaded; all randomness comes
// from the seed. Nothing is kept per pair of hosts but the links that were cut: latencies are
// hashes of the pair.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "test/simulation/types.h"

namespace starling::simulation {

/// What all links have in common. One-way times.
struct LinkModel {
  /// Base latency of a pair is drawn evenly from [min, min + spread); the same in both directions.
  Duration latency_min = 150us;
  Duration latency_spread = 200us;
  /// Mean of the exponential part that each packet gets on top.
  Duration jitter = 100us;
  /// Hosts fall into this many zones; two zones are further apart by [min, max), once per pair.
  unsigned zones = 1;
  Duration zone_latency_min = 5ms;
  Duration zone_latency_max = 55ms;

  double loss = 0;         ///< chance that a datagram is lost, 0..1
  double duplication = 0;  ///< chance that it arrives twice
  double reordering = 0;   ///< chance that it is held up by [0, reorder_delay)
  Duration reorder_delay = 20ms;
  double bandwidth = 125e6;  ///< bytes per second of a stream

  static LinkModel lan() { return {}; }
  static LinkModel wan();
};

class Network {
 public:
  Network(const LinkModel& model, uint64_t seed);

  /// The model may be changed at any time; what is under way is not affected.
  LinkModel& model() { return model_; }
  [[nodiscard]] const LinkModel& model() const { return model_; }

  // --- faults ---
  /// Only members of one group reach each other. Hosts in none of them form one more group.
  /// Replaces an earlier partition.
  void partition(const std::vector<std::vector<NodeIndex>>& groups);
  /// Ends the partition.
  void heal();
  /// Drops everything from `from` to `to`; the other direction stays.
  void cut(NodeIndex from, NodeIndex to);
  void mend(NodeIndex from, NodeIndex to);
  void mend_all();
  /// Extra loss of all that a host receives or sends, 0..1.
  void set_ingress_loss(NodeIndex node, double loss);
  void set_egress_loss(NodeIndex node, double loss);
  [[nodiscard]] double ingress_loss(NodeIndex node) const { return at(ingress_loss_, node); }
  [[nodiscard]] double egress_loss(NodeIndex node) const { return at(egress_loss_, node); }

  // --- what becomes of a packet ---
  /// There is a route from `from` to `to` (loss aside).
  [[nodiscard]] bool passes(NodeIndex from, NodeIndex to) const;
  /// Routes both ways.
  [[nodiscard]] bool connected(NodeIndex a, NodeIndex b) const {
    return passes(a, b) && passes(b, a);
  }
  /// Which side of the partition a host is on; 0 for all when there is none.
  [[nodiscard]] uint32_t group(NodeIndex node) const { return at(group_, node); }
  /// Links from or to a host that are cut.
  [[nodiscard]] size_t cuts(NodeIndex node) const;
  /// Without jitter, one way.
  [[nodiscard]] Duration base_latency(NodeIndex a, NodeIndex b) const;

  /// Delays of the copies that arrive: none when the datagram is lost, two when it is duplicated.
  struct Arrivals {
    size_t count = 0;
    std::array<Duration, 2> delay{};
  };
  Arrivals datagram(NodeIndex from, NodeIndex to);

  /// Delay of one message on a stream, retransmissions included; none when no route exists now.
  std::optional<Duration> stream_message(NodeIndex from, NodeIndex to, size_t bytes);

 private:
  template <typename T>
  static T at(const std::vector<T>& values, NodeIndex node) {
    return node < values.size() ? values[node] : T{};
  }
  void set(std::vector<double>& values, NodeIndex node, double value);
  Duration exponential(Duration mean);
  double loss(NodeIndex from, NodeIndex to) const;
  Duration latency(NodeIndex from, NodeIndex to) {
    return base_latency(from, to) + exponential(model_.jitter);
  }

  LinkModel model_;
  uint64_t seed_;
  Random random_;
  std::vector<uint32_t> group_;  ///< 0: in no group
  std::set<std::pair<NodeIndex, NodeIndex>> cuts_;
  std::vector<double> ingress_loss_;
  std::vector<double> egress_loss_;
};

}  // namespace starling::simulation
