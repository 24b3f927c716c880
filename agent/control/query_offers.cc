// SPDX-License-Identifier: Apache-2.0
#include "agent/control/query_offers.h"

#include <algorithm>

namespace starling::agent {

using membership::Answer;
using membership::MessageId;
using membership::ReplyKind;

uint64_t QueryOffers::offer(const Monitor& monitor, const membership::QueryArrived& query) {
  if (!queries_.contains(query.id) && queries_.size() >= kMaxQueries) {
    queries_.erase(std::ranges::min_element(queries_, {},
                                            [](const auto& each) { return each.second.deadline; }));
  }
  Query& offered = queries_[query.id];
  offered.deadline = query.deadline;
  offered.offers[++last_number_] = monitor;
  return last_number_;
}

void QueryOffers::answer(Queries::value_type& query, Answer answer) {
  query.second.said = true;
  query.second.ended = answer.last;
  answer_(query.first, std::move(answer));
}

void QueryOffers::handlers_said(const MessageId& id, Answer said) {
  const auto found = queries_.find(id);
  if (found == queries_.end()) return answer_(id, std::move(said));
  Query& query = found->second;
  if (query.ended) return;
  query.handlers_done = said.last;
  const bool nothing = said.kind == ReplyKind::kNoAnswer || said.kind == ReplyKind::kNoHandler;
  if (nothing && !query.said && !query.offers.empty()) return;
  // Somebody here does handle it: a client.
  if (nothing && query.client_said) said.kind = ReplyKind::kNoAnswer;
  answer(*found, std::move(said));
}

Result<void> QueryOffers::respond(const Session* session, uint64_t number, std::string payload,
                                  membership::TimePoint now) {
  expire(now);
  for (auto& query : queries_) {
    const auto offer = query.second.offers.find(number);
    if (offer == query.second.offers.end() || offer->second.first != session) continue;
    if (query.second.client_said || query.second.ended) {
      return fail(ErrorKind::kConflict, "failed to respond to query: response already sent");
    }
    query.second.client_said = true;
    Answer said{.kind = ReplyKind::kResponse, .payload = std::move(payload), .error = {}};
    said.last = query.second.handlers_done;
    if (!said.last || query.second.said) said.responder = "client";
    answer(query, std::move(said));
    return {};
  }
  return fail(ErrorKind::kNotFound, "No pending queries matching ID");
}

template <typename Gone>
void QueryOffers::forget_if(const Gone& gone) {
  for (auto& query : queries_) {
    const size_t ended =
        std::erase_if(query.second.offers, [&](const auto& offer) { return gone(offer.second); });
    const bool last = ended > 0 && query.second.offers.empty();
    if (last && query.second.handlers_done && !query.second.ended) {
      answer(query, {.kind = ReplyKind::kNoAnswer, .payload = {}, .error = {}});
    }
  }
}

void QueryOffers::forget(const Session* session) {
  forget_if([&](const Monitor& monitor) { return monitor.first == session; });
}

void QueryOffers::forget(const Monitor& monitor) {
  forget_if([&](const Monitor& each) { return each == monitor; });
}

void QueryOffers::expire(membership::TimePoint now) {
  std::erase_if(queries_, [&](const auto& query) { return query.second.deadline <= now; });
}

}  // namespace starling::agent
