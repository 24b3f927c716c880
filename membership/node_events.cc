// SPDX-License-Identifier: Apache-2.0
//
// User events at the door: sending, confirming, listing; and how the parts that spread, fetch,
// order and compare them are connected.
#include <algorithm>
#include <utility>

#include "membership/limits.h"
#include "membership/node.h"
#include "membership/node_parts.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

// The question whether an event is here: answered by the core, as soon as it is.
constexpr std::string_view kConfirmQuery = "_serf_confirm";
constexpr size_t kMaxAskedReach = 4096;
// Who has failed may come back with what nobody else has: the events after it wait this long.
constexpr Duration kLongestGap = 60s;

}  // namespace

void Node::Parts::connect_events() {
  events.fetch = [this](const MessageId& id, const proto::Record& head, const NodeId& from) {
    return payloads.want(id, head, from);
  };
  events.fetching = [this](const MessageId& id, const NodeId& holder) {
    return payloads.offer(id, holder);
  };
  events.gap = [this](const MessageId& id, const NodeId& from) {
    const Entry* entry = table.find(from);
    if (entry == nullptr) return;
    for (const MessageId& missing : events.lines().gap_before(id, EventLog::kGapAtOnce)) {
      if (!payloads.offer(missing, from)) announcements.heard(entry->address(), missing);
    }
  };
  events.may_come = [this](const MessageId& missing, Duration waited) {
    const bool alone =
        heard_at == TimePoint::min() || context.now - heard_at > context.options.deaf_after;
    const bool away =
        table.failed_count() > 0 || not_met_again(1) > 0 || payloads.fetching(missing);
    return alone || (away && waited < kLongestGap);
  };
  sync.away = [this](size_t most) { return not_met_again(most); };
  events.name_of = [this](const NodeId& id) {
    if (id == context.identity.id) return context.identity.name;
    const Entry* entry = table.find(id);
    return entry != nullptr ? entry->display_name() : id.to_string();
  };
  payloads.arrived = [this](const MessageId& id) { announcements.arrived(id); };
  queries.internal = [this](const MessageId& id, const proto::Query& query) {
    return hold_confirm(id, query);
  };
}

/// Somebody talks to us. After a silence, or when it was held for gone, one of us was away.
void Node::Parts::note_contact(const NodeId& sender) {
  const bool deaf =
      heard_at != TimePoint::min() && context.now - heard_at > context.options.deaf_after;
  heard_at = context.now;
  if (deaf) {
    events.present_since(context.now);
    events.hold_gaps();
    sync.hurry();
    return;
  }
  const Entry* entry = table.find(sender);
  if (entry != nullptr && entry->status == Status::kFailed) sync.hurry();
}

void Node::Parts::heard_progress(const Address& from, const NodeId& sender,
                                 const proto::EventProgress& told) {
  if (events.skipping()) return;
  for (const MessageId& id : events.lines().lacking(told, EventLog::kGapAtOnce)) {
    if (!payloads.offer(id, sender)) announcements.heard(from, id);
  }
}

// --- confirming --------------------------------------------------------------------------------

/// True when the question waits for the event.
bool Node::Parts::hold_confirm(const MessageId& query, const proto::Query& question) {
  if (question.name() != kConfirmQuery) return false;
  const auto event = read_message_key(question.payload());
  if (!event || events.delivered(*event)) return false;
  if (asked_reach_count >= kMaxAskedReach) return true;  // no answer is better than a wrong one
  ++asked_reach_count;
  asked_reach[*event].push_back(query);
  return true;
}

void Node::Parts::event_delivered(const MessageId& id) {
  const auto asked = asked_reach.find(id);
  if (asked == asked_reach.end()) return;
  const std::vector<MessageId> waiting = std::move(asked->second);
  asked_reach.erase(asked);
  asked_reach_count -= waiting.size();
  for (const MessageId& query : waiting) {
    (void)queries.answer(
        query,
        Answer{.kind = ReplyKind::kNoAnswer, .payload = {}, .error = {}});  // past its deadline
  }
}

void Node::Parts::translate_confirm(Action& action) {
  if (confirms.empty()) return;
  if (auto* answered = std::get_if<QueryAnswered>(&action)) {
    const auto found = confirms.find(answered->id);
    if (found == confirms.end()) return;
    action = Action(EventConfirmed{found->first, found->second, std::move(answered->from)});
  } else if (auto* ended = std::get_if<QueryEnded>(&action)) {
    const auto found = confirms.find(ended->id);
    if (found == confirms.end()) return;
    ConfirmEnded confirmed{found->first, found->second, ended->timed_out, {}};
    for (SilentMember& member : ended->silent) confirmed.missing.push_back(std::move(member.name));
    action = Action(std::move(confirmed));
    confirms.erase(found);
  }
}

Result<ConfirmHandle> Node::confirm_event(TimePoint now, const MessageId& event, Duration timeout) {
  Parts& p = *parts_;
  p.enter(now);
  if (!p.events.delivered(event)) {
    return fail(ErrorKind::kNotFound, "this agent does not have the event " + event.to_string());
  }
  QueryOptions query;
  query.name = kConfirmQuery;
  query.payload = message_key(event);
  query.request_ack = false;
  query.timeout = timeout;
  auto started = p.queries.start(query);
  if (!started) return tl::unexpected(started.error());
  p.confirms.emplace(started->handle.id, event);
  NodeId origin = p.context.identity.id;
  p.apply(started->record, Heard::kPushed, origin, origin);
  p.tree.publish(started->record, origin);
  p.finish_turn();
  return ConfirmHandle{started->handle.id, started->handle.addressed};
}

void Node::cancel_confirm(TimePoint now, const MessageId& confirm) {
  parts_->confirms.erase(confirm);
  cancel_query(now, confirm);
}

// --- sending and listing -----------------------------------------------------------------------

Result<MessageId> Node::send_event(TimePoint now, std::string_view name, std::string_view payload,
                                   bool coalesce, std::string_view authorization) {
  Parts& p = *parts_;
  p.enter(now);
  if (!valid_name(name)) {
    return fail(ErrorKind::kInvalid,
                "a user event's name must have 1 to 128 bytes of UTF-8 and no control characters");
  }
  const size_t limit = p.context.options.user_event_size_limit;
  if (name.size() + payload.size() > limit) {
    ++p.context.statistics.refused_events_size;
    return fail(ErrorKind::kTooLarge, "user event exceeds configured limit of " +
                                          std::to_string(limit) + " bytes before encoding");
  }
  if (authorization.size() > kMaxAuthorization) {
    return fail(ErrorKind::kTooLarge,
                "an authorization has at most " + std::to_string(kMaxAuthorization) + " bytes");
  }
  if (auto admitted = p.rates.admit_event(name.size() + payload.size(), now); !admitted) {
    ++p.context.statistics.refused_events_rate;
    return tl::unexpected(admitted.error());
  }
  MessageId id;
  const proto::Record record = p.events.create(
      {std::string(name), std::string(payload), coalesce, std::string(authorization)}, id);
  p.announcements.arrived(id);
  p.tree.publish(record, p.context.identity.id);
  p.finish_turn();
  return id;
}

size_t Node::events_held() const {
  return parts_->events.held();
}

std::vector<HeldEvent> Node::held_events(size_t limit) const {
  const Parts& p = *parts_;
  std::vector<TimePoint> agreed;  // when each live member was last known to have all that we have
  for (size_t place = 0; place < p.table.up_count(); ++place) {
    if (const auto when = p.sync.agreed_at(p.table.ring_at(place).id())) agreed.push_back(*when);
  }
  std::sort(agreed.begin(), agreed.end());
  std::vector<HeldEvent> list;
  p.events.visit_latest(limit, [&](HeldEvent event, TimePoint arrived) {
    const auto since = std::lower_bound(agreed.begin(), agreed.end(), arrived);
    event.reach = 1 + static_cast<size_t>(agreed.end() - since);
    list.push_back(std::move(event));
  });
  return list;
}

std::optional<std::string> Node::event_payload(const MessageId& id) const {
  return parts_->events.payload_of(id);
}

}  // namespace starling::membership
