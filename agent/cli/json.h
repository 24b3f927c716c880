// SPDX-License-Identifier: Apache-2.0
//
// Every JSON text that the command line prints; the only user of the JSON library. Serf's shapes
// where Serf has one, with more fields. Text that is not UTF-8 gets replacement characters, and a
// payload then stands beside it in base64 as well. No newline at the end. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/job_board.h"
#include "agent/cli/query_outcome.h"
#include "proto/control.pb.h"

namespace starling::agent {

/// {"members":[{name,addr,port,tags,status,protocol,...}]}
std::string members_json(const control::MembersReply& reply);
/// {section:{key:value}}
std::string info_json(const control::InfoReply& reply);
/// {"tags":{key:value}}
std::string tags_json(const control::InfoSection& tags);
/// {"contacted":N,"failures":{address:reason},"error":...}; `error` only when not empty.
std::string join_json(const control::JoinReply& reply, const std::string& error);
/// {"name","coalesce","id","ltime"}, with a confirmation {"confirmed","missing","timed_out"}, and
/// with a board {"jobs":[{node,job,state,...}],"no_handler":[],"no_answer":{node:why},"succeeded"}.
std::string event_json(const control::EventRequest& request, const control::EventReply& reply,
                       const std::optional<control::EventConfirmDone>& confirmation,
                       const JobBoard* board = nullptr);
/// {"events":[{id,origin,ltime,name,size,coalesce,sent_ms,timing,reach}],"held":N,"live":N}
std::string events_json(const control::EventsReply& reply);
/// {"node":name,"jobs":[{job,state,...}]}, "offset" and "output" of a log, "pruned".
std::string jobs_json(const control::JobReply& reply);
/// {"Acks":[],"Responses":{},"Failures":[],"NoHandler":[],"NoAnswer":[],"Silent":{},...}, and with
/// a board its fields as those of an event.
std::string query_json(const QueryOutcome& outcome, const JobBoard* board = nullptr);

struct Reachability {
  std::size_t members = 0;
  std::vector<std::string> alive;
  std::vector<std::string> answered;
  std::vector<std::string> missing;     ///< alive, did not answer
  std::vector<std::string> unexpected;  ///< answered, not believed alive
  control::ReachabilityReply details;   ///< rows and findings

  /// All is well: everybody answers, and reaches everybody directly. A member that is known to have
  /// failed is no fault of the ways to the others.
  [[nodiscard]] bool well() const;
};
std::string reachability_json(const Reachability& result);

/// One line.
std::string monitor_json(const control::MonitorRecord& record);
/// One object with one text in it.
std::string field_json(std::string_view name, std::string_view value);
/// {"members":N,"answered":N,"failed":N,"messages":{member:text},"keys":{key:members},"error":...};
/// `error` only when not empty.
std::string keys_json(const control::KeysReply& reply, const std::string& error);
/// {"id","required","enforced","nodes":[{id,state,...}],"pending":[{id,name,count,last_ms}]}, or of
/// a statement {"asked","taken","refused":[]}.
std::string nodes_json(const control::NodesReply& reply);
/// {"operators":[{name,id,key,state,source,since_ms}]}
std::string operators_json(const control::OperatorsReply& reply);
/// {"from":NAME,"to":NAME,"rtt_ms":N}
std::string rtt_json(const std::string& from, const std::string& to, double rtt_ms);
std::string version_json(std::string_view version, int protocol, int protocol_min);

}  // namespace starling::agent
