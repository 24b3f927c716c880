// SPDX-License-Identifier: Apache-2.0
//
// Requests that one reply answers. Streams: service_streams.cc; info: service_info.cc.
#include "agent/control/service.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "agent/control/frame.h"
#include "membership/pattern.h"

namespace starling::agent {

using control::Reply;
using membership::Pattern;

namespace {

// What a reply holds beside its body.
constexpr size_t kEnvelope = 256;

/// Which members are asked for. An empty expression matches everything.
class MemberFilter {
 public:
  static Result<MemberFilter> make(const control::MembersRequest& request) {
    MemberFilter filter;
    filter.only_degraded_ = request.degraded();
    if (auto made = compile("name", request.name(), filter.name_); !made) {
      return tl::unexpected(made.error());
    }
    if (auto made = compile("status", request.status(), filter.status_); !made) {
      return tl::unexpected(made.error());
    }
    for (const control::KeyValue& tag : request.tags()) {
      std::optional<Pattern> pattern;
      if (auto made = compile("tag " + tag.key(), tag.value(), pattern); !made) {
        return tl::unexpected(made.error());
      }
      if (pattern) filter.tags_.emplace_back(tag.key(), std::move(*pattern));
    }
    return filter;
  }

  [[nodiscard]] bool matches(const membership::Member& member) const {
    if (only_degraded_ && !member.degraded) return false;
    if (name_ && !name_->matches(member.name)) return false;
    if (status_ && !status_->matches(membership::public_status(member.status))) return false;
    return std::ranges::all_of(tags_, [&](const auto& tag) {
      const auto found = member.tags.find(tag.first);
      return tag.second.matches(found == member.tags.end() ? "" : found->second);
    });
  }

 private:
  static Result<void> compile(const std::string& what, const std::string& expression,
                              std::optional<Pattern>& into) {
    if (expression.empty()) return {};
    auto pattern = Pattern::compile(expression, true);
    if (!pattern) {
      return fail(pattern.error().kind, "filter of " + what + ": " + pattern.error().message);
    }
    into = std::move(*pattern);
    return {};
  }

  bool only_degraded_ = false;
  std::optional<Pattern> name_;
  std::optional<Pattern> status_;
  std::vector<std::pair<std::string, Pattern>> tags_;
};

void add(google::protobuf::RepeatedPtrField<control::KeyValue>& list, const std::string& key,
         const std::string& value) {
  control::KeyValue& pair = *list.Add();
  pair.set_key(key);
  pair.set_value(value);
}

}  // namespace

Service::Service(Parts parts)
    : parts_(std::move(parts)),
      offers_([this](const membership::MessageId& query, membership::Answer answer) {
        parts_.cluster.answer_query(query, std::move(answer));
      }) {}
Service::~Service() = default;

bool Service::reply(const Client& client, Reply reply, bool done) {
  reply.set_id(client.request);
  reply.set_done(done);
  return client.session->send(reply);
}

void Service::reply_error(const Client& client, const std::string& error) {
  Reply failed;
  failed.set_error(error);
  reply(client, std::move(failed));
}

void Service::reply_result(const Client& client, const Result<void>& result) {
  if (!result) return reply_error(client, result.error().message);
  reply(client, {});
}

void Service::handle(const std::shared_ptr<Session>& session, const control::Request& request) {
  const Client client{session, request.id()};
  switch (request.body_case()) {
    case control::Request::kJoin:
      return join(client, request.join());
    case control::Request::kLeave:
      return leave(client);
    case control::Request::kForceLeave:
      return force_leave(client, request.force_leave());
    case control::Request::kMembers:
      return members(client, request.members());
    case control::Request::kEvent:
      return event(client, request.event());
    case control::Request::kEvents:
      return events(client, request.events());
    case control::Request::kQuery:
      return query(client, request.query());
    case control::Request::kTags:
      return tags(client, request.tags());
    case control::Request::kInfo:
      return info(client);
    case control::Request::kMonitor:
      return monitor(client, request.monitor());
    case control::Request::kReachability:
      return reachability(client);
    case control::Request::kJob:
      return job(client, request.job());
    case control::Request::kReload:
      return reply_result(client, parts_.reload());
    case control::Request::kStop:
      return stop_monitor(client, request.stop());
    case control::Request::kRespond:
      return respond(client, request.respond());
    case control::Request::kKeys:
      return keys(client, request.keys());
    case control::Request::kOperators:
      return operators(client, request.operators());
    case control::Request::kNodes:
      return nodes(client, request.nodes());
    case control::Request::kCoordinate:
      return coordinate(client, request.coordinate());
    case control::Request::BODY_NOT_SET:
      break;
  }
  reply_error(client, "the agent does not know this request: it may be older than this command");
}

void Service::force_leave(const Client& client, const control::ForceLeaveRequest& request) {
  if (!obeys(client, order_of(request), request.authorization())) return;
  const auto result = parts_.cluster.force_leave(request.node(), request.prune());
  if (!result && result.error().kind == ErrorKind::kNotFound) {
    // As in Serf, whose scripts remove what may be gone already.
    parts_.log.warn("control", "force-leave: " + result.error().message);
    reply(client, {});
    return;
  }
  reply_result(client, result);
}

void Service::join(const Client& client, const control::JoinRequest& request) {
  const std::vector<std::string> targets(request.addresses().begin(), request.addresses().end());
  if (targets.empty()) return reply_error(client, "no address to join");
  parts_.cluster.join(targets, request.replay(), [this, client](const JoinOutcome& outcome) {
    Reply answer;
    control::JoinReply& body = *answer.mutable_join();
    body.set_contacted(static_cast<uint32_t>(outcome.contacted));
    for (const auto& [target, reason] : outcome.failures) {
      add(*body.mutable_failures(), target, reason);
      parts_.log.warn("control", "cannot join " + target + ": " + reason);
    }
    if (outcome.contacted == 0) answer.set_error("no member could be contacted");
    reply(client, std::move(answer));
  });
}

void Service::leave(const Client& client) {
  parts_.leave([client] { reply(client, {}); });
}

control::Member Service::to_wire(const membership::Member& member) const {
  control::Member wire;
  wire.set_id(member.id.to_string());
  wire.set_name(member.name);
  wire.set_address(member.address.wire_ip());
  wire.set_port(member.address.port());
  for (const auto& [key, value] : member.tags) add(*wire.mutable_tags(), key, value);
  wire.set_status(std::string(membership::public_status(member.status)));
  wire.set_incarnation(member.incarnation.value);
  wire.set_degraded(member.degraded);
  wire.set_protocol_min(member.protocol_min);
  wire.set_protocol_max(member.protocol_max);
  const membership::Node& node = parts_.cluster.node();
  wire.set_self(member.id == node.identity().id);
  const auto round_trip = node.round_trip(member.id);
  wire.set_round_trip_us(
      round_trip ? std::chrono::duration_cast<std::chrono::microseconds>(*round_trip).count() : -1);
  return wire;
}

void Service::members(const Client& client, const control::MembersRequest& request) {
  const auto filter = MemberFilter::make(request);
  if (!filter) return reply_error(client, filter.error().message);
  Reply answer;
  control::MembersReply& body = *answer.mutable_members();
  size_t count = 0;
  for (const membership::Member& member : parts_.cluster.node().members()) {
    if (!filter->matches(member)) continue;
    ++count;
    *body.add_members() = to_wire(member);
  }
  if (answer.ByteSizeLong() + kEnvelope > kMaxFrameBytes) {
    return reply_error(client, std::to_string(count) +
                                   " members are too many for one answer: ask for fewer, for "
                                   "example with -name or -status");
  }
  reply(client, std::move(answer));
}

void Service::tags(const Client& client, const control::TagsRequest& request) {
  TagKeeper::Map set;
  for (const control::KeyValue& tag : request.set()) {
    if (tag.key().empty()) return reply_error(client, "a tag needs a name: -set name=value");
    set[tag.key()] = tag.value();
  }
  if (!obeys(client, order_of(request), request.authorization())) return;
  const std::vector<std::string> remove(request.remove().begin(), request.remove().end());
  parts_.tags.change(remove, set,
                     [client](const Result<void>& done) { reply_result(client, done); });
}

void Service::coordinate(const Client& client, const control::CoordinateRequest& request) {
  Reply answer;
  control::CoordinateReply& body = *answer.mutable_coordinate();
  if (const auto coordinate = parts_.cluster.node().coordinate(request.node())) {
    body.set_known(true);
    body.set_error(coordinate->error);
    body.set_adjustment(coordinate->adjustment);
    body.set_height(coordinate->height);
    for (const float part : coordinate->vector) body.add_vector(part);
  }
  reply(client, std::move(answer));
}

control::InfoReply Service::describe() const {
  return describe_agent(parts_, counters_);
}

void Service::info(const Client& client) {
  Reply answer;
  *answer.mutable_info() = describe();
  reply(client, std::move(answer));
}

}  // namespace starling::agent
