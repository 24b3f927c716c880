// SPDX-License-Identifier: Apache-2.0
//
// Queries for clients: answers go out as they come, and end with their client. What a client does
// not take at once is held for it, up to kMaxHeldBytes for all clients together.
#include <utility>

#include "agent/control/service.h"

namespace starling::agent {

using control::Reply;

namespace {

constexpr std::string_view kInternalPrefix = "_serf_";
constexpr std::string_view kOwnPrefix = "_starling_";
constexpr const char* kPing = "_serf_ping";
constexpr uint32_t kMaxRelayFactor = 255;
constexpr uint64_t kMaxTimeout_ms = uint64_t{24} * 3600 * 1000;

control::QueryAnswer::Kind to_wire_kind(membership::ReplyKind kind) {
  switch (kind) {
    case membership::ReplyKind::kAck:
      return control::QueryAnswer::ACK;
    case membership::ReplyKind::kResponse:
      return control::QueryAnswer::RESPONSE;
    case membership::ReplyKind::kNoAnswer:
      return control::QueryAnswer::NO_ANSWER;
    case membership::ReplyKind::kNoHandler:
      return control::QueryAnswer::NO_HANDLER;
    case membership::ReplyKind::kFailed:
      return control::QueryAnswer::FAILED;
    case membership::ReplyKind::kTooLarge:
      return control::QueryAnswer::TOO_LARGE;
    case membership::ReplyKind::kBusy:
      return control::QueryAnswer::BUSY;
    case membership::ReplyKind::kRefused:
      return control::QueryAnswer::REFUSED;
  }
  return control::QueryAnswer::FAILED;
}

/// The core answers it; nobody carries anything out.
bool is_ping(const control::QueryRequest& request) {
  return request.name() == kPing;
}

Result<membership::QueryOptions> read_query(const control::QueryRequest& request) {
  if (request.name().starts_with(kInternalPrefix) &&
      (!is_ping(request) || !request.payload().empty())) {
    return fail(ErrorKind::kInvalid, "Queries cannot contain the '_serf_' prefix");
  }
  if (request.name().starts_with(kOwnPrefix)) {
    return fail(ErrorKind::kInvalid, "Queries cannot contain the '_starling_' prefix");
  }
  if (request.relay_factor() > kMaxRelayFactor) {
    return fail(ErrorKind::kInvalid, "Relay factor must be between 0 and 255");
  }
  if (request.timeout_ms() > kMaxTimeout_ms) {
    return fail(ErrorKind::kInvalid, "a query's timeout is at most 24h");
  }
  membership::QueryOptions options;
  if (request.status() == "healthy") {
    options.audience = membership::Audience::kHealthy;
  } else if (request.status() == "degraded") {
    options.audience = membership::Audience::kDegraded;
  } else if (!request.status().empty() && request.status() != "alive") {
    return fail(ErrorKind::kInvalid,
                "status '" + request.status() +
                    "': a query reaches only members that run: alive (all of these), healthy or "
                    "degraded");
  }
  options.name = request.name();
  options.payload = request.payload();
  options.nodes.assign(request.nodes().begin(), request.nodes().end());
  for (const control::KeyValue& tag : request.tags()) {
    options.tags.emplace_back(tag.key(), tag.value());
  }
  options.request_ack = request.request_ack();
  options.relay_factor = request.relay_factor();
  options.limit = request.limit();
  options.authorization = request.authorization();
  if (request.timeout_ms() > 0) {
    options.timeout = std::chrono::milliseconds(request.timeout_ms());
  }
  return options;
}

control::QueryAnswer to_wire_answer(const membership::QueryAnswered& answered) {
  control::QueryAnswer wire;
  wire.set_from(answered.from);
  wire.set_kind(to_wire_kind(answered.kind));
  wire.set_payload(answered.payload);
  wire.set_error(answered.error);
  wire.set_responder(answered.responder);
  wire.set_position(answered.position);
  if (answered.exit_status) wire.set_exit_status(*answered.exit_status);
  wire.set_last(answered.last);
  return wire;
}

}  // namespace

void Service::session_closed(const std::shared_ptr<Session>& session) {
  const Key first{session.get(), 0};
  const Key last{session.get(), UINT64_MAX};
  monitors_.erase(monitors_.lower_bound(first), monitors_.upper_bound(last));
  offers_.forget(session.get());
  reachability_.erase(reachability_.lower_bound(first), reachability_.upper_bound(last));
  const auto begin = queries_.lower_bound(first);
  const auto end = queries_.upper_bound(last);
  for (auto query = begin; query != end; ++query) {
    held_bytes_ -= query->second.held_bytes;
    parts_.cluster.cancel_query(query->second.id);
  }
  queries_.erase(begin, end);
  const auto first_confirm = confirms_.lower_bound(first);
  const auto last_confirm = confirms_.upper_bound(last);
  for (auto confirm = first_confirm; confirm != last_confirm; ++confirm) {
    parts_.cluster.cancel_confirm(confirm->second);
  }
  confirms_.erase(first_confirm, last_confirm);
}

bool Service::start_query(const Client& client, const membership::QueryOptions& options,
                          Cluster::QueryListener listener, membership::QueryHandle* handle) {
  if (queries_.contains(key_of(client))) {
    reply_error(client, "a query with this request's id is running on this connection");
    return false;
  }
  auto started = parts_.cluster.send_query(options, std::move(listener));
  if (!started) {
    reply_error(client, started.error().message);
    return false;
  }
  queries_[key_of(client)].id = started->id;
  *handle = *started;
  return true;
}

void Service::query_over(const Client& client) {
  queries_.erase(key_of(client));
}

void Service::query(const Client& client, const control::QueryRequest& request) {
  const auto options = read_query(request);
  if (!options) return reply_error(client, options.error().message);
  if (!is_ping(request) && !admits(client, order_of(request), request.authorization())) return;
  Cluster::QueryListener listener;
  listener.answered = [this, client](const membership::QueryAnswered& answered) {
    const auto found = queries_.find(key_of(client));
    if (found == queries_.end()) return;
    Reply answer;
    *answer.mutable_query_answer() = to_wire_answer(answered);
    if (!hand_on(client, found->second, std::move(answer))) {
      ++counters_.lost_answers;
      found->second.lost.insert(answered.from);
    }
  };
  listener.ended = [this, client](const membership::QueryEnded& ended) {
    query_ended(client, ended);
  };
  membership::QueryHandle handle;
  if (!start_query(client, *options, std::move(listener), &handle)) return;
  Reply started;
  started.mutable_query_started()->set_id(handle.id.to_string());
  started.mutable_query_started()->set_addressed(static_cast<uint32_t>(handle.addressed));
  started.mutable_query_started()->set_timeout_ms(
      static_cast<uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(handle.timeout).count()));
  reply(client, std::move(started), false);
}

void Service::query_ended(const Client& client, const membership::QueryEnded& ended) {
  const auto found = queries_.find(key_of(client));
  if (found == queries_.end()) return;
  RunningQuery& query = found->second;
  control::QueryDone& body = *query.done.emplace().mutable_query_done();
  body.set_timed_out(ended.timed_out);
  body.set_limited(ended.limited);
  for (const membership::SilentMember& silent : ended.silent) {
    control::SilentMember& wire = *body.add_silent();
    wire.set_name(silent.name);
    wire.set_why(std::string(membership::silence_name(silent.why)));
  }
  for (const std::string& name : query.lost) body.add_lost(name);
  finish_query(client);
}

size_t Service::held_answers() const {
  size_t count = 0;
  for (const auto& [key, query] : queries_) count += query.held.size();
  return count;
}

/// Sends it, or holds it until the client has room. False when there is no room to hold it.
bool Service::hand_on(const Client& client, RunningQuery& query, Reply answer) {
  answer.set_id(client.request);
  if (query.held.empty() && client.session->offer(answer)) return true;
  const size_t bytes = answer.ByteSizeLong() + sizeof(Reply);
  if (held_bytes_ + bytes > kMaxHeldBytes) return false;
  query.held.push_back(std::move(answer));
  query.held_bytes += bytes;
  held_bytes_ += bytes;
  wait_for_room(client, query);
  return true;
}

void Service::wait_for_room(const Client& client, RunningQuery& query) {
  if (std::exchange(query.waits_for_room, true)) return;
  client.session->when_room([this, client = std::weak_ptr<Session>(client.session),
                             request = client.request, alive = std::weak_ptr<bool>(alive_)] {
    const auto session = client.lock();
    if (session && alive.lock()) room({session, request});
  });
}

void Service::room(const Client& client) {
  const auto found = queries_.find(key_of(client));
  if (found == queries_.end()) return;
  RunningQuery& query = found->second;
  query.waits_for_room = false;
  while (!query.held.empty() && client.session->offer(query.held.front())) {
    const size_t bytes = query.held.front().ByteSizeLong() + sizeof(Reply);
    query.held_bytes -= bytes;
    held_bytes_ -= bytes;
    query.held.pop_front();
  }
  if (!query.held.empty()) return wait_for_room(client, query);
  finish_query(client);
}

/// The end is told when everything before it has been.
void Service::finish_query(const Client& client) {
  const auto found = queries_.find(key_of(client));
  if (!found->second.done || !found->second.held.empty()) return;
  Reply done = *std::move(found->second.done);
  query_over(client);
  reply(client, std::move(done));
}

}  // namespace starling::agent
