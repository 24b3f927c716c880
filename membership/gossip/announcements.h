// SPDX-License-Identifier: Apache-2.0
//
// Announcements: the ids of new records go to a few random members shortly after they arrived, in
// batches; who lacks one pulls it. Catches what the broadcast tree missed. Of events not the ids
// are told but how far the lines that have grown have come: a burst costs no more than one event.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/event_lines.h"
#include "membership/gossip/outbox.h"
#include "membership/swim/member_table.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Announcements {
 public:
  Announcements(Context& context, MemberTable& table, Outbox& outbox, const EventLines& lines)
      : context_(context), table_(table), outbox_(outbox), lines_(lines) {}

  /// A new record is here: tell others of it, and pull it no more.
  void arrived(const proto::RecordId& id);
  void arrived(const MessageId& event);
  /// `from` says that it has a record that is not here.
  void heard(const Address& from, const proto::RecordId& id);
  void heard(const Address& from, const MessageId& event);

  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  using Key = std::pair<int, std::string>;  // kind and key
  struct Pull {
    std::vector<Address> holders;
    unsigned tries = 0;
  };
  void pull(const Key& key);
  void send_soon();

  Context& context_;
  MemberTable& table_;
  Outbox& outbox_;
  const EventLines& lines_;
  std::vector<proto::RecordId> queue_;
  std::set<EventLine> grown_;
  TimePoint send_at_ = kNever;
  std::map<Key, Pull> pulls_;
  Deadlines<Key> due_;
};

}  // namespace starling::membership
