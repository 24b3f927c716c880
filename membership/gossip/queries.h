// SPDX-License-Identifier: Apache-2.0
//
// Queries: questions to many members with a deadline. A query spreads as a record; the answers come
// back as direct messages. The asker knows whom it addressed, and ends as soon as all of them that
// are still alive have finished, or as it has as many answers as it wanted. When it ends before all
// have answered, a second record tells the others that they may stop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/messenger.h"
#include "membership/gossip/origins.h"
#include "membership/gossip/query_filter.h"
#include "membership/gossip/record.h"
#include "membership/rate_limit.h"
#include "membership/swim/member_table.h"
#include "membership/swim/members.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Queries {
 public:
  /// Askers of whom it is known how far their queries are over. One more takes another's place.
  static constexpr size_t kMaxPast = 16'384;
  /// Members that a query of this node was not addressed to and that answer it all the same.
  static constexpr size_t kMaxUnasked = 1024;

  Queries(Context& context, MemberTable& table, Members& members, Messenger& messenger,
          RateLimit& rates);

  /// What an earlier process heard is not answered again, nor is what is older at its asker.
  void restore(const std::vector<MessageId>& heard);

  struct Started {
    QueryHandle handle;
    proto::Record record;
  };
  /// Checks, registers and encodes an own query. It still has to be given to apply() and sent out.
  Result<Started> start(const QueryOptions& query);
  void cancel(const MessageId& id);
  /// Judges a query; one that is news and meant for this member becomes a QueryArrived.
  Verdict apply(const proto::Record& record);
  /// Judges the word that a query is over.
  Verdict apply_over(const proto::Record& record);
  [[nodiscard]] bool has(const MessageId& id) const { return seen_.contains(id); }
  [[nodiscard]] bool knows_over(const MessageId& id) const;
  [[nodiscard]] std::optional<proto::Record> find(const MessageId& id) const;
  [[nodiscard]] std::optional<proto::Record> find_over(const MessageId& id) const;

  /// Takes the word that an own query is over, to be told to everybody.
  std::function<void(const proto::Record& record)> tell_over;

  Result<void> answer(const MessageId& id, Answer answer);
  /// An answer to an own query has arrived.
  void receive_reply(const NodeId& from, const proto::QueryReply& reply);
  /// A member failed or left: nobody waits for it any more.
  void member_gone(const NodeId& id, bool left);

  /// Takes a question of the agents among themselves; true when it will be answered later.
  std::function<bool(const MessageId& id, const proto::Query& query)> internal;

  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  // A query asked by this node.
  struct Own {
    TimePoint deadline;
    struct Addressed {
      std::string name;
      bool acked = false;
      bool done = false;
      std::optional<Silence> gone;    // failed or left meanwhile
      unsigned received = 0;          // answers
      std::optional<unsigned> total;  // that it sends, once it has said so
      // It, or who has come under its name: the first to give an answer gives all of them.
      std::optional<NodeId> speaker;
      bool asked = true;  // and so waited for
    };
    bool request_ack = true;
    unsigned limit = 0;
    unsigned responses = 0;
    std::map<NodeId, Addressed> addressed;  // and who answers unasked
    std::map<NodeId, NodeId> standing_in;   // replaced hosts: for whom of those
    size_t waiting = 0;
    size_t unasked_count = 0;           // that have answered
    std::vector<SilentMember> unasked;  // wanted by name, but not there
  };
  // A query that this node is to answer.
  struct Open {
    NodeId asker;
    TimePoint deadline;
    unsigned relay_factor;
    unsigned answers = 0;  // given so far
  };
  struct Seen {
    proto::Record record;  // to answer pulls; empty when restored or over
    bool over = false;
    std::string over_record = {};  // the asker's word for it
  };
  // A boot epoch of an asker, and a sequence in it.
  struct Past {
    uint32_t epoch = 0;
    uint64_t sequence = 0;
    auto operator<=>(const Past&) const = default;
  };
  enum class Ending : uint8_t { kAllDone, kLimit, kDeadline };

  [[nodiscard]] Result<proto::Query> encode(const QueryOptions& options) const;
  void address(Own& own, const proto::Query& query, const QueryFilter& filter) const;
  void answered(const MessageId& id, Own& own, const NodeId& from, const proto::QueryReply& reply);
  Own::Addressed* answering(Own& own, const NodeId& from) const;
  void remember(const MessageId& id, Seen seen, TimePoint until);
  void forget(const MessageId& id);
  void pass(const MessageId& id);
  [[nodiscard]] bool past(const MessageId& id) const;
  bool reply(const MessageId& id, const Open& open, proto::QueryReply reply);
  void deliver(const MessageId& id, const proto::Query& query);
  void end(const MessageId& id, Ending ending);
  void spread_over(const MessageId& id);
  [[nodiscard]] bool meant(const proto::Query& query) const;
  [[nodiscard]] std::string name_of(const NodeId& id) const;

  Context& context_;
  MemberTable& table_;
  Members& members_;
  Messenger& messenger_;
  RateLimit& rates_;
  Origins origins_;
  uint64_t next_sequence_ = 1;
  std::map<MessageId, Own> own_;
  Deadlines<MessageId> own_due_;
  std::map<MessageId, Open> open_;
  std::unordered_map<MessageId, Seen> seen_;
  Deadlines<MessageId> forget_;
  // Up to here all queries of an asker are over; who sends one of them has recorded it.
  std::unordered_map<NodeId, Past> past_;
};

}  // namespace starling::membership
