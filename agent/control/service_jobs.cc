// SPDX-License-Identifier: Apache-2.0
//
// Requests about jobs: of this host, or of another one through a query to it alone.
#include <utility>

#include "agent/control/service.h"
#include "agent/job_desk.h"

namespace starling::agent {

using control::Reply;

namespace {

// For the answer, beside what the request itself waits.
constexpr auto kAnswerTime = std::chrono::seconds(8);

std::string no_such_member(const std::string& name) {
  return "there is no living member " + name + "; see: starling members";
}

}  // namespace

void Service::job(const Client& client, const control::JobRequest& request) {
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
  membership::QueryOptions options;
  options.name = kJobQuery;
  options.payload = request.SerializeAsString();
  options.nodes = {request.node()};
  options.timeout = std::chrono::milliseconds(request.wait_ms()) + kAnswerTime;
  const auto answered = std::make_shared<bool>(false);
  Cluster::QueryListener listener;
  listener.answered = [this, client, answered](const membership::QueryAnswered& told) {
    if (told.kind == membership::ReplyKind::kAck || std::exchange(*answered, true)) return;
    query_over(client);
    if (told.kind != membership::ReplyKind::kResponse) {
      return reply_error(client, told.from + ": " +
                                     (told.error.empty() ? "it does not know about jobs: it may "
                                                           "be older than this agent"
                                                         : told.error));
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

}  // namespace starling::agent
