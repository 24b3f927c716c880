// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/origins.h"

#include <utility>

#include "membership/gossip/event_log.h"
#include "membership/planted_bug.h"
#include "membership/signed_text.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

constexpr Duration kBetweenLogs = std::chrono::minutes(1);

void begin(std::string_view what, const PublicKey& key, const MessageId& id, std::string& text) {
  text.clear();
  add_text(text, what);
  add_text(text, view(key));
  add_number(text, id.epoch);
  add_number(text, id.sequence);
}

void add_reply(const proto::QueryReply& reply, std::string& text) {
  const proto::MessageId& query = reply.query();
  add_text(text, query.origin());
  add_number(text, query.epoch());
  add_number(text, query.sequence());
  add_number(text, static_cast<uint64_t>(reply.status()));
  add_number(text, reply.payload().size());
  add_text(text,
           reply.payload().size() > kSignedWhole ? digest_of(reply.payload()) : reply.payload());
  add_text(text, reply.error());
  add_number(text, reply.last() ? 1 : 0);
  add_text(text, reply.responder());
  add_number(text, reply.position());
  add_number(text, reply.answers());
  add_number(text, reply.has_exit_status() ? 1 : 0);
  add_number(text, static_cast<uint64_t>(reply.exit_status()));
}

}  // namespace

void write_signed_text(const PublicKey& key, const MessageId& id, const proto::UserEvent& event,
                       std::string& text) {
  begin("starling event 1", key, id, text);
  add_number(text, event.ltime());
  add_text(text, event.name());
  add_text(text, event.payload());
  add_number(text, event.coalesce() ? 1 : 0);
  add_number(text, event.size());
  add_text(text, event.digest());
  add_text(text, event.authorization());
}

void write_signed_text(const PublicKey& key, const MessageId& id, const proto::Query& query,
                       std::string& text) {
  begin("starling query 1", key, id, text);
  add_number(text, query.ltime());
  add_text(text, query.name());
  add_text(text, query.payload());
  add_number(text, static_cast<uint64_t>(query.filter_nodes_size()));
  for (const std::string& node : query.filter_nodes()) add_text(text, node);
  add_number(text, static_cast<uint64_t>(query.filter_tags_size()));
  for (const proto::TagFilter& filter : query.filter_tags()) {
    add_text(text, filter.key());
    add_text(text, filter.expression());
  }
  add_number(text, query.request_ack() ? 1 : 0);
  add_number(text, query.relay_factor());
  add_number(text, query.timeout_ms());
  add_number(text, static_cast<uint64_t>(query.audience()));
  add_text(text, query.authorization());
}

void write_signed_text(const PublicKey& key, const MessageId& id, const proto::QueryOver& /*over*/,
                       std::string& text) {
  begin("starling query over 1", key, id, text);
}

void write_signed_text(const PublicKey& key, const MessageId& id,
                       const proto::DirectMessage& message, std::string& text) {
  begin("starling direct 1", key, id, text);
  add_text(text, message.to());
  add_number(text, static_cast<uint64_t>(message.body_case()));
  if (message.has_query_reply()) add_reply(message.query_reply(), text);
}

void Origins::seal(const Signature& signature, std::string& key_out,
                   std::string& signature_out) const {
  key_out = view(context_.identity.keys->public_key());
  signature_out = view(signature);
}

template <typename Message>
Verdict Origins::verify(const MessageId& id, const Message& message, uint64_t& forged,
                        std::string_view what) {
  if (planted(PlantedBug::kBelieveAnyOrigin)) return Verdict::kFresh;
  const Address source = context_.source();
  if (budget_.spent(source)) {
    ++context_.statistics.unverified_records;
    return Verdict::kForged;
  }
  const NodeKeys& keys = *context_.identity.keys;
  const auto key = bytes_of<PublicKey>(message.public_key());
  if (message.signature().size() == std::tuple_size_v<Signature> && keys.id_of(key) == id.origin) {
    write_signed_text(key, id, message, text_);
    if (keys.verify(key, text_, bytes_of<Signature>(message.signature()))) return Verdict::kFresh;
  }
  ++forged;
  budget_.charge(source);
  tell(id, what);
  return Verdict::kForged;
}

Verdict Origins::check(const MessageId& id, const proto::UserEvent& event) {
  return verify(id, event, context_.statistics.forged_events, "user event");
}

Verdict Origins::check(const MessageId& id, const proto::Query& query) {
  return verify(id, query, context_.statistics.forged_queries, "query");
}

Verdict Origins::check(const MessageId& id, const proto::QueryOver& over) {
  return verify(id, over, context_.statistics.forged_queries, "end of a query");
}

Verdict Origins::check(const MessageId& id, const proto::DirectMessage& message) {
  return verify(id, message, context_.statistics.forged_answers, "answer");
}

void Origins::tell(const MessageId& id, std::string_view what) {
  ++unlogged_;
  if (context_.now < log_again_) return;
  log_again_ = context_.now + kBetweenLogs;
  const std::string from =
      context_.from == Address() ? "an unknown address" : context_.from.to_string();
  context_.trace(TraceLevel::kWarn,
                 "refused " + std::to_string(unlogged_) +
                     (unlogged_ == 1 ? " message" : " messages") +
                     " not signed by the member in whose name they are; the last one, the " +
                     std::string(what) + " " + id.to_string() + ", came from " + from +
                     ": an agent there is older than this one, or hostile");
  unlogged_ = 0;
}

}  // namespace starling::membership
