// SPDX-License-Identifier: Apache-2.0
#include "membership/coordinate.h"

#include <cmath>
#include <cstdint>

namespace starling::membership {

namespace {

constexpr double kPerSecond = 1e6;
constexpr double kPerError = 1000;

int32_t to_units(double value, double unit) {
  return static_cast<int32_t>(std::lround(value * unit));
}

bool within(double value, double least, double most) {
  return value >= least && value <= most;  // false for what is not a number
}

}  // namespace

bool Coordinate::valid() const {
  for (const float part : vector) {
    if (!within(part, -kFarthest, kFarthest)) return false;
  }
  return within(error, 0, kErrorMax) && within(adjustment, -kFarthest, kFarthest) &&
         within(height, 0, kFarthest);
}

double Coordinate::raw_distance_to(const Coordinate& other) const {
  double squares = 0;
  for (size_t i = 0; i < kDimensions; ++i) {
    const double difference = double{vector[i]} - double{other.vector[i]};
    squares += difference * difference;
  }
  return std::sqrt(squares) + double{height} + double{other.height};
}

double Coordinate::distance_to(const Coordinate& other) const {
  const double raw = raw_distance_to(other);
  const double adjusted = raw + double{adjustment} + double{other.adjustment};
  return adjusted > 0 ? adjusted : raw;
}

proto::Coordinate to_wire(const Coordinate& coordinate) {
  proto::Coordinate wire;
  to_wire(coordinate, wire);
  return wire;
}

void to_wire(const Coordinate& coordinate, proto::Coordinate& wire) {
  wire.clear_vector();
  for (const float part : coordinate.vector) wire.add_vector(to_units(part, kPerSecond));
  wire.set_height(static_cast<uint32_t>(to_units(coordinate.height, kPerSecond)));
  wire.set_adjustment(to_units(coordinate.adjustment, kPerSecond));
  wire.set_error(static_cast<uint32_t>(to_units(coordinate.error, kPerError)));
}

std::optional<Coordinate> from_wire(const proto::Coordinate& wire) {
  if (wire.vector_size() != static_cast<int>(Coordinate::kDimensions)) return std::nullopt;
  Coordinate coordinate;
  for (size_t i = 0; i < Coordinate::kDimensions; ++i) {
    coordinate.vector[i] = static_cast<float>(wire.vector(static_cast<int>(i)) / kPerSecond);
  }
  coordinate.height = static_cast<float>(wire.height() / kPerSecond);
  coordinate.adjustment = static_cast<float>(wire.adjustment() / kPerSecond);
  coordinate.error = static_cast<float>(wire.error() / kPerError);
  if (!coordinate.valid()) return std::nullopt;
  return coordinate;
}

}  // namespace starling::membership
