// SPDX-License-Identifier: Apache-2.0
//
// UsedOrders: which signed orders this agent has carried out, so that nobody can have one carried
// out again. An order is remembered for as long as it is valid; of those forgotten it is remembered
// until when they were valid (the horizon), and nothing that ends before that is accepted any more.
// So a clock that is set back revives nothing, and a full memory forgets what ends first.
//
// Pure; one thread. What it returns has to be in the store before the order is carried out.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/store/state.h"
#include "agent/trust/key.h"
#include "proto/support/result.h"

namespace starling::agent {

class UsedOrders {
 public:
  static constexpr size_t kMaxOrders = 65'536;

  explicit UsedOrders(StoredOrders stored = {}, size_t limit = kMaxOrders);

  /// Why the order must not be carried out (again): kConflict: it was; kTimeout: its time is over.
  [[nodiscard]] Result<void> check(const OperatorKey& key, std::string_view nonce,
                                   int64_t not_after_ms, int64_t now_ms) const;
  /// Remembers an order that passes check().
  PutOrder use(const OperatorKey& key, std::string_view nonce, int64_t not_after_ms,
               int64_t now_ms);

  [[nodiscard]] size_t size() const { return orders_.size(); }
  /// Forgotten before their time, for want of room.
  [[nodiscard]] uint64_t forgotten_early() const { return forgotten_early_; }

 private:
  void forget_first();

  const size_t limit_;
  std::map<std::string, int64_t> orders_;           // by id, until when they are valid
  std::set<std::pair<int64_t, std::string>> ends_;  // the same, by time
  int64_t horizon_ms_ = 0;
  uint64_t forgotten_early_ = 0;
};

}  // namespace starling::agent
