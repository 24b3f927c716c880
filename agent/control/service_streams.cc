// SPDX-License-Identifier: Apache-2.0
//
// Monitors: log lines and events as they come. They end with their client.
#include <algorithm>
#include <chrono>
#include <utility>

#include "agent/control/service.h"
#include "agent/handler_events.h"

namespace starling::agent {

using control::Reply;

namespace {

membership::TimePoint steady_now() {
  return membership::TimePoint(std::chrono::steady_clock::now().time_since_epoch());
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
    ++counters_.dropped_records;
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
  offers_.handlers_said(query, std::move(answer));
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
