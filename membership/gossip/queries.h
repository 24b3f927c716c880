// SPDX-License-Identifier: Apache-2.0
//
// Queries: questions to many members with a deadline. A query spreads as a record; the answers come
// back as direct messages. The asker knows whom it addressed, and ends as soon as all of them that
// are still alive have finished.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/messenger.h"
#include "membership/gossip/record.h"
#include "membership/swim/member_table.h"
#include "membership/swim/members.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Queries {
 public:
  Queries(Context& context, MemberTable& table, Members& members, Messenger& messenger);

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
  [[nodiscard]] bool has(const MessageId& id) const { return seen_.contains(id); }
  [[nodiscard]] std::optional<proto::Record> find(const MessageId& id) const;

  Result<void> answer(const MessageId& id, Answer answer);
  /// An answer to an own query has arrived.
  void receive_reply(const NodeId& from, const proto::QueryReply& reply);
  /// A member is gone: nobody waits for it any more.
  void member_gone(const NodeId& id);

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
      bool gone = false;  // failed or left meanwhile
    };
    bool request_ack = true;
    std::map<NodeId, Addressed> addressed;
    size_t waiting = 0;
  };
  // A query that this node is to answer.
  struct Open {
    NodeId asker;
    TimePoint deadline;
    unsigned relay_factor;
  };

  void forget(const MessageId& id);
  void remember(const MessageId& id, const proto::Record& record, TimePoint until);
  void reply(const MessageId& id, const NodeId& asker, TimePoint deadline, unsigned relay_factor,
             proto::QueryReply reply);
  void deliver(const MessageId& id, const proto::Query& query);
  void end(const MessageId& id, bool timed_out);
  [[nodiscard]] std::string name_of(const NodeId& id) const;

  Context& context_;
  MemberTable& table_;
  Members& members_;
  Messenger& messenger_;
  uint64_t next_sequence_ = 1;
  std::map<MessageId, Own> own_;
  Deadlines<MessageId> own_due_;
  std::map<MessageId, Open> open_;
  std::unordered_map<MessageId, proto::Record> seen_;  // to answer pulls; empty when restored
  Deadlines<MessageId> forget_;
};

}  // namespace starling::membership
