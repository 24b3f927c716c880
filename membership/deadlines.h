// SPDX-License-Identifier: Apache-2.0
//
// Deadlines: many due times behind one next_deadline(). A key has at most one. The place of the
// last one that went is kept for the next one that comes, so that a few that come and go in turn
// take no memory anew.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "membership/time.h"

namespace starling::membership {

template <typename Key>
class Deadlines {
 public:
  /// Sets or moves the due time of `key`. O(log n).
  void set(const Key& key, TimePoint due) {
    erase(key);
    if (spare_due_.empty()) {
      due_.emplace(key, due);
    } else {
      spare_due_.key() = key;
      spare_due_.mapped() = due;
      due_.insert(std::move(spare_due_));
    }
    if (spare_order_.empty()) {
      order_.emplace(due, key);
    } else {
      spare_order_.value() = {due, key};
      order_.insert(std::move(spare_order_));
    }
  }
  void erase(const Key& key) {
    const auto found = due_.find(key);
    if (found == due_.end()) return;
    spare_order_ = order_.extract({found->second, key});
    spare_due_ = due_.extract(found);
  }
  [[nodiscard]] bool contains(const Key& key) const { return due_.contains(key); }
  [[nodiscard]] TimePoint next() const { return order_.empty() ? kNever : order_.begin()->first; }
  /// Takes out one key that is due at `now`, earliest first.
  std::optional<Key> pop(TimePoint now) {
    if (order_.empty() || order_.begin()->first > now) return std::nullopt;
    const Key key = order_.begin()->second;
    spare_order_ = order_.extract(order_.begin());
    spare_due_ = due_.extract(key);
    return key;
  }
  /// Moves every due time by `by`.
  void shift(Duration by) {
    std::set<std::pair<TimePoint, Key>> moved;
    for (const auto& [due, key] : order_) moved.emplace_hint(moved.end(), due + by, key);
    order_ = std::move(moved);
    for (auto& [key, due] : due_) due += by;
  }
  [[nodiscard]] size_t size() const { return due_.size(); }

 private:
  std::map<Key, TimePoint> due_;
  std::set<std::pair<TimePoint, Key>> order_;
  typename std::map<Key, TimePoint>::node_type spare_due_;
  typename std::set<std::pair<TimePoint, Key>>::node_type spare_order_;
};

}  // namespace starling::membership
