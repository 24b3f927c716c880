// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/json.h"

#include <sodium.h>

#include <nlohmann/json.hpp>

#include "agent/cli/member_text.h"
#include "proto/support/utf8.h"

namespace starling::agent {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json, int indent = 2) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json object_of(const google::protobuf::RepeatedPtrField<control::KeyValue>& values) {
  Json object = Json::object();
  for (const control::KeyValue& each : values) object[each.key()] = each.value();
  return object;
}

std::string base64(std::string_view bytes) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  std::string text(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), data, bytes.size(), sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // its terminator
  return text;
}

Json member_json(const control::Member& member) {
  Json json;
  json["name"] = member.name();
  json["addr"] = endpoint_text(member);
  json["port"] = member.port();
  json["tags"] = object_of(member.tags());
  json["status"] = member.status();
  json["protocol"] = {{"max", member.protocol_max()},
                      {"min", member.protocol_min()},
                      {"version", member.protocol_max()}};
  json["id"] = member.id();
  json["incarnation"] = std::to_string(member.incarnation());  // 64 bits: too many for a number
  json["rtt_ms"] = member.round_trip_us() < 0
                       ? Json(nullptr)
                       : Json(static_cast<double>(member.round_trip_us()) / 1000.0);
  json["self"] = member.self();
  json["degraded"] = member.degraded();
  return json;
}

void add_job(Json& one, const control::Job& job) {
  one["job"] = job.number();
  one["state"] = job.state();
  one["reason"] = job.reason();
  one["event"] = job.event();
  one["cause"] = job.cause();
  one["handler"] = job.handler();
  one["attempt"] = job.attempt();
  one["queued_ms"] = job.queued_ms();
  one["started_ms"] = job.started_ms();
  one["ended_ms"] = job.ended_ms();
  one["status"] = job.status();
  one["signalled"] = job.signalled();
  one["output_bytes"] = job.output_bytes();
}

void add_board(Json& json, const JobBoard& board) {
  json["jobs"] = Json::array();
  json["no_handler"] = Json::array();
  json["no_answer"] = Json::object();
  for (const JobBoard::Line& line : board.lines(std::chrono::steady_clock::now())) {
    if (!line.job) {
      if (line.state == "no handler") {
        json["no_handler"].push_back(line.node);
      } else if (line.state == "refused") {
        json["refused"][line.node] = line.reason;
      } else {
        json["no_answer"][line.node] = line.reason;
      }
      continue;
    }
    Json one;
    one["node"] = line.node;
    add_job(one, *line.job);
    one["state"] = line.state;
    one["reason"] = line.reason;
    json["jobs"].push_back(std::move(one));
  }
  json["succeeded"] = board.succeeded();
}

}  // namespace

std::string members_json(const control::MembersReply& reply) {
  Json members = Json::array();
  for (const control::Member& member : reply.members()) members.push_back(member_json(member));
  Json json;
  json["members"] = std::move(members);
  return dump(json);
}

std::string info_json(const control::InfoReply& reply) {
  Json json = Json::object();
  for (const control::InfoSection& section : reply.sections()) {
    json[section.name()] = object_of(section.values());
  }
  return dump(json);
}

std::string tags_json(const control::InfoSection& tags) {
  Json json;
  json["tags"] = object_of(tags.values());
  return dump(json);
}

std::string nodes_json(const control::NodesReply& reply) {
  Json json;
  if (reply.own_id().empty()) {
    json["asked"] = reply.asked();
    json["taken"] = reply.taken();
    json["refused"] = Json::array();
    for (const std::string& refusal : reply.refused()) json["refused"].push_back(refusal);
    return dump(json);
  }
  json["id"] = reply.own_id();
  json["required"] = reply.required();
  json["enforced"] = reply.enforced();
  json["nodes"] = Json::array();
  for (const control::NodeStatement& node : reply.nodes()) {
    Json one;
    one["id"] = node.id();
    one["state"] = node.state();
    one["name"] = node.name();
    one["reason"] = node.reason();
    one["operator"] = node.operator_name();
    one["issued_ms"] = node.issued_ms();
    one["not_after_ms"] = node.not_after_ms();
    json["nodes"].push_back(std::move(one));
  }
  json["pending"] = Json::array();
  for (const control::NodeKnock& knock : reply.pending()) {
    Json one;
    one["id"] = knock.id();
    one["name"] = knock.name();
    one["count"] = knock.count();
    one["last_ms"] = knock.last_ms();
    json["pending"].push_back(std::move(one));
  }
  return dump(json);
}

std::string operators_json(const control::OperatorsReply& reply) {
  Json json;
  json["operators"] = Json::array();
  for (const control::Operator& each : reply.operators()) {
    Json one;
    one["name"] = each.name();
    one["id"] = each.id();
    one["key"] = each.line();
    one["state"] = each.revoked() ? "revoked" : "trusted";
    one["source"] = each.source();
    one["since_ms"] = each.since_ms();
    json["operators"].push_back(std::move(one));
  }
  return dump(json);
}

std::string join_json(const control::JoinReply& reply, const std::string& error) {
  Json json;
  json["contacted"] = reply.contacted();
  json["failures"] = object_of(reply.failures());
  if (!error.empty()) json["error"] = error;
  return dump(json);
}

std::string event_json(const control::EventRequest& request, const control::EventReply& reply,
                       const std::optional<control::EventConfirmDone>& confirmation,
                       const JobBoard* board) {
  Json json;
  json["name"] = request.name();
  json["coalesce"] = request.coalesce();
  json["id"] = reply.id();
  json["ltime"] = reply.ltime();
  if (confirmation) {
    json["confirmed"] = confirmation->confirmed();
    json["missing"] =
        std::vector<std::string>(confirmation->missing().begin(), confirmation->missing().end());
    json["timed_out"] = confirmation->timed_out();
  }
  if (board != nullptr) add_board(json, *board);
  return dump(json);
}

std::string events_json(const control::EventsReply& reply) {
  Json json;
  json["events"] = Json::array();
  for (const control::HeldEvent& event : reply.events()) {
    Json one = {{"id", event.id()}, {"origin", event.origin()}, {"name", event.name()}};
    one["ltime"] = event.ltime();
    one["size"] = event.size();
    one["coalesce"] = event.coalesce();
    one["sent_ms"] = event.sent_ms();
    one["timing"] = event.timing();
    one["reach"] = event.reach();
    json["events"].push_back(std::move(one));
  }
  json["held"] = reply.held();
  json["live"] = reply.live();
  return dump(json);
}

std::string jobs_json(const control::JobReply& reply) {
  Json json;
  json["node"] = reply.node();
  json["jobs"] = Json::array();
  for (const control::Job& job : reply.jobs()) {
    Json one;
    add_job(one, job);
    json["jobs"].push_back(std::move(one));
  }
  if (reply.count() > 0) json["pruned"] = reply.count();
  return dump(json);
}

std::string query_json(const QueryOutcome& outcome, const JobBoard* board) {
  Json json;
  json["Acks"] = outcome.acks;
  json["Responses"] = Json::object();
  Json binary = Json::object();
  Json handlers = Json::object();
  for (const auto& [node, responses] : outcome.responses) {
    json["Responses"][node] = responses.front().payload;
    if (!is_utf8(responses.front().payload)) binary[node] = base64(responses.front().payload);
    if (responses.front().handler.empty()) continue;
    for (const QueryOutcome::Response& response : responses) {
      Json one;
      one["Handler"] = response.handler;
      one["Payload"] = response.payload;
      if (!is_utf8(response.payload)) one["PayloadBase64"] = base64(response.payload);
      handlers[node].push_back(std::move(one));
    }
  }
  if (!binary.empty()) json["ResponsesBase64"] = std::move(binary);
  if (!handlers.empty()) json["Handlers"] = std::move(handlers);
  json["Failures"] = Json::array();
  for (const QueryOutcome::Failure& failure : outcome.failures) {
    Json one;
    one["Node"] = failure.node;
    if (!failure.handler.empty()) one["Handler"] = failure.handler;
    one["Reason"] = failure.reason;
    one["Error"] = failure.error;
    if (failure.exit_status) one["ExitStatus"] = *failure.exit_status;
    if (!failure.output.empty()) one["Output"] = failure.output;
    json["Failures"].push_back(std::move(one));
  }
  json["NoHandler"] = outcome.no_handler;
  json["NoAnswer"] = outcome.no_answer;
  json["Silent"] = Json::object();
  for (const auto& [node, why] : outcome.silent) json["Silent"][node] = why;
  if (!outcome.lost.empty()) json["Lost"] = outcome.lost;
  json["Addressed"] = outcome.addressed;
  json["TimedOut"] = outcome.timed_out;
  json["Limited"] = outcome.limited;
  if (board != nullptr) add_board(json, *board);
  return dump(json);
}

std::string reachability_json(const Reachability& result) {
  Json json;
  json["members"] = result.members;
  json["alive"] = result.alive;
  json["answered"] = result.answered;
  json["missing"] = result.missing;
  json["unexpected"] = result.unexpected;
  json["reachable"] = result.well();
  json["matrix"] = Json::array();
  for (const control::ReachabilityRow& row : result.details.rows()) {
    Json line = {{"from", row.from()}, {"reported", row.reported()}};
    line["direct"] = row.direct();
    line["unprobed"] = row.unprobed();
    line["omitted"] = row.omitted();
    line["clock_ahead_ms"] = row.clock_ahead_ms();
    line["ways"] = Json::array();
    for (const control::ReachabilityWay& way : row.ways()) {
      Json one = {{"to", way.to()}, {"reach", way.reach()}};
      if (!way.via().empty()) one["via"] = way.via();
      one["for_ms"] = way.for_ms();
      if (!way.streams().empty()) one["streams"] = way.streams();
      line["ways"].push_back(std::move(one));
    }
    json["matrix"].push_back(std::move(line));
  }
  json["findings"] = Json::array();
  for (const control::ReachabilityFinding& finding : result.details.findings()) {
    Json one = {{"cause", finding.cause()}};
    one["from"] = std::vector<std::string>(finding.from().begin(), finding.from().end());
    one["to"] = std::vector<std::string>(finding.to().begin(), finding.to().end());
    one["text"] = finding.text();
    one["for_ms"] = finding.for_ms();
    json["findings"].push_back(std::move(one));
  }
  return dump(json);
}

std::string monitor_json(const control::MonitorRecord& record) {
  Json json = Json::object();
  if (record.dropped() > 0) json["dropped"] = record.dropped();
  if (!record.log().empty()) json["log"] = record.log();
  if (!record.event().empty()) {
    json["event"] = record.event();
    if (record.event() == "user" || record.event() == "query") {
      json["name"] = record.name();
      json["ltime"] = record.ltime();
      json["payload"] = record.payload();
      if (!is_utf8(record.payload())) json["payload_base64"] = base64(record.payload());
    }
    if (record.event() == "user") json["coalesce"] = record.coalesce();
    if (record.members_size() > 0) json["members"] = Json::array();
    for (const control::Member& member : record.members()) {
      json["members"].push_back(member_json(member));
    }
  }
  return dump(json, -1);
}

std::string field_json(std::string_view name, std::string_view value) {
  Json json;
  json[std::string(name)] = value;
  return dump(json);
}

std::string keys_json(const control::KeysReply& reply, const std::string& error) {
  Json json;
  json["members"] = reply.members();
  json["answered"] = reply.answered();
  json["failed"] = reply.failed();
  json["messages"] = object_of(reply.messages());
  json["keys"] = Json::object();
  for (const control::KeyHolders& key : reply.keys()) json["keys"][key.key()] = key.members();
  if (!error.empty()) json["error"] = error;
  return dump(json);
}

std::string rtt_json(const std::string& from, const std::string& to, double rtt_ms) {
  Json json;
  json["from"] = from;
  json["to"] = to;
  json["rtt_ms"] = rtt_ms;
  return dump(json);
}

std::string version_json(std::string_view version, int protocol, int protocol_min) {
  Json json;
  json["version"] = version;
  json["protocol"] = protocol;
  json["protocol_min"] = protocol_min;
  return dump(json);
}

}  // namespace starling::agent
