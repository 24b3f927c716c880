// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/order.h"

#include <functional>
#include <vector>

#include "test/catch.h"

namespace starling::agent {

namespace {

constexpr int64_t kNow = 1'700'000'000'000;

Order query_order() {
  Order order;
  order.kind = OrderKind::kQuery;
  order.name = "uptime";
  order.payload = "v1";
  order.nodes = {"a", "b"};
  order.tags = {{"role", "web"}};
  return order;
}

}  // namespace

TEST_CASE("a signed order says who, when and how long") {
  const SigningKey key = SigningKey::generate();
  const std::string authorization = sign_order(query_order(), key, kNow, 1000);
  CHECK(authorization.size() <= 160);
  const auto read = verify_order(query_order(), authorization);
  REQUIRE(read);
  CHECK(read->key == key.public_key());
  CHECK(read->issued_ms == kNow);
  CHECK(read->not_after_ms == kNow + 1000);
  CHECK(read->nonce.size() == kNonceSize);
  CHECK(verify_order(query_order(), sign_order(query_order(), key, kNow, 1000))->nonce !=
        read->nonce);
}

TEST_CASE("a signature holds for nothing but the order that was signed") {
  const SigningKey key = SigningKey::generate();
  const std::string authorization = sign_order(query_order(), key, kNow, 1000);
  const std::vector<std::function<void(Order&)>> changes = {
      [](Order& order) { order.kind = OrderKind::kEvent; },
      [](Order& order) { order.name = "uptime2"; },
      [](Order& order) { order.payload = "v2"; },
      [](Order& order) { order.nodes = {"a"}; },
      [](Order& order) { order.nodes = {"ab"}; },
      [](Order& order) { order.nodes = {}; },
      [](Order& order) { order.tags = {}; },
      [](Order& order) { order.tags = {{"role", "db"}}; },
      [](Order& order) { order.tags = {{"rolew", "eb"}}; },
      [](Order& order) { order.audience = "degraded"; },
      [](Order& order) { order.coalesce = true; },
      [](Order& order) { order.name = "uptimev1", order.payload = ""; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    CAPTURE(i);
    Order changed = query_order();
    changes[i](changed);
    CHECK_FALSE(verify_order(changed, authorization));
  }
}

TEST_CASE("no byte of an authorization can be changed") {
  const SigningKey key = SigningKey::generate();
  const std::string authorization = sign_order(query_order(), key, kNow, 1000);
  const auto original = verify_order(query_order(), authorization);
  for (size_t i = 0; i < authorization.size(); ++i) {
    for (const int flip : {1, 0x80}) {
      std::string changed = authorization;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      const auto read = verify_order(query_order(), changed);
      CAPTURE(i);
      if (!read) continue;
      // Another encoding of the same: what counts is the same.
      CHECK(read->nonce == original->nonce);
      CHECK(read->not_after_ms == original->not_after_ms);
      CHECK(read->key == original->key);
    }
  }
  for (size_t size = 0; size < authorization.size(); ++size) {
    CHECK_FALSE(verify_order(query_order(), std::string_view(authorization).substr(0, size)));
  }
}

TEST_CASE("requests are signed in place, and only those that order something") {
  const SigningKey key = SigningKey::generate();
  control::Request request;
  request.mutable_event()->set_name("deploy");
  request.mutable_event()->set_payload("v1");
  request.mutable_event()->set_coalesce(true);
  REQUIRE(sign_request(request, key, kNow, 1000));
  CHECK(verify_order(order_of(request.event()), request.event().authorization()));

  request.mutable_query()->set_name("uptime");
  request.mutable_query()->set_status("alive");
  REQUIRE(sign_request(request, key, kNow, 1000));
  CHECK(verify_order(order_of(request.query()), request.query().authorization()));
  request.mutable_query()->set_status("");  // means the same
  CHECK(verify_order(order_of(request.query()), request.query().authorization()));

  request.mutable_tags()->add_remove("dc");
  REQUIRE(sign_request(request, key, kNow, 1000));
  CHECK(verify_order(order_of(request.tags()), request.tags().authorization()));
  request.mutable_tags()->add_remove("role");
  CHECK_FALSE(verify_order(order_of(request.tags()), request.tags().authorization()));

  request.mutable_force_leave()->set_node("web1");
  REQUIRE(sign_request(request, key, kNow, 1000));
  request.mutable_force_leave()->set_prune(true);
  CHECK_FALSE(verify_order(order_of(request.force_leave()), request.force_leave().authorization()));

  request.mutable_keys()->set_operation(control::KeysRequest::LIST);
  CHECK_FALSE(sign_request(request, key, kNow, 1000));
  request.mutable_keys()->set_operation(control::KeysRequest::USE);
  CHECK(sign_request(request, key, kNow, 1000));

  request.mutable_job()->set_action(control::JobRequest::KILL);
  request.mutable_job()->set_number(7);
  CHECK_FALSE(sign_request(request, key, kNow, 1000));  // of this host: nobody is asked
  request.mutable_job()->set_node("web1");
  REQUIRE(sign_request(request, key, kNow, 1000));
  const std::string& authorization = request.job().authorization();
  CHECK(verify_order(order_of(request.job(), {"web1"}), authorization));
  CHECK_FALSE(verify_order(order_of(request.job(), {"*"}), authorization));
  request.mutable_info();
  CHECK_FALSE(sign_request(request, key, kNow, 1000));
}

TEST_CASE("an order is described without what may be secret") {
  control::KeysRequest keys;
  keys.set_operation(control::KeysRequest::INSTALL);
  keys.set_key("c2VjcmV0");
  CHECK(order_of(keys).describe() == "keys \"install\"");
  control::EventRequest event;
  event.set_name("deploy");
  event.set_payload("password");
  CHECK(order_of(event).describe() == "event \"deploy\" (8 bytes)");
  control::JobRequest job;
  job.set_action(control::JobRequest::RETRY);
  job.set_number(12);
  CHECK(order_of(job, {"web1"}).describe() == "jobs \"retry\" 12");
}

}  // namespace starling::agent
