// SPDX-License-Identifier: Apache-2.0
//
// What came through the cluster, as orders. Pure.
#pragma once

#include <optional>
#include <string>

#include "agent/trust/order.h"
#include "membership/action.h"

namespace starling::agent {

struct ArrivedOrder {
  Order order;
  std::string authorization;
};

[[nodiscard]] ArrivedOrder arrived_order(const membership::UserEventArrived& event);
/// None: a question of agents among themselves that changes nothing.
[[nodiscard]] std::optional<ArrivedOrder> arrived_order(const membership::QueryArrived& query);

}  // namespace starling::agent
