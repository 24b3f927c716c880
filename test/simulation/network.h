// SPDX-License-Identifier: Apache-2.0
//
// The fault model: what becomes of a packet between two hosts. It decides and keeps no packets
// itself; the world puts the arrivals on its event queue. Single-threaded; all randomness comes
// from the seed. Nothing is kept per pair of hosts but the links that were cut or made lossy:
// latencies are hashes of the pair.
//
// Bytes that were changed on the way are dropped by the seal of the daemon's transport before the
// protocol sees them, and a checksum drops nearly all of them before that: corruption is loss.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "test/simulation/types.h"

namespace starling::simulation {

/// How the part of the latency that differs from packet to packet is distributed. All have the
/// same mean, LinkModel::jitter.
enum class JitterShape : uint8_t {
  kConstant,
  kUniform,      ///< between nothing and twice the mean
  kExponential,  ///< the tail of a queue
  kLognormal,  ///< most are short, few very long (sigma 1: the 99th percentile is 6 times the mean)
};

/// What all links have in common. One-way times.
struct LinkModel {
  /// Base latency of a pair is drawn evenly from [min, min + spread); the same in both directions.
  Duration latency_min = 150us;
  Duration latency_spread = 200us;
  /// Mean of the random part that each packet gets on top.
  Duration jitter = 100us;
  JitterShape jitter_shape = JitterShape::kExponential;
  /// Hosts fall into this many zones; two zones are further apart by [min, max), once per pair.
  unsigned zones = 1;
  Duration zone_latency_min = 5ms;
  Duration zone_latency_max = 55ms;

  double loss = 0;         ///< chance that a datagram is lost, 0..1
  double duplication = 0;  ///< chance that it arrives twice
  double reordering = 0;   ///< chance that it is held up by [0, reorder_delay)
  Duration reorder_delay = 20ms;
  double spikes = 0;  ///< chance that it is held up by [0, 2 * spike_delay)
  Duration spike_delay = 300ms;
  Duration extra_latency{};  ///< of every packet, for the time being
  double bandwidth = 125e6;  ///< bytes per second of a stream
  /// Bytes that wait at a host whose bandwidth is limited; what comes then is dropped.
  size_t egress_queue = 256U << 10;
  /// Nor does anything wait longer than this there: no real queue speaks for a host that has long
  /// been gone.
  Duration egress_wait = 5s;

  static LinkModel lan() { return {}; }
  static LinkModel wan();
};

/// What is wrong at one host's wire.
struct Wire {
  double ingress_loss = 0;   ///< of all that it receives
  double egress_loss = 0;    ///< of all that it sends
  Duration extra_latency{};  ///< of all that it sends or receives
  double bandwidth = 0;      ///< bytes per second that leave it; 0: no limit
  size_t mtu = 0;            ///< datagrams above vanish, either way; 0: none do
  uint32_t cuts = 0;         ///< links from or to it that are cut
  uint32_t lossy_links = 0;  ///< links from or to it with a loss of their own
  uint32_t group = 0;        ///< its side of the partition
  bool down = false;         ///< nothing passes
  bool unsteady = false;     ///< for the checker: it flaps, or its links stop one by one
  TimePoint free;            ///< when all that waits to leave has left
};

/// Which zone a host is in, 0 .. zones - 1, in a network made with `seed`.
[[nodiscard]] inline unsigned zone_of(NodeIndex node, unsigned zones, uint64_t seed) {
  return static_cast<unsigned>(mix64(seed ^ node) % zones);
}

class Network {
 public:
  Network(const LinkModel& model, uint64_t seed);

  /// The model may be changed at any time; what is under way is not affected.
  LinkModel& model() { return model_; }
  [[nodiscard]] const LinkModel& model() const { return model_; }
  [[nodiscard]] unsigned zone(NodeIndex node) const { return zone_of(node, model_.zones, seed_); }

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
  /// Extra loss from `from` to `to` alone, 0..1.
  void set_link_loss(NodeIndex from, NodeIndex to, double loss);
  /// Extra loss of all that a host receives or sends, 0..1.
  void set_ingress_loss(NodeIndex node, double loss) { edit(node).ingress_loss = loss; }
  void set_egress_loss(NodeIndex node, double loss) { edit(node).egress_loss = loss; }
  void set_extra_latency(NodeIndex node, Duration extra) { edit(node).extra_latency = extra; }
  /// Bytes per second; 0: no limit.
  void set_bandwidth(NodeIndex node, double bandwidth) { edit(node).bandwidth = bandwidth; }
  /// A black hole: datagrams above `bytes` from or to the host vanish without a word; 0: none.
  /// Streams find their way round it (a lower segment size).
  void set_mtu(NodeIndex node, size_t bytes) { edit(node).mtu = bytes; }
  void set_down(NodeIndex node, bool down) { edit(node).down = down; }
  void set_unsteady(NodeIndex node, bool unsteady) { edit(node).unsteady = unsteady; }
  /// Ends every fault of a wire but the partition's.
  void reset_wires();
  /// Draws what packets meet by `seed` from here on; distances stay.
  void diverge(uint64_t seed) { random_ = Random(mix64(seed ^ seed_)); }

  [[nodiscard]] const Wire& wire(NodeIndex node) const {
    return node < wires_.size() ? wires_[node] : kSound;
  }

  // --- what becomes of a packet ---
  /// There is a route from `from` to `to`, on which not everything is lost.
  [[nodiscard]] bool passes(NodeIndex from, NodeIndex to) const;
  /// Routes both ways.
  [[nodiscard]] bool connected(NodeIndex a, NodeIndex b) const {
    return passes(a, b) && passes(b, a);
  }
  /// Which side of the partition a host is on; 0 for all when there is none.
  [[nodiscard]] uint32_t group(NodeIndex node) const { return wire(node).group; }
  /// Without jitter and faults, one way.
  [[nodiscard]] Duration base_latency(NodeIndex a, NodeIndex b) const;

  /// Delays of the copies that arrive: none when the datagram is lost, two when it is duplicated.
  struct Arrivals {
    size_t count = 0;
    std::array<Duration, 2> delay{};
  };
  /// A datagram with `bytes` of payload is sent at `now`.
  Arrivals datagram(NodeIndex from, NodeIndex to, size_t bytes, TimePoint now);

  /// Delay of one message on a stream, retransmissions included; none when it cannot go now.
  std::optional<Duration> stream_message(NodeIndex from, NodeIndex to, size_t bytes, TimePoint now);

 private:
  static const Wire kSound;

  Wire& edit(NodeIndex node) {
    if (node >= wires_.size()) wires_.resize(node + 1);
    return wires_[node];
  }
  Duration jitter();
  [[nodiscard]] double loss(NodeIndex from, NodeIndex to) const;
  Duration latency(NodeIndex from, NodeIndex to);
  /// Time until `bytes` have left the host; none when its queue is full.
  std::optional<Duration> leave_host(NodeIndex node, size_t bytes, TimePoint now);

  LinkModel model_;
  uint64_t seed_;
  Random random_;
  std::vector<Wire> wires_;
  std::set<std::pair<NodeIndex, NodeIndex>> cuts_;
  std::map<std::pair<NodeIndex, NodeIndex>, double> link_loss_;
};

}  // namespace starling::simulation
