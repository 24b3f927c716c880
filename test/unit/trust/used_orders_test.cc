// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/used_orders.h"

#include "test/catch.h"

namespace starling::agent {

namespace {

std::string nonce(int number) {
  std::string text(16, '\0');
  text[0] = static_cast<char>(number);
  text[1] = static_cast<char>(number >> 8);
  return text;
}

OperatorKey key(uint8_t number) {
  OperatorKey key;
  key.bytes[0] = number;
  return key;
}

/// As the store gives it back.
StoredOrders stored(const std::vector<PutOrder>& changes) {
  StoredOrders orders;
  for (const PutOrder& change : changes) {
    orders.orders.emplace_back(change.id, change.not_after_ms);
    orders.horizon_ms = change.horizon_ms;
  }
  return orders;
}

}  // namespace

TEST_CASE("an order is carried out once, before and after a restart") {
  UsedOrders used;
  REQUIRE(used.check(key(1), nonce(1), 100, 10));
  const PutOrder change = used.use(key(1), nonce(1), 100, 10);
  CHECK(used.check(key(1), nonce(1), 100, 11).error().kind == ErrorKind::kConflict);
  CHECK(used.check(key(1), nonce(2), 100, 11));
  CHECK(used.check(key(2), nonce(1), 100, 11));  // nobody uses up the nonce of another
  const UsedOrders again(stored({change}));
  CHECK(again.check(key(1), nonce(1), 100, 12).error().kind == ErrorKind::kConflict);
}

TEST_CASE("an order whose time is over is refused, whatever the clock says later") {
  UsedOrders used;
  CHECK(used.check(key(1), nonce(1), 100, 100).error().kind == ErrorKind::kTimeout);
  std::vector<PutOrder> changes;
  changes.push_back(used.use(key(1), nonce(1), 100, 10));
  changes.push_back(used.use(key(1), nonce(2), 500, 200));
  CHECK(used.size() == 1);
  // The clock is set back: the first has been forgotten, and is refused all the same.
  CHECK(used.check(key(1), nonce(1), 100, 20).error().kind == ErrorKind::kTimeout);
  const UsedOrders again(stored({changes.back()}));
  CHECK(again.check(key(1), nonce(1), 100, 20).error().kind == ErrorKind::kTimeout);
}

TEST_CASE("a full memory forgets what ends first and accepts nothing that ends before") {
  UsedOrders used({}, 3);
  for (int i = 0; i < 3; ++i) used.use(key(1), nonce(i), 100 + i, 10);
  used.use(key(1), nonce(3), 200, 10);
  CHECK(used.size() == 3);
  CHECK(used.forgotten_early() == 1);
  for (int i = 0; i < 4; ++i) {
    CAPTURE(i);
    CHECK_FALSE(used.check(key(1), nonce(i), i < 3 ? 100 + i : 200, 11));
  }
  const auto brief = used.check(key(1), nonce(9), 100, 11);
  REQUIRE_FALSE(brief);
  CHECK(brief.error().message.find("-valid-for") != std::string::npos);
  CHECK(used.check(key(1), nonce(9), 300, 11));
}

}  // namespace starling::agent
