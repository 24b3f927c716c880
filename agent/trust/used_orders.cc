// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/used_orders.h"

#include <sodium.h>

#include <algorithm>

namespace starling::agent {

namespace {

/// Nobody can use up the nonce of another.
std::string id_of(const OperatorKey& key, std::string_view nonce) {
  std::string id(crypto_generichash_BYTES_MIN, '\0');
  crypto_generichash(reinterpret_cast<uint8_t*>(id.data()), id.size(),
                     reinterpret_cast<const uint8_t*>(nonce.data()), nonce.size(), key.bytes.data(),
                     key.bytes.size());
  return id;
}

}  // namespace

UsedOrders::UsedOrders(StoredOrders stored, size_t limit)
    : limit_(limit), horizon_ms_(stored.horizon_ms) {
  for (auto& [id, not_after_ms] : stored.orders) {
    if (!orders_.emplace(id, not_after_ms).second) continue;
    ends_.emplace(not_after_ms, id);
  }
  while (orders_.size() > limit_) forget_first();
}

Result<void> UsedOrders::check(const OperatorKey& key, std::string_view nonce, int64_t not_after_ms,
                               int64_t now_ms) const {
  if (not_after_ms <= now_ms) {
    return fail(ErrorKind::kTimeout,
                "its time is over, by this host's clock: sign it again (-valid-for gives it more "
                "time), or set the clock");
  }
  if (orders_.contains(id_of(key, nonce))) {
    return fail(ErrorKind::kConflict, "it has been here before: a signature is good for one order");
  }
  if (not_after_ms <= horizon_ms_) {
    return fail(ErrorKind::kTimeout,
                "it is valid for too short a time: this agent no longer remembers all orders that "
                "were valid until then; sign it with a longer -valid-for");
  }
  return {};
}

void UsedOrders::forget_first() {
  const auto first = ends_.begin();
  horizon_ms_ = std::max(horizon_ms_, first->first);
  orders_.erase(first->second);
  ends_.erase(first);
}

PutOrder UsedOrders::use(const OperatorKey& key, std::string_view nonce, int64_t not_after_ms,
                         int64_t now_ms) {
  while (!ends_.empty() && ends_.begin()->first <= now_ms) forget_first();
  if (orders_.size() >= limit_) {
    ++forgotten_early_;
    forget_first();
  }
  const std::string id = id_of(key, nonce);
  orders_[id] = not_after_ms;
  ends_.emplace(not_after_ms, id);
  return {id, not_after_ms, horizon_ms_};
}

}  // namespace starling::agent
