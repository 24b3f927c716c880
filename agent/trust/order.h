// SPDX-License-Identifier: Apache-2.0
//
// Orders, and how operators sign them. What is signed is a text made of what the order says, field
// by field, each behind its length: it begins with a word of its own, so that no signature under
// anything else is one under an order. Whoever carries an order out makes the same text of what has
// reached him. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/trust/key.h"
#include "proto/control.pb.h"
#include "proto/support/result.h"
#include "proto/trust.pb.h"

namespace starling::agent {

enum class OrderKind : uint8_t { kEvent, kQuery, kForceLeave, kKeys, kTags, kJobs, kNodes };

/// "event", "query", "force-leave", "keys", "tags", "jobs", "nodes".
[[nodiscard]] std::string_view order_kind_name(OrderKind kind);

/// What is to be done, and by whom. All of it is signed.
struct Order {
  OrderKind kind = OrderKind::kEvent;
  /// Of the event or query; the member that is to leave; "install", "use" or "remove" a key;
  /// "kill", "retry" or "prune" jobs; of tags: "".
  std::string name;
  std::string payload;  ///< a digest of it is signed
  /// Which members it is for, as in a query; none: all.
  std::vector<std::string> nodes;
  std::vector<std::pair<std::string, std::string>> tags;
  std::string audience;   ///< of a query: "", "healthy" or "degraded"
  bool coalesce = false;  ///< of an event

  /// 'event "deploy" (2 bytes)', for people and logs.
  [[nodiscard]] std::string describe() const;
};

inline constexpr size_t kNonceSize = 16;
inline constexpr int64_t kUsualValidity_ms = int64_t{24} * 3600 * 1000;
/// Nobody may sign for longer: agents remember each order for as long as it is valid.
inline constexpr int64_t kMostValidity_ms = 30 * kUsualValidity_ms;

/// The Authorization, encoded. `now_ms`: unix milliseconds.
[[nodiscard]] std::string sign_order(const Order& order, const SigningKey& key, int64_t now_ms,
                                     int64_t validity_ms);

/// What a signature that holds says.
struct SignedOrder {
  OperatorKey key;
  std::string nonce;
  int64_t issued_ms = 0;
  int64_t not_after_ms = 0;
};
/// kInvalid: the authorization cannot be read, or is not one of this order.
[[nodiscard]] Result<SignedOrder> verify_order(const Order& order, std::string_view authorization);

// What a user asks for, as an order:
[[nodiscard]] Order order_of(const control::EventRequest& request);
[[nodiscard]] Order order_of(const control::QueryRequest& request);
[[nodiscard]] Order order_of(const control::ForceLeaveRequest& request);
[[nodiscard]] Order order_of(const control::TagsRequest& request);
[[nodiscard]] Order order_of(const control::KeysRequest& request);
/// `nodes`: who is asked, as the query names them that carries the request.
[[nodiscard]] Order order_of(const control::JobRequest& request, std::vector<std::string> nodes);

/// Whether a request changes something on other hosts; the others are not signed.
[[nodiscard]] bool is_order(const control::KeysRequest& request);
[[nodiscard]] bool is_order(const control::JobRequest& request);

/// Puts an authorization of the order into the request; false: there is nothing in it to be signed.
bool sign_request(control::Request& request, const SigningKey& key, int64_t now_ms,
                  int64_t validity_ms);

}  // namespace starling::agent
