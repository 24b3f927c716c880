// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/coordinates.h"

#include <algorithm>
#include <cmath>

#include "membership/limits.h"

namespace starling::membership {

namespace {

constexpr double kErrorGain = 0.25;     // Vivaldi's ce
constexpr double kPositionGain = 0.25;  // and cc
constexpr double kGravity = 150;        // rho: how far from the origin it counts, seconds
constexpr double kZero = 1e-6;          // less is as good as nothing
constexpr double kLongestRoundTrip = 10;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double magnitude(const std::array<double, Coordinate::kDimensions>& vector) {
  double squares = 0;
  for (const double part : vector) squares += part * part;
  return std::sqrt(squares);
}

}  // namespace

Coordinates::Coordinates(Context& context)
    : context_(context), random_(mix64(context.identity.id.hash()) ^ context.identity.epoch) {}

void Coordinates::write(proto::Ack& ack) const {
  if (!context_.options.disable_coordinates) to_wire(own_, *ack.mutable_coordinate());
}

void Coordinates::measured(const NodeId& id, const proto::Ack& ack, Duration round_trip) {
  if (context_.options.disable_coordinates || !ack.has_coordinate()) return;
  const auto said = from_wire(ack.coordinate());
  const double measured = seconds(round_trip);
  if (!said || measured < 0 || measured > kLongestRoundTrip) {
    ++context_.statistics.rejected_coordinates;
    return;
  }
  auto found = peers_.find(id);
  if (found == peers_.end()) {
    if (peers_.size() >= kMaxMembers) {
      ++context_.statistics.rejected_coordinates;
      return;
    }
    found = peers_.emplace(id, Peer()).first;
  }
  Peer& peer = found->second;
  peer.coordinate = *said;
  peer.changed = true;
  const double filtered = std::max(filter(peer, measured), kZero);
  attract(*said, filtered);
  adjust(*said, filtered);
  gravitate();
  own_changed_ = true;
  if (own_.valid()) return;
  ++context_.statistics.coordinate_resets;
  own_ = Coordinate();
  samples_.fill(0);
}

void Coordinates::restore(const std::vector<KnownCoordinate>& known) {
  if (context_.options.disable_coordinates) return;
  for (const KnownCoordinate& each : known) {
    if (!each.coordinate.valid()) continue;
    if (each.id == context_.identity.id) {
      own_ = each.coordinate;
    } else if (peers_.size() < kMaxMembers) {
      peers_[each.id].coordinate = each.coordinate;
    }
  }
}

const Coordinate* Coordinates::of(const NodeId& id) const {
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : &found->second.coordinate;
}

std::vector<KnownCoordinate> Coordinates::take_changed() {
  std::vector<KnownCoordinate> changed;
  if (own_changed_) changed.push_back({context_.identity.id, own_});
  own_changed_ = false;
  for (auto& [id, peer] : peers_) {
    if (peer.changed) changed.push_back({id, peer.coordinate});
    peer.changed = false;
  }
  return changed;
}

double Coordinates::filter(Peer& peer, double round_trip) {
  peer.round_trips[peer.next] = static_cast<float>(round_trip);
  peer.next = static_cast<uint8_t>((peer.next + 1U) % kFilter);
  peer.count = static_cast<uint8_t>(std::min<size_t>(peer.count + 1U, kFilter));
  std::array<float, kFilter> sorted = peer.round_trips;
  std::sort(sorted.begin(), sorted.begin() + peer.count);
  return double{sorted[peer.count / 2U]};
}

/// Vivaldi's step. The less certain we are compared with the other, the further we go.
void Coordinates::attract(const Coordinate& other, double round_trip) {
  const double distance = own_.distance_to(other);
  const double wrong = std::abs(distance - round_trip) / round_trip;
  const double errors = std::max(double{own_.error} + double{other.error}, kZero);
  const double weight = double{own_.error} / errors;
  const double error = kErrorGain * weight * wrong + double{own_.error} * (1 - kErrorGain * weight);
  own_.error = static_cast<float>(std::min(error, Coordinate::kErrorMax));
  push(kPositionGain * weight * (round_trip - distance), other);
}

/// Half of what distances were lately off by, on average: what no place in space can express.
void Coordinates::adjust(const Coordinate& other, double round_trip) {
  samples_[next_sample_] = round_trip - own_.raw_distance_to(other);
  next_sample_ = (next_sample_ + 1) % kWindow;
  double sum = 0;
  for (const double sample : samples_) sum += sample;
  own_.adjustment = static_cast<float>(sum / (2 * double{kWindow}));
}

/// Without it all would drift away together.
void Coordinates::gravitate() {
  const Coordinate origin;
  const double distance = origin.distance_to(own_) / kGravity;
  push(-distance * distance, origin);
}

void Coordinates::push(double force, const Coordinate& other) {
  Vector unit{};
  const double distance = direction(other, unit);
  for (size_t i = 0; i < unit.size(); ++i) {
    own_.vector[i] = static_cast<float>(double{own_.vector[i]} + unit[i] * force);
  }
  if (distance <= kZero) return;
  const double heights = double{own_.height} + double{other.height};
  own_.height = static_cast<float>(
      std::max(heights * force / distance + double{own_.height}, Coordinate::kHeightMin));
}

/// From `from` to this node, of length one; somewhere if they are in one place. Their distance.
double Coordinates::direction(const Coordinate& from, Vector& unit) {
  for (size_t i = 0; i < unit.size(); ++i) {
    unit[i] = double{own_.vector[i]} - double{from.vector[i]};
  }
  const double distance = magnitude(unit);
  if (distance > kZero) {
    for (double& part : unit) part /= distance;
    return distance;
  }
  for (double& part : unit) part = random_.unit() - 0.5;
  const double length = magnitude(unit);
  if (length <= kZero) unit = {1};
  for (double& part : unit) part /= std::max(length, kZero);
  return 0;
}

}  // namespace starling::membership
