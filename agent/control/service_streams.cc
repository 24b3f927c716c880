// SPDX-License-Identifier: Apache-2.0
//
// Requests with many replies: queries and monitor. They end with their client.
#include <algorithm>
#include <chrono>
#include <utility>

#include "agent/control/service.h"
#include "agent/handler_events.h"

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
    case membership::ReplyKind::kFailed:
      return control::QueryAnswer::FAILED;
    case membership::ReplyKind::kTooLarge:
      return control::QueryAnswer::TOO_LARGE;
    case membership::ReplyKind::kBusy:
      return control::QueryAnswer::BUSY;
  }
  return control::QueryAnswer::FAILED;
}

membership::TimePoint steady_now() {
  return membership::TimePoint(std::chrono::steady_clock::now().time_since_epoch());
}

Result<membership::QueryOptions> read_query(const control::QueryRequest& request) {
  if (request.name().starts_with(kInternalPrefix) &&
      (request.name() != kPing || !request.payload().empty())) {
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
  options.name = request.name();
  options.payload = request.payload();
  options.nodes.assign(request.nodes().begin(), request.nodes().end());
  for (const control::KeyValue& tag : request.tags()) {
    options.tags.emplace_back(tag.key(), tag.value());
  }
  options.request_ack = request.request_ack();
  options.relay_factor = request.relay_factor();
  if (request.timeout_ms() > 0) {
    options.timeout = std::chrono::milliseconds(request.timeout_ms());
  }
  return options;
}

Result<std::vector<handlers::Filter>> read_filters(std::string_view text) {
  std::vector<handlers::Filter> filters;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    auto filter = handlers::Filter::parse(text.substr(0, comma));
    if (!filter) return tl::unexpected(filter.error());
    filters.push_back(std::move(*filter));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return filters;
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
  for (auto query = begin; query != end; ++query) parts_.cluster.cancel_query(query->second);
  queries_.erase(begin, end);
  const auto first_confirm = confirms_.lower_bound(first);
  const auto last_confirm = confirms_.upper_bound(last);
  for (auto confirm = first_confirm; confirm != last_confirm; ++confirm) {
    parts_.cluster.cancel_confirm(confirm->second);
  }
  confirms_.erase(first_confirm, last_confirm);
}

// --- queries -----------------------------------------------------------------------------------

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
  queries_[key_of(client)] = started->id;
  *handle = *started;
  return true;
}

void Service::query_over(const Client& client) {
  queries_.erase(key_of(client));
}

void Service::query(const Client& client, const control::QueryRequest& request) {
  const auto options = read_query(request);
  if (!options) return reply_error(client, options.error().message);
  Cluster::QueryListener listener;
  listener.answered = [client](const membership::QueryAnswered& answered) {
    Reply answer;
    control::QueryAnswer& body = *answer.mutable_query_answer();
    body.set_from(answered.from);
    body.set_kind(to_wire_kind(answered.kind));
    body.set_payload(answered.payload);
    body.set_error(answered.error);
    reply(client, std::move(answer), false);
  };
  listener.ended = [this, client](const membership::QueryEnded& ended) {
    Reply answer;
    control::QueryDone& body = *answer.mutable_query_done();
    for (const std::string& name : ended.silent) body.add_silent(name);
    body.set_timed_out(ended.timed_out);
    query_over(client);
    reply(client, std::move(answer));
  };
  membership::QueryHandle handle;
  if (!start_query(client, *options, std::move(listener), &handle)) return;
  Reply started;
  started.mutable_query_started()->set_addressed(static_cast<uint32_t>(handle.addressed));
  started.mutable_query_started()->set_timeout_ms(
      static_cast<uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(handle.timeout).count()));
  reply(client, std::move(started), false);
}

// --- monitor -----------------------------------------------------------------------------------

void Service::monitor(const Client& client, const control::MonitorRequest& request) {
  const auto level = parse_log_level(request.log_level());
  const bool of_nothing = request.log_level().empty() && request.event_filter().empty();
  if (!level && (of_nothing || !request.log_level().empty())) {
    return reply_error(client, "Unknown log level: " + request.log_level());
  }
  auto filters = read_filters(request.event_filter());
  if (!filters) return reply_error(client, "Invalid event filter: " + filters.error().message);
  if (monitors_.contains(key_of(client))) return reply_error(client, "Monitor already exists");
  if (monitors_.size() >= kMaxMonitors) {
    return reply_error(client, std::to_string(kMaxMonitors) + " monitors are running: end some");
  }
  auto& monitor = monitors_[key_of(client)];
  monitor = std::make_unique<Monitor>();
  monitor->client = client;
  monitor->filters = std::move(*filters);
  monitor->answers_queries = request.answers_queries();
  Reply started;
  started.mutable_monitor_started();
  reply(client, std::move(started), false);
  if (!level) return;
  monitor->watch =
      parts_.log.watch(*level, [this, target = monitor.get()](const std::string& line) {
        control::MonitorRecord record;
        record.set_log(line);
        send_record(*target, record);
      });
}

void Service::send_record(Monitor& monitor, const control::MonitorRecord& record) {
  Reply told;
  *told.mutable_monitor() = record;
  told.mutable_monitor()->set_dropped(monitor.dropped);
  if (reply(monitor.client, std::move(told), false)) {
    monitor.dropped = 0;
  } else {
    ++monitor.dropped;
  }
}

void Service::stop_monitor(const Client& client, const control::StopRequest& request) {
  const Client stopped{client.session, request.monitor()};
  if (monitors_.erase(key_of(stopped)) > 0) {
    offers_.forget(key_of(stopped));
    reply(stopped, {});
  }
  reply(client, {});
}

void Service::tell(const handlers::Event& event, control::MonitorRecord record,
                   const membership::QueryArrived* offered) {
  record.set_event(std::string(handlers::event_type_name(event.type)));
  for (const auto& [key, monitor] : monitors_) {
    const bool wanted = std::ranges::any_of(
        monitor->filters, [&](const handlers::Filter& filter) { return filter.matches(event); });
    if (!wanted) continue;
    if (offered != nullptr) {
      record.set_query(monitor->answers_queries ? offers_.offer(key, *offered) : 0);
    }
    send_record(*monitor, record);
  }
}

void Service::saw(const membership::MemberEvent& event) {
  if (monitors_.empty()) return;
  control::MonitorRecord record;
  *record.add_members() = to_wire(event.member);
  tell(to_handler_event(event, 0, 0), std::move(record));
}

void Service::saw(const membership::UserEventArrived& event) {
  if (monitors_.empty()) return;
  control::MonitorRecord record;
  record.set_name(event.name);
  record.set_ltime(event.ltime);
  record.set_payload(event.payload);
  record.set_coalesce(event.coalesce);
  tell(to_handler_event(event), std::move(record));
}

void Service::saw(const membership::QueryArrived& query) {
  if (monitors_.empty()) return;
  control::MonitorRecord record;
  record.set_name(query.name);
  record.set_ltime(query.ltime);
  record.set_payload(query.payload);
  offers_.expire(steady_now());
  tell(to_handler_event(query), std::move(record), &query);
}

// --- answers of clients ------------------------------------------------------------------------

void Service::handlers_answered(const membership::MessageId& query, membership::Answer answer) {
  offers_.handlers_done(query, std::move(answer));
}

void Service::respond(const Client& client, const control::RespondRequest& request) {
  const size_t limit = parts_.config.options.query_response_size_limit;
  if (request.payload().size() > limit) {
    return reply_error(client, "failed to respond to query: response exceeds limit of " +
                                   std::to_string(limit) + " bytes");
  }
  reply_result(client, offers_.respond(client.session.get(), request.query(), request.payload(),
                                       steady_now()));
}

}  // namespace starling::agent
