// SPDX-License-Identifier: Apache-2.0
//
// `keys`: asks every living member, this one included, to change its keys or to tell them.
#include <memory>
#include <utility>

#include "agent/control/service.h"
#include "agent/key_keeper.h"

namespace starling::agent {

using control::KeysRequest;

void Service::keys(const Client& client, const KeysRequest& request) {
  if (request.operation() != KeysRequest::LIST) {
    if (auto valid = KeyKeeper::check(request.key()); !valid) {
      return reply_error(client, valid.error().message);
    }
  }
  if (is_order(request) && !admits(client, order_of(request), request.authorization())) return;
  KeysRequest told = request;
  told.clear_authorization();
  membership::QueryOptions options;
  options.name = kKeysQuery;
  options.payload = told.SerializeAsString();
  options.authorization = request.authorization();
  const auto round = std::make_shared<std::unique_ptr<KeyRound>>();
  Cluster::QueryListener listener;
  listener.answered = [round](const membership::QueryAnswered& answered) {
    (*round)->answered(answered);
  };
  listener.ended = [this, client, round](const membership::QueryEnded& ended) {
    query_over(client);
    reply(client, (*round)->end(ended.silent));
  };
  membership::QueryHandle handle;
  if (!start_query(client, options, std::move(listener), &handle)) return;
  *round = std::make_unique<KeyRound>(handle.addressed, parts_.cluster.node().members());
}

}  // namespace starling::agent
