// SPDX-License-Identifier: Apache-2.0
//
// Who is admitted to the cluster and banned from it, and who would like to be heard.
#include <utility>

#include "agent/control/service.h"
#include "agent/trust/admission_desk.h"
#include "proto/support/unix_time.h"

namespace starling::agent {

using control::NodesRequest;
using control::Reply;

namespace {

std::string id_text(const std::string& wire) {
  const auto id = membership::NodeId::from_wire(wire);
  return id ? id->to_string() : "";
}

void write(const Admissions::Entry& entry, control::NodeStatement& wire) {
  const trust::Statement& statement = entry.statement;
  wire.set_id(id_text(statement.node()));
  std::string state = statement.banned() ? "banned" : "admitted";
  if (statement.node() == Admissions::kEverybody.wire()) {
    state = statement.banned() ? "closed" : "open";
  }
  if (entry.expired) state = "expired";
  if (entry.by.empty()) state = "untrusted";
  wire.set_state(state);
  wire.set_name(statement.name());
  wire.set_reason(statement.reason());
  wire.set_operator_name(entry.by);
  wire.set_issued_ms(statement.issued_ms());
  wire.set_not_after_ms(statement.not_after_ms());
}

}  // namespace

void Service::nodes(const Client& client, const NodesRequest& request) {
  if (request.action() == NodesRequest::STATE) return state_node(client, request);
  const Admissions& admissions = parts_.admission.admissions();
  Reply answer;
  control::NodesReply& body = *answer.mutable_nodes();
  body.set_own_id(parts_.cluster.node().identity().id.to_string());
  body.set_required(admissions.required());
  body.set_enforced(admissions.enforced());
  if (request.action() == NodesRequest::PENDING) {
    for (const Admissions::Knock& knock : admissions.knocks()) {
      control::NodeKnock& wire = *body.add_pending();
      wire.set_id(knock.id.to_string());
      wire.set_name(knock.name);
      wire.set_count(knock.count);
      wire.set_last_ms(knock.last_ms);
    }
    // Who is heard, and would not be if operators had to admit them.
    for (const membership::Member& member : parts_.cluster.node().members()) {
      const bool up = membership::public_status(member.status) == "alive";
      if (!up || admissions.admitted(member.id, member.name, unix_milliseconds())) continue;
      control::NodeKnock& wire = *body.add_pending();
      wire.set_id(member.id.to_string());
      wire.set_name(member.name);
    }
  } else {
    for (const Admissions::Entry& entry : admissions.list(unix_milliseconds())) {
      write(entry, *body.add_nodes());
    }
  }
  reply(client, std::move(answer));
}

void Service::state_node(const Client& client, const NodesRequest& request) {
  trust::Statement statement;
  if (!statement.ParseFromString(request.statement())) {
    return reply_error(client, "the statement cannot be read");
  }
  parts_.admission.say(statement, [client](Result<AdmissionDesk::Told> told) {
    if (!told) return reply_error(client, told.error().message);
    Reply answer;
    control::NodesReply& body = *answer.mutable_nodes();
    body.set_asked(static_cast<uint32_t>(told->asked));
    body.set_taken(static_cast<uint32_t>(told->taken));
    for (const std::string& refusal : told->refused) body.add_refused(refusal);
    reply(client, std::move(answer));
  });
}

}  // namespace starling::agent
