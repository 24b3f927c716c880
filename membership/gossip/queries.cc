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
constexpr std::string_view kOwnPrefix = "_starling_";
constexpr std::string_view kTooMuchToSend = "too many answers of this member wait to be sent";

proto::Audience to_wire(Audience audience) {
  switch (audience) {
    case Audience::kAlive:
      return proto::AUDIENCE_ALIVE;
    case Audience::kHealthy:
      return proto::AUDIENCE_HEALTHY;
    case Audience::kDegraded:
      return proto::AUDIENCE_DEGRADED;
  }
  return proto::AUDIENCE_ALIVE;
}

ReplyKind kind_of(proto::ReplyStatus status) {
  switch (status) {
    case proto::REPLY_ACK:
      return ReplyKind::kAck;
    case proto::REPLY_NO_ANSWER:
      return ReplyKind::kNoAnswer;
    case proto::REPLY_NO_HANDLER:
      return ReplyKind::kNoHandler;
    case proto::REPLY_FAILED:
      return ReplyKind::kFailed;
    case proto::REPLY_TOO_LARGE:
      return ReplyKind::kTooLarge;
    case proto::REPLY_BUSY:
      return ReplyKind::kBusy;
    case proto::REPLY_REFUSED:
      return ReplyKind::kRefused;
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
    case ReplyKind::kNoHandler:
      return proto::REPLY_NO_HANDLER;
    case ReplyKind::kFailed:
      return proto::REPLY_FAILED;
    case ReplyKind::kTooLarge:
      return proto::REPLY_TOO_LARGE;
    case ReplyKind::kBusy:
      return proto::REPLY_BUSY;
    case ReplyKind::kRefused:
      return proto::REPLY_REFUSED;
  }
  return proto::REPLY_FAILED;
}

}  // namespace

Queries::Queries(Context& context, MemberTable& table, Members& members, Messenger& messenger,
                 RateLimit& rates)
    : context_(context),
      table_(table),
      members_(members),
      messenger_(messenger),
      rates_(rates),
      origins_(context) {}

void Queries::restore(const std::vector<MessageId>& heard) {
  for (const MessageId& id : heard) pass(id);
  for (const MessageId& id : heard) {
    if (seen_.size() >= kMaxSeenQueries) break;
    remember(id, {}, context_.now + kRememberAfter);
  }
}

// --- asking ------------------------------------------------------------------------------------

Result<proto::Query> Queries::encode(const QueryOptions& options) const {
  proto::Query query;
  for (const std::string& node : options.nodes) query.add_filter_nodes(node);
  for (const auto& [key, expression] : options.tags) {
    proto::TagFilter& filter = *query.add_filter_tags();
    filter.set_key(key);
    filter.set_expression(expression);
  }
  query.set_audience(to_wire(options.audience));
  query.set_name(options.name);
  query.set_payload(options.payload);
  query.set_authorization(options.authorization);
  if (options.authorization.size() > kMaxAuthorization) {
    return fail(ErrorKind::kTooLarge,
                "an authorization has at most " + std::to_string(kMaxAuthorization) + " bytes");
  }
  if (const int filters = query.filter_nodes_size() + query.filter_tags_size();
      filters > kMaxFilters) {
    ++context_.statistics.refused_queries_size;
    return fail(ErrorKind::kTooLarge, "query has " + std::to_string(filters) +
                                          " filters of nodes and tags; the limit is " +
                                          std::to_string(kMaxFilters) +
                                          ": use a pattern, or a tag that they share");
  }
  const size_t limit = std::min(context_.options.query_size_limit, kMaxInlinePayload);
  if (const size_t size = query.ByteSizeLong(); size > limit) {
    ++context_.statistics.refused_queries_size;
    return fail(
        ErrorKind::kTooLarge,
        "query exceeds limit of " + std::to_string(limit) + " bytes (name, payload, filters" +
            (options.authorization.empty() ? "" : ", signature") + ": " + std::to_string(size) +
            "): shorten it; query_size_limit can be at most " + std::to_string(kMaxInlinePayload));
  }
  query.set_request_ack(options.request_ack);
  query.set_relay_factor(std::min(options.relay_factor, 255U));
  return query;
}

Result<Queries::Started> Queries::start(const QueryOptions& options) {
  if (!valid_name(options.name)) {
    return fail(ErrorKind::kInvalid,
                "a query's name must have 1 to 128 bytes of UTF-8 and no control characters");
  }
  if (own_.size() >= kMaxOwnQueries) {
    ++context_.statistics.refused_queries_running;
    return fail(ErrorKind::kBusy,
                std::to_string(kMaxOwnQueries) +
                    " queries of this agent are still running, which is the limit: retry later, or "
                    "give them a shorter -timeout");
  }
  auto query = encode(options);
  if (!query) return tl::unexpected(query.error());
  const auto filter = QueryFilter::make(*query);
  if (!filter) return tl::unexpected(filter.error());
  const Duration timeout =
      options.timeout.value_or(context_.options.query_timeout(members_.up_count()));
  if (timeout <= Duration(0) || timeout > kLongest) {
    return fail(ErrorKind::kInvalid, "a query's timeout must be above 0 and at most 24h");
  }
  if (!options.name.starts_with(kInternalPrefix) && !options.name.starts_with(kOwnPrefix)) {
    if (auto admitted = rates_.admit_query(context_.now); !admitted) {
      ++context_.statistics.refused_queries_rate;
      return tl::unexpected(admitted.error());
    }
  }
  query->set_ltime(context_.query_clock.tick());
  query->set_timeout_ms(
      static_cast<uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(timeout).count()));

  const MessageId id{context_.identity.id, context_.identity.epoch, next_sequence_++};
  Own own;
  own.deadline = context_.now + timeout;
  own.request_ack = options.request_ack;
  own.limit = options.limit;
  address(own, *query, *filter);
  if (planted(PlantedBug::kDoubleQueryDeadline)) own.deadline += timeout;
  own_due_.set(id, own.waiting == 0 ? context_.now : own.deadline);
  if (planted(PlantedBug::kForgetQueryDeadline)) own_due_.erase(id);

  Started started;
  started.handle = QueryHandle{id, own.waiting, timeout};
  started.record.set_kind(proto::RECORD_QUERY);
  started.record.set_key(message_key(id));
  origins_.sign(id, *query);
  started.record.set_payload(query->SerializeAsString());
  own_.emplace(id, std::move(own));
  return started;
}

/// Whom to wait for, and who cannot be asked although it was named.
void Queries::address(Own& own, const proto::Query& query, const QueryFilter& filter) const {
  if (meant(query)) own.addressed[context_.identity.id].name = members_.self().name;
  for (size_t place = 0; place < table_.up_count(); ++place) {
    const Entry& entry = table_.ring_at(place);
    const std::string name = entry.display_name();
    if (filter.matches({entry.name(), name, entry.tags(), entry.degraded})) {
      own.addressed[entry.id()].name = name;
    }
  }
  own.waiting = own.addressed.size();
  for (const std::string& node : query.filter_nodes()) {
    const Entry* entry = table_.find_name(node);
    if (is_glob(node) || node == context_.identity.name || node == members_.self().name ||
        (entry != nullptr && entry->up())) {
      continue;
    }
    Silence why = Silence::kUnknown;
    if (entry != nullptr)
      why = entry->status == Status::kFailed ? Silence::kFailed : Silence::kLeft;
    own.unasked.push_back({node, why});
  }
}

void Queries::cancel(const MessageId& id) {
  const auto own = own_.extract(id);
  own_due_.erase(id);
  if (!own.empty() && own.mapped().waiting > 0) spread_over(id);
}

void Queries::receive_reply(const NodeId& from, const proto::QueryReply& wire) {
  const auto id = read_id(wire.query());
  if (!id) return;
  const auto found = own_.find(*id);
  if (found != own_.end()) answered(*id, found->second, from, wire);
}

void Queries::answered(const MessageId& id, Own& own, const NodeId& from,
                       const proto::QueryReply& wire) {
  const ReplyKind kind = kind_of(wire.status());
  Own::Addressed* place = answering(own, from);
  const bool spoken_for = place != nullptr && place->speaker.value_or(from) != from;
  if (place == nullptr || (spoken_for && kind != ReplyKind::kAck)) {
    ++context_.statistics.dropped_answers;
    return;
  }
  Own::Addressed& member = *place;
  if (member.done || member.received >= kMaxAnswers) return;
  const bool first = !std::exchange(member.acked, true);
  if (planted(PlantedBug::kForgetAcked)) member.acked = false;
  if (kind == ReplyKind::kAck && !first && !wire.last()) return;
  if (first && kind != ReplyKind::kAck && own.request_ack) {
    // The answer has overtaken its acknowledgement, or is one.
    context_.emit(QueryAnswered{id, member.name, ReplyKind::kAck, {}, {}, {}, 0, {}, false});
  }
  if (kind != ReplyKind::kAck) {
    ++member.received;
    member.speaker = from;
  }
  if (wire.last() || planted(PlantedBug::kAckEndsQuery)) member.total = wire.answers();
  // The last may overtake the ones before it.
  member.done = member.total && member.received >= *member.total;
  QueryAnswered answer{id,
                       member.name,
                       kind,
                       wire.payload(),
                       wire.error(),
                       wire.responder(),
                       wire.position(),
                       std::nullopt,
                       member.done};
  if (wire.has_exit_status()) answer.exit_status = wire.exit_status();
  context_.emit(std::move(answer));
  if (kind == ReplyKind::kResponse) ++own.responses;
  if (member.asked && member.done && !member.gone) --own.waiting;
  if (member.asked && own.waiting == 0) return end(id, Ending::kAllDone);
  if (own.limit > 0 && own.responses >= own.limit) end(id, Ending::kLimit);
}

/// Where an answer counts. A host that was replaced meanwhile may answer under the same name; to
/// the user that is one member, which answers once. Whom the asker did not know yet may answer as
/// well. Null when there are too many of these.
Queries::Own::Addressed* Queries::answering(Own& own, const NodeId& from) const {
  if (const auto found = own.addressed.find(from); found != own.addressed.end()) {
    return &found->second;
  }
  if (const auto found = own.standing_in.find(from); found != own.standing_in.end()) {
    return &own.addressed.at(found->second);
  }
  if (own.unasked_count >= kMaxUnasked) return nullptr;
  ++own.unasked_count;
  const std::string name = name_of(from);
  const auto same = std::ranges::find_if(
      own.addressed, [&](const auto& member) { return member.second.name == name; });
  if (same != own.addressed.end()) {
    own.standing_in.emplace(from, same->first);
    return &same->second;
  }
  Own::Addressed& stranger = own.addressed[from];
  stranger.name = name;
  stranger.asked = false;
  return &stranger;
}

void Queries::member_gone(const NodeId& id, bool left) {
  std::vector<MessageId> finished;
  for (auto& [query, own] : own_) {
    const auto addressed = own.addressed.find(id);
    if (addressed == own.addressed.end() || !addressed->second.asked || addressed->second.done ||
        addressed->second.gone) {
      continue;
    }
    addressed->second.gone = left ? Silence::kLeft : Silence::kFailed;
    if (--own.waiting == 0) finished.push_back(query);
  }
  for (const MessageId& query : finished) end(query, Ending::kAllDone);
}

void Queries::end(const MessageId& id, Ending ending) {
  const auto own = own_.extract(id);
  if (own.empty()) return;
  own_due_.erase(id);
  QueryEnded ended{id, ending == Ending::kDeadline, ending == Ending::kLimit, own.mapped().unasked};
  for (const auto& [node, member] : own.mapped().addressed) {
    if (member.done || !member.asked) continue;
    Silence why = member.acked ? Silence::kUnfinished : Silence::kUnheard;
    if (ending == Ending::kLimit) why = Silence::kNotAwaited;
    ended.silent.push_back({member.name, member.gone.value_or(why)});
  }
  std::sort(ended.silent.begin(), ended.silent.end());
  context_.emit(std::move(ended));
  if (ending == Ending::kLimit && own.mapped().waiting > 0) spread_over(id);
}

void Queries::spread_over(const MessageId& id) {
  if (!tell_over) return;
  proto::Record record;
  record.set_kind(proto::RECORD_QUERY_OVER);
  record.set_key(message_key(id));
  proto::QueryOver over;
  origins_.sign(id, over);
  record.set_payload(over.SerializeAsString());
  tell_over(record);
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
      query.filter_nodes_size() + query.filter_tags_size() > kMaxFilters ||
      query.authorization().size() > kMaxAuthorization) {
    return Verdict::kInvalid;
  }
  if (has(*id) && !planted(PlantedBug::kForgetQuery)) return Verdict::kKnown;
  const bool own_epoch = id->origin == context_.identity.id && id->epoch == context_.identity.epoch;
  if (own_epoch && !own_.contains(*id)) return Verdict::kStale;
  if (past(*id)) return Verdict::kStale;
  if (const Verdict origin = origins_.check(*id, query); origin != Verdict::kFresh) return origin;
  context_.query_clock.witness(query.ltime());
  const auto timeout = std::min<Duration>(
      std::chrono::milliseconds(std::min<uint64_t>(query.timeout_ms(), 24ULL * 3600 * 1000)),
      kLongest);
  remember(*id, {record}, context_.now + timeout + kRememberAfter);
  if (meant(query)) {
    open_[*id] = Open{id->origin, context_.now + timeout, query.relay_factor()};
    deliver(*id, query);
  }
  return Verdict::kFresh;
}

Verdict Queries::apply_over(const proto::Record& record) {
  const auto id = read_message_key(record.key());
  proto::QueryOver over;
  if (!id || !over.ParseFromString(record.payload())) return Verdict::kInvalid;
  const auto found = seen_.find(*id);
  if (found != seen_.end() && found->second.over) return Verdict::kKnown;
  if (const Verdict origin = origins_.check(*id, over); origin != Verdict::kFresh) return origin;
  if (found == seen_.end()) {
    // It has overtaken its query, which is then nothing to us.
    remember(*id, {{}, true, record.payload()}, context_.now + kRememberAfter);
    return Verdict::kFresh;
  }
  found->second.over = true;
  found->second.over_record = record.payload();
  found->second.record.Clear();
  if (open_.erase(*id) > 0) context_.emit(QueryOver{*id});
  messenger_.drop_answers(*id);
  return Verdict::kFresh;
}

bool Queries::meant(const proto::Query& query) const {
  const auto filter = QueryFilter::make(query);
  const Member self = members_.self();
  return filter && filter->matches({context_.identity.name, self.name,
                                    pack_tags(context_.identity.tags), self.degraded});
}

void Queries::remember(const MessageId& id, Seen seen, TimePoint until) {
  if (seen_.size() >= kMaxSeenQueries) {
    ++context_.statistics.dropped_queries;
    if (const auto oldest = forget_.pop(kNever)) forget(*oldest);
  }
  seen_.insert_or_assign(id, std::move(seen));
  forget_.set(id, until);
}

std::optional<proto::Record> Queries::find(const MessageId& id) const {
  const auto found = seen_.find(id);
  if (found == seen_.end() || found->second.record.payload().empty()) return std::nullopt;
  return found->second.record;
}

bool Queries::knows_over(const MessageId& id) const {
  const auto found = seen_.find(id);
  return found != seen_.end() && found->second.over;
}

std::optional<proto::Record> Queries::find_over(const MessageId& id) const {
  if (!knows_over(id)) return std::nullopt;
  proto::Record record;
  record.set_kind(proto::RECORD_QUERY_OVER);
  record.set_key(message_key(id));
  record.set_payload(seen_.at(id).over_record);
  return record;
}

void Queries::deliver(const MessageId& id, const proto::Query& query) {
  const Open open = open_.at(id);
  const bool is_internal = query.name().starts_with(kInternalPrefix);
  if (is_internal && internal && internal(id, query)) return;
  if (query.request_ack() || is_internal) {
    proto::QueryReply ack;
    ack.set_status(proto::REPLY_ACK);
    ack.set_last(is_internal);
    reply(id, open, std::move(ack));
  }
  if (is_internal) {
    open_.erase(id);
    return;
  }
  context_.emit(
      QueryArrived{id, query.ltime(), query.name(), query.payload(),
                   open.asker == context_.identity.id ? members_.self().name : name_of(open.asker),
                   open.deadline, query.SerializeAsString()});
}

Result<void> Queries::answer(const MessageId& id, Answer answer) {
  const auto found = open_.find(id);
  if (found == open_.end()) {
    return fail(ErrorKind::kNotFound, "No pending queries matching ID");
  }
  Open& open = found->second;
  if (context_.now >= open.deadline) {
    open_.erase(found);
    return fail(ErrorKind::kNotFound, "the query's deadline has passed");
  }
  if (!answer.last && open.answers + 1 >= kMaxAnswers) {
    return fail(ErrorKind::kBusy, "one member gives at most " + std::to_string(kMaxAnswers) +
                                      " answers to a query: fewer handlers should match it");
  }
  const Open was = open;
  ++open.answers;
  if (answer.last) open_.erase(found);

  const size_t limit = context_.options.query_response_size_limit;
  const size_t size = answer.payload.size();
  const bool too_large = size > limit && !planted(PlantedBug::kNoAnswerLimit);
  const std::string problem = "answer of " + std::to_string(size) + " bytes exceeds limit of " +
                              std::to_string(limit) + " bytes";
  proto::QueryReply wire;
  wire.set_status(too_large ? proto::REPLY_TOO_LARGE : status_of(answer.kind));
  wire.set_error(too_large ? problem : answer.error);
  if (!too_large) wire.set_payload(std::move(answer.payload));
  wire.set_responder(answer.responder);
  wire.set_position(answer.position);
  if (answer.exit_status) wire.set_exit_status(*answer.exit_status);
  wire.set_last(answer.last);
  if (answer.last) wire.set_answers(was.answers + 1);
  const bool sent = reply(id, was, std::move(wire));
  if (too_large) ++context_.statistics.refused_answers_size;
  if (too_large) return fail(ErrorKind::kTooLarge, problem);
  if (!sent) return fail(ErrorKind::kBusy, std::string(kTooMuchToSend) + "; the asker is told");
  return {};
}

/// False when there is no room for it, and the asker was told so instead.
bool Queries::reply(const MessageId& id, const Open& open, proto::QueryReply reply) {
  write_id(id, *reply.mutable_query());
  if (open.asker == context_.identity.id) {
    receive_reply(open.asker, reply);
    return true;
  }
  proto::QueryReply refusal;  // all but what makes it large
  refusal.set_status(reply.status());
  *refusal.mutable_query() = reply.query();
  refusal.set_responder(reply.responder());
  refusal.set_position(reply.position());
  refusal.set_last(reply.last());
  refusal.set_answers(reply.answers());
  proto::DirectMessage message;
  *message.mutable_query_reply() = std::move(reply);
  if (messenger_.send(open.asker, std::move(message), open.deadline, open.relay_factor)) {
    return true;
  }
  if (refusal.status() == proto::REPLY_ACK) return false;
  refusal.set_status(proto::REPLY_BUSY);
  refusal.set_error(std::string(kTooMuchToSend));
  proto::DirectMessage instead;
  *instead.mutable_query_reply() = std::move(refusal);
  messenger_.send_once(open.asker, std::move(instead));
  return false;
}

// --- time --------------------------------------------------------------------------------------

TimePoint Queries::next_deadline() const {
  return std::min(own_due_.next(), forget_.next());
}

void Queries::advance() {
  while (const auto id = own_due_.pop(context_.now)) {
    const auto found = own_.find(*id);
    if (found == own_.end()) continue;
    end(*id, found->second.waiting > 0 ? Ending::kDeadline : Ending::kAllDone);
  }
  while (const auto id = forget_.pop(context_.now)) forget(*id);
}

void Queries::forget(const MessageId& id) {
  seen_.erase(id);
  open_.erase(id);
  // An epoch that its member has not reached is made up, and would shut the real one out.
  const Entry* asker = table_.find(id.origin);
  if (asker != nullptr && id.epoch <= asker->incarnation.epoch()) pass(id);
}

void Queries::pass(const MessageId& id) {
  if (past_.size() >= kMaxPast && !past_.contains(id.origin)) past_.erase(past_.begin());
  Past& past = past_[id.origin];
  past = std::max(past, Past{id.epoch, id.sequence});
}

bool Queries::past(const MessageId& id) const {
  const auto found = past_.find(id.origin);
  return found != past_.end() && Past{id.epoch, id.sequence} <= found->second;
}

}  // namespace starling::membership
