// SPDX-License-Identifier: Apache-2.0
//
// Requests about jobs: of this host, or of another one through a query to it alone.
#include <algorithm>
#include <utility>

#include "agent/control/service.h"
#include "agent/job_desk.h"

namespace starling::agent {

using control::Reply;

namespace {

// For the answer, beside what the request itself waits.
constexpr auto kAnswerTime = std::chrono::seconds(8);
// Jobs of one cause on one member.
constexpr uint32_t kMostGathered = 256;
constexpr const char* kDoesNotKnow = "it does not know about jobs: it may be older than this agent";

std::string no_such_member(const std::string& name) {
  return "there is no living member " + name + "; see: starling members";
}

}  // namespace

void Service::job(const Client& client, const control::JobRequest& request) {
  if (request.action() == control::JobRequest::GATHER) return gather_jobs(client, request);
  const std::string& own = parts_.cluster.node().self().name;
  if (!request.node().empty() && request.node() != own) return remote_job(client, request);
  parts_.desk.ask(request, [client, own](Result<control::JobReply> result) {
    if (!result) return reply_error(client, result.error().message);
    Reply answer;
    *answer.mutable_job() = *std::move(result);
    answer.mutable_job()->set_node(own);
    reply(client, std::move(answer));
  });
}

void Service::remote_job(const Client& client, const control::JobRequest& request) {
  // A query's name may be a pattern: what ends or repeats jobs must not meet several members.
  if (!parts_.cluster.node().member(request.node())) {
    return reply_error(client, no_such_member(request.node()));
  }
  if (is_order(request) &&
      !admits(client, order_of(request, {request.node()}), request.authorization())) {
    return;
  }
  control::JobRequest told_on = request;
  told_on.clear_authorization();
  membership::QueryOptions options;
  options.name = kJobQuery;
  options.payload = told_on.SerializeAsString();
  options.authorization = request.authorization();
  options.nodes = {request.node()};
  options.timeout = std::chrono::milliseconds(request.wait_ms()) + kAnswerTime;
  const auto answered = std::make_shared<bool>(false);
  Cluster::QueryListener listener;
  listener.answered = [this, client, answered](const membership::QueryAnswered& told) {
    if (told.kind == membership::ReplyKind::kAck || std::exchange(*answered, true)) return;
    query_over(client);
    if (told.kind != membership::ReplyKind::kResponse) {
      return reply_error(client,
                         told.from + ": " + (told.error.empty() ? kDoesNotKnow : told.error));
    }
    Reply answer;
    if (!answer.mutable_job()->ParseFromString(told.payload)) {
      return reply_error(client, told.from + ": its answer cannot be read");
    }
    answer.mutable_job()->set_node(told.from);
    reply(client, std::move(answer));
  };
  listener.ended = [this, client, answered, node = request.node()](const membership::QueryEnded&) {
    if (std::exchange(*answered, true)) return;
    query_over(client);
    reply_error(client, node + " did not answer: see starling members and starling reachability");
  };
  membership::QueryHandle handle;
  if (!start_query(client, options, std::move(listener), &handle)) return;
  if (handle.addressed > 0 || std::exchange(*answered, true)) return;
  query_over(client);
  reply_error(client, no_such_member(request.node()));
}

/// One query asks them all; the answers are handed on as they come.
void Service::gather_jobs(const Client& client, const control::JobRequest& request) {
  control::JobRequest question;
  question.set_action(control::JobRequest::LIST);
  question.set_cause(request.cause());
  question.set_limit(kMostGathered);
  question.set_wait_ms(std::min<uint32_t>(request.wait_ms(), JobDesk::kMostWait_ms));
  membership::QueryOptions options;
  options.name = kJobQuery;
  options.payload = question.SerializeAsString();
  options.nodes.assign(request.nodes().begin(), request.nodes().end());
  options.timeout = std::chrono::milliseconds(question.wait_ms()) + kAnswerTime;
  Cluster::QueryListener listener;
  listener.answered = [this, client](const membership::QueryAnswered& told) {
    const auto found = queries_.find(key_of(client));
    if (found == queries_.end() || told.kind == membership::ReplyKind::kAck) return;
    Reply answer;
    control::JobReply& body = *answer.mutable_job();
    if (told.kind != membership::ReplyKind::kResponse) {
      body.set_error(told.error.empty() ? kDoesNotKnow : told.error);
    } else if (!body.ParseFromString(told.payload)) {
      body.Clear();
      body.set_error("its answer cannot be read");
    }
    body.set_node(told.from);
    if (!hand_on(client, found->second, std::move(answer))) found->second.lost.insert(told.from);
  };
  listener.ended = [this, client](const membership::QueryEnded& ended) {
    query_ended(client, ended);
  };
  membership::QueryHandle handle;
  start_query(client, options, std::move(listener), &handle);
}

}  // namespace starling::agent
