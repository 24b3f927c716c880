// SPDX-License-Identifier: Apache-2.0
//
// Whom the agent trusts, and what it thinks of orders before they go out.
#include <utility>

#include "agent/control/service.h"
#include "proto/support/unix_time.h"

namespace starling::agent {

using control::OperatorsRequest;
using control::Reply;

/// False, with the error replied: what this agent would refuse, or who cannot verify a signature.
bool Service::admits(const Client& client, const Order& order, const std::string& authorization) {
  if (auto admitted = parts_.gate.check(order, authorization); !admitted) {
    reply_error(client, admitted.error().message);
    return false;
  }
  return true;
}

/// The same for an order that this agent carries out itself, at once.
bool Service::obeys(const Client& client, const Order& order, const std::string& authorization) {
  const std::string& own = parts_.cluster.node().identity().name;
  const OrderVerdict verdict =
      parts_.gate.judge(order, authorization, own, "control-" + std::to_string(client.request));
  if (verdict.used) parts_.store.save({*verdict.used});
  if (!verdict.allowed) reply_error(client, verdict.reason);
  return verdict.allowed;
}

void Service::operators(const Client& client, const OperatorsRequest& request) {
  if (request.action() == OperatorsRequest::LIST) return list_operators(client);
  if (!client.session->is_owner()) {
    return reply_error(client,
                       "only root and the user that the agent runs as may change whom it trusts");
  }
  Operators& known = parts_.gate.operators();
  Result<StoredOperator> changed;
  if (request.action() == OperatorsRequest::TRUST) {
    const auto named = NamedKey::parse(request.who());
    if (!named) return reply_error(client, named.error().message);
    changed = known.trust(*named, unix_milliseconds());
  } else {
    changed = known.revoke(request.who(), unix_milliseconds());
  }
  if (!changed) return reply_error(client, changed.error().message);
  parts_.admission.review();
  const auto key = OperatorKey::from_wire(changed->key);
  parts_.gate.note(std::string(changed->revoked ? "revoked" : "trusted") + " operator " +
                   changed->name + " (" + key->id() + "), by a user of this host");
  parts_.store.save({PutOperator{*changed}}, [this, client, alive = std::weak_ptr<bool>(alive_)](
                                                 const Result<void>& saved) {
    if (!alive.lock()) return;
    if (saved) return list_operators(client);
    reply_error(client, "it is done, but this agent cannot keep it: " + saved.error().message);
  });
}

void Service::list_operators(const Client& client) {
  Reply answer;
  control::OperatorsReply& body = *answer.mutable_operators();
  for (const Operators::Entry& entry : parts_.gate.operators().list()) {
    control::Operator& one = *body.add_operators();
    one.set_name(entry.named.name);
    one.set_id(entry.named.key.id());
    one.set_line(entry.named.line());
    one.set_source(entry.configured ? "configuration" : "trust");
    one.set_revoked(entry.revoked);
    one.set_since_ms(entry.since_ms);
  }
  reply(client, std::move(answer));
}

}  // namespace starling::agent
