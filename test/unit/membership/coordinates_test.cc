// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/coordinates.h"

#include <cmath>
#include <limits>
#include <memory>

#include "test/catch.h"
#include "test/unit/membership/fixture.h"

namespace starling::membership {
namespace {

using test::identity_of;
using test::node_id;

/// A member that keeps coordinates, and nothing else.
struct Place {
  explicit Place(uint32_t number, bool disabled = false)
      : context{options(disabled), identity_of(number), Random(number), {}, {}, {}, {}, {}, {}},
        coordinates(context) {}

  static Options options(bool disabled) {
    Options options;
    options.disable_coordinates = disabled;
    return options;
  }
  [[nodiscard]] proto::Ack ack() const {
    proto::Ack ack;
    coordinates.write(ack);
    return ack;
  }
  void measure(const Place& other, Duration round_trip) {
    coordinates.measured(other.context.identity.id, other.ack(), round_trip);
  }

  Context context;
  Coordinates coordinates;
};

double apart_ms(const Place& a, const Place& b) {
  return a.coordinates.own().distance_to(b.coordinates.own()) * 1000;
}

}  // namespace

TEST_CASE("two members that probe each other know their distance") {
  Place a(1);
  Place b(2);
  for (int i = 0; i < 100; ++i) {
    a.measure(b, 40ms);
    b.measure(a, 40ms);
  }
  CHECK(apart_ms(a, b) == Approx(40).epsilon(0.02));
  CHECK(a.coordinates.own().error < 0.1);
  REQUIRE(a.coordinates.of(node_id(2)) != nullptr);
  CHECK(a.coordinates.own().distance_to(*a.coordinates.of(node_id(2))) * 1000 ==
        Approx(40).epsilon(0.05));
}

TEST_CASE("members on one switch are a fraction of a millisecond apart") {
  Place a(1);
  Place b(2);
  for (int i = 0; i < 300; ++i) {
    a.measure(b, 200us);
    b.measure(a, 200us);
  }
  CHECK(apart_ms(a, b) == Approx(0.2).epsilon(0.1));
}

TEST_CASE("one slow answer among fast ones moves nobody") {
  Place a(1);
  Place b(2);
  for (int i = 0; i < 100; ++i) {
    a.measure(b, 10ms);
    b.measure(a, 10ms);
  }
  const double before = apart_ms(a, b);
  a.measure(b, 900ms);
  CHECK(apart_ms(a, b) == Approx(before).epsilon(0.05));
}

TEST_CASE("a coordinate survives the wire in few bytes") {
  Coordinate coordinate;
  coordinate.vector = {0.05F, -0.0321F, 0, 0.000001F, -0.0005F, 0.02F, 0.011F, -0.04F};
  coordinate.error = 0.125F;
  coordinate.adjustment = -0.0021F;
  coordinate.height = 0.00035F;
  const proto::Coordinate wire = to_wire(coordinate);
  CHECK(wire.ByteSizeLong() <= 40);
  const auto back = from_wire(wire);
  REQUIRE(back);
  for (size_t i = 0; i < Coordinate::kDimensions; ++i) {
    CHECK(back->vector[i] == Approx(coordinate.vector[i]).margin(1e-6));
  }
  CHECK(back->error == Approx(0.125));
  CHECK(back->adjustment == Approx(-0.0021).margin(1e-6));
  CHECK(back->height == Approx(0.00035).margin(1e-6));
}

TEST_CASE("impossible coordinates are not believed") {
  Place a(1);
  Place b(2);
  a.measure(b, 10ms);
  const Coordinate before = a.coordinates.own();
  proto::Ack ack = b.ack();
  SECTION("of other dimensions") {
    ack.mutable_coordinate()->add_vector(1);
  }
  SECTION("without dimensions") {
    ack.mutable_coordinate()->clear_vector();
  }
  SECTION("beyond the earth") {
    ack.mutable_coordinate()->set_vector(3, INT32_MIN);
  }
  SECTION("too high") {
    ack.mutable_coordinate()->set_height(UINT32_MAX);
  }
  SECTION("too wrong") {
    ack.mutable_coordinate()->set_error(1501);
  }
  SECTION("adjusted away") {
    ack.mutable_coordinate()->set_adjustment(-61'000'000);
  }
  a.coordinates.measured(node_id(2), ack, 10ms);
  CHECK(a.coordinates.own() == before);
  CHECK(a.context.statistics.rejected_coordinates == 1);
}

TEST_CASE("impossible round trips change nothing") {
  Place a(1);
  Place b(2);
  a.measure(b, -1ms);
  a.measure(b, 11s);
  CHECK(a.context.statistics.rejected_coordinates == 2);
  CHECK(a.coordinates.own() == Coordinate());
  CHECK(a.coordinates.size() == 0);
  a.measure(b, Duration::zero());  // clocks are coarse: this happens
  CHECK(a.context.statistics.rejected_coordinates == 2);
  CHECK(a.coordinates.own().valid());
}

TEST_CASE("numbers that are none are not valid") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), 61.0F, -61.0F}) {
    Coordinate coordinate;
    coordinate.vector[7] = bad;
    CHECK_FALSE(coordinate.valid());
    coordinate = Coordinate();
    coordinate.height = bad;
    CHECK_FALSE(coordinate.valid());
    coordinate = Coordinate();
    coordinate.adjustment = bad;
    CHECK_FALSE(coordinate.valid());
    coordinate = Coordinate();
    coordinate.error = bad;
    CHECK_FALSE(coordinate.valid());
  }
}

TEST_CASE("whatever a liar says an own coordinate stays possible") {
  Place a(1);
  Random random(3);
  for (int i = 0; i < 100'000; ++i) {
    proto::Ack ack;
    proto::Coordinate& lie = *ack.mutable_coordinate();
    for (size_t part = 0; part < Coordinate::kDimensions; ++part) {
      lie.add_vector(static_cast<int32_t>(random.below(120'000'001)) - 60'000'000);
    }
    lie.set_height(static_cast<uint32_t>(random.below(60'000'001)));
    lie.set_adjustment(static_cast<int32_t>(random.below(120'000'001)) - 60'000'000);
    lie.set_error(static_cast<uint32_t>(random.below(1501)));
    a.coordinates.measured(node_id(2), ack,
                           Duration(static_cast<int64_t>(random.below(10'000'000'000))));
    if (!a.coordinates.own().valid()) FAIL("after " << i);
  }
  CHECK(a.context.statistics.rejected_coordinates == 0);
}

TEST_CASE("a member without coordinates says nothing and hears nothing") {
  Place a(1, true);
  Place b(2);
  CHECK_FALSE(a.ack().has_coordinate());
  a.measure(b, 10ms);
  b.measure(a, 10ms);  // as an older member would answer
  CHECK(a.coordinates.size() == 0);
  CHECK(b.coordinates.size() == 0);
  CHECK(b.context.statistics.rejected_coordinates == 0);
}

TEST_CASE("coordinates are told for keeping when they change and taken back") {
  Place a(1);
  Place b(2);
  CHECK(a.coordinates.take_changed().empty());
  a.measure(b, 10ms);
  const auto changed = a.coordinates.take_changed();
  REQUIRE(changed.size() == 2);
  CHECK(a.coordinates.take_changed().empty());
  Place again(1);
  again.coordinates.restore(changed);
  CHECK(again.coordinates.own() == a.coordinates.own());
  REQUIRE(again.coordinates.of(node_id(2)) != nullptr);
  CHECK(*again.coordinates.of(node_id(2)) == *a.coordinates.of(node_id(2)));
  again.coordinates.forget(node_id(2));
  CHECK(again.coordinates.of(node_id(2)) == nullptr);
}

}  // namespace starling::membership
