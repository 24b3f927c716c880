// SPDX-License-Identifier: Apache-2.0
//
// Coordinates: where this node is in the network, and where those are who answered its probes.
// Vivaldi with height (Dabek, Cox, Kaashoek, Morris, SIGCOMM 2004), the adjustment of Lee, Guha and
// others (2010), gravity towards the origin (Ledlie, Gardner, Seltzer, NSDI 2007) and a median
// filter of each member's last round trips: the same, with the same constants, as in Serf.
//
// Coordinates travel in the acks of direct probes. Whoever says something impossible is not heard.
// Its random numbers are its own, so that it takes none from the protocol.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "membership/context.h"
#include "membership/coordinate.h"

namespace starling::membership {

class Coordinates {
 public:
  explicit Coordinates(Context& context);

  /// What an ack of ours says of where we are; nothing when there are to be no coordinates.
  void write(proto::Ack& ack) const;
  /// A member answered our ping after this time, and said where it is, or nothing.
  void measured(const NodeId& id, const proto::Ack& ack, Duration round_trip);
  /// What an earlier process of this node knew. One that is not valid is left out.
  void restore(const std::vector<KnownCoordinate>& known);
  void forget(const NodeId& id) { peers_.erase(id); }

  [[nodiscard]] const Coordinate& own() const { return own_; }
  /// Null: it has not told.
  [[nodiscard]] const Coordinate* of(const NodeId& id) const;
  /// The members that are held, this one not counted; at most kMaxMembers.
  [[nodiscard]] size_t size() const { return peers_.size(); }
  /// What has changed since the last call.
  [[nodiscard]] std::vector<KnownCoordinate> take_changed();

 private:
  static constexpr size_t kFilter = 3;
  static constexpr size_t kWindow = 20;
  using Vector = std::array<double, Coordinate::kDimensions>;

  struct Peer {
    Coordinate coordinate;
    std::array<float, kFilter> round_trips{};  ///< the last ones, seconds
    uint8_t count = 0;                         ///< of these
    uint8_t next = 0;
    bool changed = false;
  };

  /// The median of the member's last round trips, this one included; seconds.
  static double filter(Peer& peer, double round_trip);
  void attract(const Coordinate& other, double round_trip);
  void adjust(const Coordinate& other, double round_trip);
  void gravitate();
  /// Moves this node by `force` seconds away from `other`.
  void push(double force, const Coordinate& other);
  double direction(const Coordinate& from, Vector& unit);

  Context& context_;
  Random random_;
  Coordinate own_;
  bool own_changed_ = false;
  std::array<double, kWindow> samples_{};
  size_t next_sample_ = 0;
  std::unordered_map<NodeId, Peer> peers_;
};

}  // namespace starling::membership
