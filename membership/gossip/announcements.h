// SPDX-License-Identifier: Apache-2.0
//
// Announcements: the ids of new records go to a few random members shortly after they arrived, in
// batches; who lacks one pulls it. Catches what the broadcast tree missed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/outbox.h"
#include "membership/swim/member_table.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Announcements {
 public:
  Announcements(Context& context, MemberTable& table, Outbox& outbox)
      : context_(context), table_(table), outbox_(outbox) {}

  /// A new record is here: tell others of it, and pull it no more.
  void arrived(const proto::RecordId& id);
  /// `from` says that it has a record that is not here.
  void heard(const Address& from, const proto::RecordId& id);

  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  using Key = std::pair<int, std::string>;  // kind and key
  struct Pull {
    std::vector<Address> holders;
    unsigned tries = 0;
  };
  void pull(const Key& key);

  Context& context_;
  MemberTable& table_;
  Outbox& outbox_;
  std::vector<proto::RecordId> queue_;
  TimePoint send_at_ = kNever;
  std::map<Key, Pull> pulls_;
  Deadlines<Key> due_;
};

}  // namespace starling::membership
