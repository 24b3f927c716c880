// SPDX-License-Identifier: Apache-2.0
//
// Coordinate: a point such that the distance of two of them estimates the round trip between their
// members (Vivaldi). Values without state; what moves a member's own is in swim/coordinates.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "membership/ids.h"
#include "membership/time.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

struct Coordinate {
  static constexpr size_t kDimensions = 8;
  static constexpr double kErrorMax = 1.5;
  static constexpr double kHeightMin = 10e-6;
  /// Nothing on earth is further away, seconds; whoever says so is not believed.
  static constexpr double kFarthest = 60;

  std::array<float, kDimensions> vector{};        ///< seconds
  float error = static_cast<float>(kErrorMax);    ///< relative, 0 (certain) .. kErrorMax
  float adjustment = 0;                           ///< seconds; of what has no place in space
  float height = static_cast<float>(kHeightMin);  ///< seconds; of the host's own link

  /// Every number is finite and within its bounds.
  [[nodiscard]] bool valid() const;
  /// Seconds, without the adjustments. >= 0.
  [[nodiscard]] double raw_distance_to(const Coordinate& other) const;
  /// Seconds, >= 0. The adjustments only count while they leave a distance.
  [[nodiscard]] double distance_to(const Coordinate& other) const;

  bool operator==(const Coordinate&) const = default;
};

/// On the wire are whole microseconds, so that a coordinate takes 25 to 40 bytes. It must be valid.
[[nodiscard]] proto::Coordinate to_wire(const Coordinate& coordinate);
void to_wire(const Coordinate& coordinate, proto::Coordinate& wire);
/// None for what is not valid, or has other dimensions.
[[nodiscard]] std::optional<Coordinate> from_wire(const proto::Coordinate& wire);

/// Whose, for those who keep it over a restart.
struct KnownCoordinate {
  NodeId id;
  Coordinate coordinate;
};

}  // namespace starling::membership
