// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/queries.h"

#include <algorithm>
#include <utility>

#include "membership/limits.h"
#include "membership/pattern.h"
#include "membership/planted_bug.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

// A query is remembered longer than it lasts: copies may be under way, and clocks may jump.
constexpr Duration kRememberAfter = std::chrono::minutes(10);
constexpr Duration kLongest = std::chrono::hours(24);
constexpr int kMaxFilters = 64;
// Queries of the agents themselves; no handler sees them.
constexpr std::string_view kInternalPrefix = "_serf_";

/// Whether a member is meant by the filters. An expression that does not compile matches nobody.
bool matches(const proto::Query& query, const std::string& name, std::string_view tags) {
  const auto& nodes = query.filter_nodes();
  if (!nodes.empty() && std::find(nodes.begin(), nodes.end(), name) == nodes.end()) return false;
  return std::all_of(query.filter_tags().begin(), query.filter_tags().end(),
                     [&](const proto::TagFilter& filter) {
                       const auto pattern = Pattern::compile(filter.expression(), false);
                       return pattern && pattern->matches(find_tag(tags, filter.key()));
                     });
}

ReplyKind kind_of(proto::ReplyStatus status) {
  switch (status) {
    case proto::REPLY_ACK:
      return ReplyKind::kAck;
    case proto::REPLY_NO_ANSWER:
      return ReplyKind::kNoAnswer;
    case proto::REPLY_FAILED:
      return ReplyKind::kFailed;
    case proto::REPLY_TOO_LARGE:
      return ReplyKind::kTooLarge;
    case proto::REPLY_BUSY:
      return ReplyKind::kBusy;
    default:
      return ReplyKind::kResponse;
  }
}

proto::ReplyStatus status_of(ReplyKind kind) {
  switch (kind) {
    case ReplyKind::kAck:
      return proto::REPLY_ACK;
    case ReplyKind::kResponse:
      return proto::REPLY_RESPONSE;
    case ReplyKind::kNoAnswer:
      return proto::REPLY_NO_ANSWER;
    case ReplyKind::kFailed:
      return proto::REPLY_FAILED;
    case ReplyKind::kTooLarge:
      return proto::REPLY_TOO_LARGE;
    case ReplyKind::kBusy:
      return proto::REPLY_BUSY;
  }
  return proto::REPLY_FAILED;
}

}  // namespace

Queries::Queries(Context& context, MemberTable& table, Members& members, Messenger& messenger)
    : context_(context), table_(table), members_(members), messenger_(messenger) {}

void Queries::restore(const std::vector<MessageId>& heard) {
  for (const MessageId& id : heard) {
    if (seen_.size() >= kMaxSeenQueries) break;
    seen_.emplace(id, proto::Record());
    forget_.set(id, context_.now + kRememberAfter);
  }
}

// --- asking ------------------------------------------------------------------------------------

Result<Queries::Started> Queries::start(const QueryOptions& options) {
  if (!valid_name(options.name)) {
    return fail(ErrorKind::kInvalid,
                "a query's name must have 1 to 128 bytes of UTF-8 and no control characters");
  }
  if (own_.size() >= kMaxOwnQueries) {
    return fail(ErrorKind::kBusy, "256 queries of this agent are still running: retry later");
  }
  proto::Query query;
  for (const std::string& node : options.nodes) query.add_filter_nodes(node);
  for (const auto& [key, expression] : options.tags) {
    auto pattern = Pattern::compile(expression, false);
    if (!pattern) {
      return fail(pattern.error().kind, "filter of tag '" + key + "': " + pattern.error().message);
    }
    proto::TagFilter& filter = *query.add_filter_tags();
    filter.set_key(key);
    filter.set_expression(expression);
  }
  query.set_name(options.name);
  query.set_payload(options.payload);
  const size_t limit = context_.options.query_size_limit;
  const size_t size = query.ByteSizeLong();
  if (size > limit || query.filter_nodes_size() + query.filter_tags_size() > kMaxFilters) {
    return fail(ErrorKind::kTooLarge,
                "query exceeds limit of " + std::to_string(limit) +
                    " bytes (name, payload and filters: " + std::to_string(size) + ")");
  }
  const Duration timeout =
      options.timeout.value_or(context_.options.query_timeout(members_.up_count()));
  if (timeout <= Duration(0) || timeout > kLongest) {
    return fail(ErrorKind::kInvalid, "a query's timeout must be above 0 and at most 24h");
  }
  query.set_ltime(context_.query_clock.tick());
  query.set_request_ack(options.request_ack);
  query.set_relay_factor(std::min(options.relay_factor, 255U));
  query.set_timeout_ms(
      static_cast<uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(timeout).count()));

  const MessageId id{context_.identity.id, context_.identity.epoch, next_sequence_++};
  Own own;
  own.deadline = context_.now + timeout;
  own.request_ack = options.request_ack;
  if (matches(query, context_.identity.name, pack_tags(context_.identity.tags))) {
    own.addressed[context_.identity.id].name = members_.self().name;
  }
  for (size_t place = 0; place < table_.up_count(); ++place) {
    const Entry& entry = table_.ring_at(place);
    if (matches(query, entry.name(), entry.tags())) {
      own.addressed[entry.id()].name = entry.display_name();
    }
  }
  own.waiting = own.addressed.size();
  if (planted(PlantedBug::kDoubleQueryDeadline)) own.deadline += timeout;
  own_due_.set(id, own.waiting == 0 ? context_.now : own.deadline);
  if (planted(PlantedBug::kForgetQueryDeadline)) own_due_.erase(id);

  Started started;
  started.handle = QueryHandle{id, own.waiting, timeout};
  started.record.set_kind(proto::RECORD_QUERY);
  started.record.set_key(message_key(id));
  started.record.set_payload(query.SerializeAsString());
  own_.emplace(id, std::move(own));
  return started;
}

void Queries::cancel(const MessageId& id) {
  own_.erase(id);
  own_due_.erase(id);
}

void Queries::receive_reply(const NodeId& from, const proto::QueryReply& wire) {
  const auto id = read_id(wire.query());
  if (!id) return;
  const auto found = own_.find(*id);
  if (found == own_.end()) return;
  Own& own = found->second;
  // A member whom the asker did not know yet may answer as well; nobody waits for it.
  const auto addressed = own.addressed.find(from);
  const bool known = addressed != own.addressed.end();
  const ReplyKind kind = kind_of(wire.status());
  if (known && addressed->second.done) return;
  const bool first = known && !std::exchange(addressed->second.acked, true);
  if (known && planted(PlantedBug::kForgetAcked)) addressed->second.acked = false;
  if (known && kind == ReplyKind::kAck && !first && !wire.last()) return;
  if (first && kind != ReplyKind::kAck && own.request_ack) {
    // The answer has overtaken its acknowledgement, or is one.
    context_.emit(QueryAnswered{*id, addressed->second.name, ReplyKind::kAck, {}, {}});
  }
  context_.emit(QueryAnswered{*id, known ? addressed->second.name : name_of(from), kind,
                              wire.payload(), wire.error()});
  const bool last = wire.last() || planted(PlantedBug::kAckEndsQuery);
  if (!known || !last) return;
  addressed->second.done = true;
  if (!addressed->second.gone && --own.waiting == 0) end(*id, false);
}

void Queries::member_gone(const NodeId& id) {
  std::vector<MessageId> finished;
  for (auto& [query, own] : own_) {
    const auto addressed = own.addressed.find(id);
    if (addressed == own.addressed.end() || addressed->second.done || addressed->second.gone) {
      continue;
    }
    addressed->second.gone = true;
    if (--own.waiting == 0) finished.push_back(query);
  }
  for (const MessageId& query : finished) end(query, false);
}

void Queries::end(const MessageId& id, bool timed_out) {
  const auto found = own_.find(id);
  if (found == own_.end()) return;
  QueryEnded ended{id, timed_out, {}};
  for (const auto& [member, addressed] : found->second.addressed) {
    if (!addressed.done) ended.silent.push_back(addressed.name);
  }
  std::sort(ended.silent.begin(), ended.silent.end());
  own_.erase(found);
  own_due_.erase(id);
  context_.emit(std::move(ended));
}

std::string Queries::name_of(const NodeId& id) const {
  const Entry* entry = table_.find(id);
  return entry != nullptr ? entry->display_name() : id.to_string();
}

// --- answering ---------------------------------------------------------------------------------

Verdict Queries::apply(const proto::Record& record) {
  const auto id = read_message_key(record.key());
  proto::Query query;
  if (!id || !query.ParseFromString(record.payload()) || !valid_name(query.name()) ||
      query.timeout_ms() == 0 ||
      query.filter_nodes_size() + query.filter_tags_size() > kMaxFilters) {
    return Verdict::kInvalid;
  }
  if (has(*id) && !planted(PlantedBug::kForgetQuery)) return Verdict::kKnown;
  const bool own_epoch = id->origin == context_.identity.id && id->epoch == context_.identity.epoch;
  if (own_epoch && !own_.contains(*id)) return Verdict::kStale;
  if (seen_.size() >= kMaxSeenQueries) {
    ++context_.statistics.dropped_queries;
    if (const auto oldest = forget_.pop(kNever)) forget(*oldest);
  }
  context_.query_clock.witness(query.ltime());
  const auto timeout = std::min<Duration>(
      std::chrono::milliseconds(std::min<uint64_t>(query.timeout_ms(), 24ULL * 3600 * 1000)),
      kLongest);
  remember(*id, record, context_.now + timeout + kRememberAfter);
  if (matches(query, context_.identity.name, pack_tags(context_.identity.tags))) {
    open_[*id] = Open{id->origin, context_.now + timeout, query.relay_factor()};
    deliver(*id, query);
  }
  return Verdict::kFresh;
}

void Queries::remember(const MessageId& id, const proto::Record& record, TimePoint until) {
  seen_.emplace(id, record);
  forget_.set(id, until);
}

std::optional<proto::Record> Queries::find(const MessageId& id) const {
  const auto found = seen_.find(id);
  if (found == seen_.end() || found->second.payload().empty()) return std::nullopt;
  return found->second;
}

void Queries::deliver(const MessageId& id, const proto::Query& query) {
  const Open open = open_.at(id);
  const bool is_internal = query.name().starts_with(kInternalPrefix);
  if (is_internal && internal && internal(id, query)) return;
  if (query.request_ack() || is_internal) {
    proto::QueryReply ack;
    ack.set_status(proto::REPLY_ACK);
    ack.set_last(is_internal);
    reply(id, open.asker, open.deadline, open.relay_factor, std::move(ack));
  }
  if (is_internal) {
    open_.erase(id);
    return;
  }
  context_.emit(
      QueryArrived{id, query.ltime(), query.name(), query.payload(),
                   open.asker == context_.identity.id ? members_.self().name : name_of(open.asker),
                   open.deadline});
}

Result<void> Queries::answer(const MessageId& id, Answer answer) {
  const auto found = open_.find(id);
  if (found == open_.end()) {
    return fail(ErrorKind::kNotFound, "No pending queries matching ID");
  }
  const Open open = found->second;
  open_.erase(found);
  if (context_.now >= open.deadline) {
    return fail(ErrorKind::kNotFound, "the query's deadline has passed");
  }
  proto::QueryReply wire;
  const size_t limit = context_.options.query_response_size_limit;
  const size_t size = answer.payload.size();
  const bool too_large = size > limit && !planted(PlantedBug::kNoAnswerLimit);
  const std::string problem = "answer of " + std::to_string(size) + " bytes exceeds limit of " +
                              std::to_string(limit) + " bytes";
  wire.set_status(too_large ? proto::REPLY_TOO_LARGE : status_of(answer.kind));
  wire.set_error(too_large ? problem : answer.error);
  if (!too_large) wire.set_payload(std::move(answer.payload));
  wire.set_last(true);
  reply(id, open.asker, open.deadline, open.relay_factor, std::move(wire));
  if (too_large) return fail(ErrorKind::kTooLarge, problem);
  return {};
}

void Queries::reply(const MessageId& id, const NodeId& asker, TimePoint deadline,
                    unsigned relay_factor, proto::QueryReply reply) {
  write_id(id, *reply.mutable_query());
  if (asker == context_.identity.id) {
    receive_reply(asker, reply);
    return;
  }
  proto::DirectMessage message;
  *message.mutable_query_reply() = std::move(reply);
  messenger_.send(asker, std::move(message), deadline, relay_factor);
}

// --- time --------------------------------------------------------------------------------------

TimePoint Queries::next_deadline() const {
  return std::min(own_due_.next(), forget_.next());
}

void Queries::advance() {
  while (const auto id = own_due_.pop(context_.now)) {
    const auto found = own_.find(*id);
    if (found != own_.end()) end(*id, found->second.waiting > 0);
  }
  while (const auto id = forget_.pop(context_.now)) forget(*id);
}

void Queries::forget(const MessageId& id) {
  seen_.erase(id);
  open_.erase(id);
}

}  // namespace starling::membership
