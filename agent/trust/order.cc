// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/order.h"

#include <sodium.h>

#include "agent/trust/signed_text.h"

namespace starling::agent {

namespace {

constexpr std::string_view kDomain = "starling-order-v1";

std::string digest_of(std::string_view payload) {
  std::string digest(crypto_generichash_BYTES, '\0');
  crypto_generichash(reinterpret_cast<uint8_t*>(digest.data()), digest.size(),
                     reinterpret_cast<const uint8_t*>(payload.data()), payload.size(), nullptr, 0);
  return digest;
}

std::string text_of(const Order& order, const trust::Authorization& given) {
  SignedText text;
  text.field(kDomain)
      .field(order_kind_name(order.kind))
      .field(order.name)
      .field(digest_of(order.payload))
      .number(order.coalesce ? 1 : 0)
      .field(order.audience);
  text.number(order.nodes.size());
  for (const std::string& node : order.nodes) text.field(node);
  text.number(order.tags.size());
  for (const auto& [key, value] : order.tags) text.field(key).field(value);
  text.field(given.operator_key())
      .field(given.nonce())
      .number(static_cast<uint64_t>(given.issued_ms()))
      .number(static_cast<uint64_t>(given.not_after_ms()));
  return text.text();
}

std::string operation_name(control::KeysRequest::Operation operation) {
  switch (operation) {
    case control::KeysRequest::INSTALL:
      return "install";
    case control::KeysRequest::USE:
      return "use";
    case control::KeysRequest::REMOVE:
      return "remove";
    default:
      return "list";
  }
}

std::string action_name(control::JobRequest::Action action) {
  switch (action) {
    case control::JobRequest::KILL:
      return "kill";
    case control::JobRequest::RETRY:
      return "retry";
    case control::JobRequest::PRUNE:
      return "prune";
    default:
      return "read";
  }
}

}  // namespace

std::string_view order_kind_name(OrderKind kind) {
  switch (kind) {
    case OrderKind::kEvent:
      return "event";
    case OrderKind::kQuery:
      return "query";
    case OrderKind::kForceLeave:
      return "force-leave";
    case OrderKind::kKeys:
      return "keys";
    case OrderKind::kTags:
      return "tags";
    case OrderKind::kJobs:
      return "jobs";
    case OrderKind::kNodes:
      return "nodes";
  }
  return "event";
}

std::string Order::describe() const {
  std::string text(order_kind_name(kind));
  if (!name.empty()) text += " \"" + name + "\"";
  const bool sized = kind == OrderKind::kEvent || kind == OrderKind::kQuery;
  if (sized) text += " (" + std::to_string(payload.size()) + " bytes)";
  if (kind == OrderKind::kJobs) text += " " + payload;
  return text;
}

std::string sign_order(const Order& order, const SigningKey& key, int64_t now_ms,
                       int64_t validity_ms) {
  trust::Authorization given;
  given.set_operator_key(std::string(key.public_key().wire()));
  std::string nonce(kNonceSize, '\0');
  randombytes_buf(nonce.data(), nonce.size());
  given.set_nonce(nonce);
  given.set_issued_ms(now_ms);
  given.set_not_after_ms(now_ms + validity_ms);
  given.set_signature(key.sign(text_of(order, given)));
  return given.SerializeAsString();
}

Result<SignedOrder> verify_order(const Order& order, std::string_view authorization) {
  trust::Authorization given;
  const bool read =
      given.ParseFromArray(authorization.data(), static_cast<int>(authorization.size()));
  const auto key = read ? OperatorKey::from_wire(given.operator_key()) : std::nullopt;
  if (!key || given.nonce().size() != kNonceSize) {
    return fail(ErrorKind::kInvalid, "its signature cannot be read");
  }
  if (!verify(*key, text_of(order, given), given.signature())) {
    return fail(ErrorKind::kInvalid, "its signature by key " + key->id() +
                                         " does not hold: somebody has changed it, or signed it "
                                         "with a version that says it otherwise");
  }
  return SignedOrder{*key, given.nonce(), given.issued_ms(), given.not_after_ms()};
}

// --- requests ----------------------------------------------------------------------------------

Order order_of(const control::EventRequest& request) {
  Order order;
  order.kind = OrderKind::kEvent;
  order.name = request.name();
  order.payload = request.payload();
  order.coalesce = request.coalesce();
  return order;
}

Order order_of(const control::QueryRequest& request) {
  Order order;
  order.kind = OrderKind::kQuery;
  order.name = request.name();
  order.payload = request.payload();
  order.nodes.assign(request.nodes().begin(), request.nodes().end());
  for (const control::KeyValue& tag : request.tags()) {
    order.tags.emplace_back(tag.key(), tag.value());
  }
  if (request.status() != "alive") order.audience = request.status();
  return order;
}

Order order_of(const control::ForceLeaveRequest& request) {
  Order order;
  order.kind = OrderKind::kForceLeave;
  order.name = request.node();
  order.payload = request.prune() ? "prune" : "";
  return order;
}

Order order_of(const control::TagsRequest& request) {
  Order order;
  order.kind = OrderKind::kTags;
  for (const control::KeyValue& tag : request.set()) {
    order.tags.emplace_back(tag.key(), tag.value());
  }
  SignedText removed;
  for (const std::string& key : request.remove()) removed.field(key);
  order.payload = removed.text();
  return order;
}

Order order_of(const control::KeysRequest& request) {
  Order order;
  order.kind = OrderKind::kKeys;
  order.name = operation_name(request.operation());
  order.payload = request.key();
  return order;
}

Order order_of(const control::JobRequest& request, std::vector<std::string> nodes) {
  Order order;
  order.kind = OrderKind::kJobs;
  order.name = action_name(request.action());
  order.nodes = std::move(nodes);
  if (request.action() == control::JobRequest::PRUNE) {
    order.payload = "older than " + std::to_string(request.older_than_ms()) + " ms, keep " +
                    std::to_string(request.keep());
  } else {
    order.payload = std::to_string(request.number());
  }
  return order;
}

bool is_order(const control::KeysRequest& request) {
  return request.operation() != control::KeysRequest::LIST;
}

bool is_order(const control::JobRequest& request) {
  return request.action() == control::JobRequest::KILL ||
         request.action() == control::JobRequest::RETRY ||
         request.action() == control::JobRequest::PRUNE;
}

bool sign_request(control::Request& request, const SigningKey& key, int64_t now_ms,
                  int64_t validity_ms) {
  const auto sign = [&](const Order& order, auto& body) {
    body.set_authorization(sign_order(order, key, now_ms, validity_ms));
    return true;
  };
  switch (request.body_case()) {
    case control::Request::kEvent:
      return sign(order_of(request.event()), *request.mutable_event());
    case control::Request::kQuery:
      return sign(order_of(request.query()), *request.mutable_query());
    case control::Request::kForceLeave:
      return sign(order_of(request.force_leave()), *request.mutable_force_leave());
    case control::Request::kTags:
      return sign(order_of(request.tags()), *request.mutable_tags());
    case control::Request::kKeys:
      if (!is_order(request.keys())) return false;
      return sign(order_of(request.keys()), *request.mutable_keys());
    case control::Request::kJob:
      if (!is_order(request.job()) || request.job().node().empty()) return false;
      return sign(order_of(request.job(), {request.job().node()}), *request.mutable_job());
    default:
      return false;
  }
}

}  // namespace starling::agent
