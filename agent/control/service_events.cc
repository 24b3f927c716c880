// SPDX-License-Identifier: Apache-2.0
//
// User events: sending, confirming, listing.
#include <chrono>
#include <optional>
#include <utility>

#include "agent/control/frame.h"
#include "agent/control/service.h"
#include "membership/pattern.h"
#include "proto/support/unix_time.h"

namespace starling::agent {

using control::Reply;

namespace {

constexpr uint64_t kDefaultConfirm_ms = 10'000;
constexpr uint64_t kMostConfirm_ms = uint64_t{24} * 3600 * 1000;
constexpr size_t kDefaultListed = 20;
// What a reply holds beside its body.
constexpr size_t kEnvelope = 256;

void write(const membership::HeldEvent& event, int64_t unix_ms, control::HeldEvent& wire) {
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(event.age).count();
  wire.set_id(event.id.to_string());
  wire.set_origin(event.origin);
  wire.set_ltime(event.ltime);
  wire.set_name(event.name);
  wire.set_size(event.size);
  wire.set_coalesce(event.coalesce);
  wire.set_sent_ms(unix_ms - age);
  wire.set_timing(std::string(membership::event_timing_name(event.timing)));
  wire.set_reach(static_cast<uint32_t>(event.reach));
}

}  // namespace

void Service::event(const Client& client, const control::EventRequest& request) {
  if (request.timeout_ms() > kMostConfirm_ms) {
    return reply_error(client, "a confirmation is waited for 24h at most");
  }
  if (request.confirm() && confirms_.contains(key_of(client))) {
    return reply_error(client, "an event with this request's id is confirmed on this connection");
  }
  if (!admits(client, order_of(request), request.authorization())) return;
  const bool confirmed = request.confirm();
  const uint64_t timeout = request.timeout_ms() > 0 ? request.timeout_ms() : kDefaultConfirm_ms;
  const auto done = [this, client, confirmed, timeout](const Result<Cluster::SentEvent>& event) {
    if (!event) return reply_error(client, event.error().message);
    Reply answer;
    answer.mutable_event()->set_id(event->id.to_string());
    answer.mutable_event()->set_ltime(event->ltime);
    if (!reply(client, std::move(answer), !confirmed) || !confirmed) return;
    confirm(client, event->id, timeout);
  };
  const auto sent = parts_.cluster.send_event(request.name(), request.payload(), request.coalesce(),
                                              done, request.authorization());
  if (!sent) reply_error(client, sent.error().message);
}

void Service::confirm(const Client& client, const membership::MessageId& event,
                      uint64_t timeout_ms) {
  const auto count = std::make_shared<uint32_t>(0);
  Cluster::ConfirmListener listener;
  listener.confirmed = [client, count](const membership::EventConfirmed& confirmed) {
    ++*count;
    Reply answer;
    answer.mutable_event_confirmed()->set_member(confirmed.member);
    reply(client, std::move(answer), false);
  };
  listener.ended = [this, client, count](const membership::ConfirmEnded& ended) {
    confirms_.erase(key_of(client));
    Reply answer;
    control::EventConfirmDone& body = *answer.mutable_event_confirm_done();
    for (const std::string& name : ended.missing) body.add_missing(name);
    body.set_timed_out(ended.timed_out);
    body.set_confirmed(*count);
    reply(client, std::move(answer));
  };
  const auto started = parts_.cluster.confirm_event(event, std::chrono::milliseconds(timeout_ms),
                                                    std::move(listener));
  if (!started) {
    return reply_error(
        client, "the event is on its way, but cannot be confirmed: " + started.error().message);
  }
  confirms_[key_of(client)] = *started;
}

void Service::events(const Client& client, const control::EventsRequest& request) {
  std::optional<membership::Pattern> name;
  if (!request.name().empty()) {
    auto pattern = membership::Pattern::compile(request.name(), true);
    if (!pattern) return reply_error(client, "name: " + pattern.error().message);
    name = std::move(*pattern);
  }
  const membership::Node& node = parts_.cluster.node();
  const size_t limit = request.limit() > 0 ? request.limit() : kDefaultListed;
  Reply answer;
  control::EventsReply& body = *answer.mutable_events();
  body.set_held(static_cast<uint32_t>(node.events_held()));
  body.set_live(static_cast<uint32_t>(node.up_count()));
  const int64_t now = unix_milliseconds();
  // A filter needs all of them, since the newest may all have other names.
  for (const membership::HeldEvent& event : node.held_events(name ? node.events_held() : limit)) {
    if (static_cast<size_t>(body.events_size()) >= limit) break;
    if (!name || name->matches(event.name)) write(event, now, *body.add_events());
  }
  if (answer.ByteSizeLong() + kEnvelope > kMaxFrameBytes) {
    return reply_error(client, std::to_string(body.events_size()) +
                                   " events are too many for one answer: ask for fewer with "
                                   "-limit");
  }
  reply(client, std::move(answer));
}

}  // namespace starling::agent
