// SPDX-License-Identifier: Apache-2.0
#include "agent/arrived_orders.h"

#include "agent/job_desk.h"
#include "agent/key_keeper.h"
#include "agent/reachability.h"
#include "agent/trust/statement.h"
#include "proto/gossip.pb.h"

namespace starling::agent {

ArrivedOrder arrived_order(const membership::UserEventArrived& event) {
  ArrivedOrder arrived;
  arrived.order.kind = OrderKind::kEvent;
  arrived.order.name = event.name;
  arrived.order.payload = event.payload;
  arrived.order.coalesce = event.coalesce;
  proto::UserEvent record;
  if (record.ParseFromString(event.record)) arrived.authorization = record.authorization();
  return arrived;
}

std::optional<ArrivedOrder> arrived_order(const membership::QueryArrived& query) {
  // Statements about nodes are signed themselves.
  if (query.name == kReachabilityQuery || query.name == kNodesQuery) return std::nullopt;
  proto::Query record;
  // The core has read it before; if this were not so, it would be unsigned and for nobody.
  if (!record.ParseFromString(query.record)) record.Clear();
  std::vector<std::string> nodes(record.filter_nodes().begin(), record.filter_nodes().end());
  ArrivedOrder arrived;
  arrived.authorization = record.authorization();
  if (query.name == kKeysQuery) {
    control::KeysRequest request;
    // What cannot be read is answered with that.
    if (!request.ParseFromString(query.payload) || !is_order(request)) return std::nullopt;
    arrived.order = order_of(request);
    arrived.order.nodes = std::move(nodes);
  } else if (query.name == kJobQuery) {
    control::JobRequest request;
    if (!request.ParseFromString(query.payload) || !is_order(request)) return std::nullopt;
    arrived.order = order_of(request, std::move(nodes));
  } else {
    arrived.order.kind = OrderKind::kQuery;
    arrived.order.name = query.name;
    arrived.order.payload = query.payload;
    arrived.order.nodes = std::move(nodes);
  }
  for (const proto::TagFilter& tag : record.filter_tags()) {
    arrived.order.tags.emplace_back(tag.key(), tag.expression());
  }
  if (record.audience() == proto::AUDIENCE_HEALTHY) arrived.order.audience = "healthy";
  if (record.audience() == proto::AUDIENCE_DEGRADED) arrived.order.audience = "degraded";
  return arrived;
}

}  // namespace starling::agent
