// SPDX-License-Identifier: Apache-2.0
//
// `reachability`: asks every living member what its probes found, and puts the answers together.
#include <map>
#include <set>
#include <utility>

#include "agent/control/service.h"
#include "agent/reachability.h"
#include "proto/support/unix_time.h"

namespace starling::agent {

using control::Reply;

struct Service::Gathering {
  struct Answer {
    std::optional<proto::ReachabilityReport> report;
    int64_t clock_ahead_ms = 0;
  };
  int64_t asked = unix_milliseconds();
  std::vector<ReportingMember> members;
  std::map<std::string, Answer> answers;  // by name
};

void Service::reachability(const Client& client) {
  auto gathering = std::make_shared<Gathering>();
  for (const membership::Member& member : parts_.cluster.node().members()) {
    const std::string_view status = membership::public_status(member.status);
    if (status != "alive" && status != "failed") continue;
    gathering->members.push_back(
        {member.id, member.name, member.address, status == "alive", false, {}, 0});
  }
  const Key key = key_of(client);
  Cluster::QueryListener listener;
  listener.answered = [gathering](const membership::QueryAnswered& answered) {
    Gathering::Answer& answer = gathering->answers[answered.from];
    proto::ReachabilityReport report;
    if (answered.kind != membership::ReplyKind::kResponse || answer.report ||
        !report.ParseFromString(answered.payload)) {
      return;
    }
    answer.clock_ahead_ms = clock_ahead_ms(report.unix_ms(), gathering->asked, unix_milliseconds());
    answer.report = std::move(report);
  };
  listener.ended = [this, client, key, gathering](const membership::QueryEnded&) {
    query_over(client);
    if (reachability_.erase(key) == 0) return;
    Reply done;
    control::ReachabilityReply& body = *done.mutable_reachability();
    for (const auto& [name, answer] : gathering->answers) body.add_answered(name);
    for (ReportingMember& member : gathering->members) {
      if (member.alive) body.add_alive(member.name);
      const auto answer = gathering->answers.find(member.name);
      if (answer == gathering->answers.end()) continue;
      member.answered = true;
      member.report = std::move(answer->second.report);
      member.clock_ahead_ms = answer->second.clock_ahead_ms;
    }
    diagnose_reachability(gathering->members, parts_.cluster.node().self().name, body);
    body.set_done(true);
    reply(client, std::move(done));
  };
  membership::QueryOptions options;
  options.name = kReachabilityQuery;
  membership::QueryHandle handle;
  if (start_query(client, options, std::move(listener), &handle)) reachability_[key] = gathering;
}

}  // namespace starling::agent
