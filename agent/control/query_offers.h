// SPDX-License-Identifier: Apache-2.0
//
// Queries that control clients may answer beside this host's handlers. Each handler answers for
// itself, and of the clients the first one that does, as in Serf. Plain bookkeeping, no I/O;
// event-loop thread only.
//
// When no handler has anything to say, the answer is left to the clients who were shown the query,
// until its deadline or until they are gone. Bounded: kMaxQueries, the oldest are forgotten.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "membership/node.h"
#include "proto/support/result.h"

namespace starling::agent {

class Session;

class QueryOffers {
 public:
  static constexpr size_t kMaxQueries = 1024;
  using AnswerQuery = std::function<void(const membership::MessageId&, membership::Answer)>;
  /// One monitor of one client.
  using Monitor = std::pair<const Session*, uint64_t>;

  explicit QueryOffers(AnswerQuery answer) : answer_(std::move(answer)) {}

  /// The monitor is being shown the query. The number by which its client may answer it; not 0.
  uint64_t offer(const Monitor& monitor, const membership::QueryArrived& query);

  /// What a handler says. Passed on at once, unless it is their last word, nobody has said anything
  /// and a client may answer yet.
  void handlers_said(const membership::MessageId& query, membership::Answer answer);

  /// A client's answer. kNotFound: no such query was shown to this session, or its deadline is
  /// past; kConflict: a client has answered it, or nobody waits any more.
  Result<void> respond(const Session* session, uint64_t number, std::string payload,
                       membership::TimePoint now);

  /// These monitors will not answer any more.
  void forget(const Session* session);
  void forget(const Monitor& monitor);

  /// Drops what is past its deadline.
  void expire(membership::TimePoint now);
  [[nodiscard]] size_t size() const { return queries_.size(); }

 private:
  struct Query {
    membership::TimePoint deadline;
    std::map<uint64_t, Monitor> offers;  // by number
    bool handlers_done = false;          // they have said their last
    bool said = false;                   // somebody has answered
    bool client_said = false;
    bool ended = false;  // the asker has been told that no more comes
  };
  using Queries = std::map<membership::MessageId, Query>;

  template <typename Gone>
  void forget_if(const Gone& gone);
  void answer(Queries::value_type& query, membership::Answer answer);

  AnswerQuery answer_;
  Queries queries_;
  uint64_t last_number_ = 0;
};

}  // namespace starling::agent
